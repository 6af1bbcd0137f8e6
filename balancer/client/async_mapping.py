"""Carries out a map's plan on an event loop, drawing the payloads from either kind of iterable."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from time import monotonic
from typing import Any

from balancer.client.calls import Call, Request
from balancer.client.mapping import Plan
from balancer.errors import outcome

AsyncCall = Call[asyncio.Future[None]]
"""Its owner is done when it has ended."""


class _Source:
    """Payloads, one at a time; what an asynchronous iterable has not got yet, a task fetches."""

    def __init__(
        self, payloads: Iterable[Any] | AsyncIterable[Any], on_fetched: Callable[[], None]
    ) -> None:
        self._ready: Iterator[Any] | None = None
        self._coming: AsyncIterator[Any] | None = None
        if isinstance(payloads, AsyncIterable):
            self._coming = aiter(payloads)
        else:
            self._ready = iter(payloads)
        self._fetch: asyncio.Task[list[Any]] | None = None
        self._on_fetched = on_fetched

    def take(self) -> list[Any] | None:
        """A list of the next payload, or of nothing at the end; None if it is not there yet, and
        ``on_fetched`` will be called."""
        if self._ready is not None:
            return list(islice(self._ready, 1))
        if self._fetch is None:
            self._fetch = asyncio.create_task(self._next())
            self._fetch.add_done_callback(lambda _: self._on_fetched())
        if not self._fetch.done():
            return None
        fetch, self._fetch = self._fetch, None
        return fetch.result()

    async def _next(self) -> list[Any]:
        assert self._coming is not None
        async for payload in self._coming:
            return [payload]
        return []

    async def close(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)


class AsyncMap:
    """One map under way; ``answers`` is what its caller iterates over."""

    def __init__(
        self,
        plan: Plan[Request],
        payloads: Iterable[Any] | AsyncIterable[Any],
        *,
        pack: Callable[[Any], Request],
        submit: Callable[[Request], AsyncCall],
        forget: Callable[[AsyncCall], None],
    ) -> None:
        self._plan = plan
        self._news = asyncio.Event()
        self._source = _Source(payloads, self._news.set)
        self._pack = pack
        self._submit = submit
        self._forget = forget
        self._under_way: dict[AsyncCall, int] = {}
        self._ended: deque[AsyncCall] = deque()

    async def answers(self, return_exceptions: bool) -> AsyncIterator[Any]:
        try:
            while not self._plan.is_done:
                self._news.clear()
                is_starved = self._send_next()
                self._read_ended()
                for reply in self._plan.answers():
                    yield outcome(reply, return_exceptions)
                if is_starved or self._plan.must_wait(monotonic()):
                    await self._wait()
        finally:
            for call in self._under_way:
                self._forget(call)
            await self._source.close()

    def _send_next(self) -> bool:
        """Send what the plan wants sent; True if the next payload is still to come."""
        is_starved = False
        if self._plan.wants_item(monotonic()):
            payloads = self._source.take()
            if payloads:
                self._plan.add(self._pack(payloads[0]))
            elif payloads is None:
                is_starved = True
            else:
                self._plan.complete()
        while (item := self._plan.next_to_send(monotonic())) is not None:
            number, request = item
            self._send(number, request)
        return is_starved

    def _send(self, number: int, request: Request) -> None:
        call = self._submit(request)
        self._under_way[call] = number
        call.owner.add_done_callback(lambda _: self._on_ended(call))

    def _on_ended(self, call: AsyncCall) -> None:
        self._ended.append(call)
        self._news.set()

    def _read_ended(self) -> None:
        while self._ended:
            call = self._ended.popleft()
            self._plan.ended(self._under_way.pop(call), call.reply(), monotonic())

    async def _wait(self) -> None:
        pause_s = self._plan.wakes_at(monotonic()) - monotonic()
        timer = None
        if pause_s != math.inf:
            timer = asyncio.get_running_loop().call_later(max(0.0, pause_s), self._news.set)
        await self._news.wait()
        if timer is not None:
            timer.cancel()
