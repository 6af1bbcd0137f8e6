"""The client: ask the balancer and get the answer or a typed error; threads may share it."""

from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Unpack

from balancer.client.calls import Call, Request, Wishes, check_seconds
from balancer.client.mapping import WINDOW, Plan
from balancer.client.shared_connection import SharedConnection, Waiter
from balancer.errors import error_for, outcome
from balancer.wire.reply import Reply

DEFAULT_ADDRESS = "tcp://127.0.0.1:5555"
DEFAULT_TIMEOUT_S = 30.0


class Client:
    """One connection to a balancer, with any number of requests in flight.

    Where it is lost, the next of the addresses is asked, and what was in flight is sent again;
    ``once`` calls only to the same cluster, which refuses what may have run. ``timeout``, in
    seconds, is the time of a call that names none of its own. Close a client, or use it
    as a context manager.
    """

    def __init__(
        self,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        timeout: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """TypeError or ValueError if an address is none, or the timeout. Whether a balancer is
        there shows at the first call."""
        check_seconds("timeout", timeout)
        self._timeout_s = timeout
        self._connection = SharedConnection(address)

    def call(
        self,
        payload: Any,
        *,
        timeout: float | None = None,
        once: bool = False,
        id: bytes | str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Any:
        """The answer to ``payload``, or a ClusterError that says why there is none.

        With ``once`` it is never run twice, even where that means to give it up; and if it has an
        ``id``, neither is another call of that ``id``: it raises Duplicate where the first may
        have run. For the ``wishes`` see ``Wishes``. TypeError or ValueError if something is not as
        it should be; these or OverflowError if msgpack cannot carry the payload.
        """
        reply = self.send(payload, timeout=timeout, once=once, id=id, **wishes)
        if reply.status != 200:
            raise error_for(reply)
        return reply.body

    def send(
        self,
        payload: Any,
        *,
        timeout: float | None = None,
        once: bool = False,
        id: bytes | str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Reply:
        """As ``call``, but the whole reply, whatever its status."""
        timeout_s = self._timeout_s if timeout is None else timeout
        request = Request.pack(payload, timeout_s=timeout_s, once=once, id=id, **wishes)
        waiter = Waiter()
        call = self._connection.submit(request, waiter)
        try:
            self._connection.wait(waiter)
        finally:
            if call.answer is None:
                self._connection.forget([call])
        return call.reply()

    def map(
        self,
        payloads: Iterable[Any],
        *,
        timeout: float | None = None,
        once: bool = False,
        window: int = WINDOW,
        return_exceptions: bool = False,
        **wishes: Unpack[Wishes],
    ) -> Iterator[Any]:
        """The answers to many payloads, in their order, with at most ``window`` under way.

        ``timeout`` is the time of one item. An item that found no room or too little time because
        of the others is sent again with fewer at a time; one that fails by itself raises its
        ClusterError when its turn has come, which ends the map, or with ``return_exceptions`` the
        error stands in its place. ``once`` makes the window smaller.
        """
        timeout_s = self._timeout_s if timeout is None else timeout
        plan: Plan[Request] = Plan(
            window=window, timeout_s=timeout_s, once=once, goes_on=return_exceptions
        )

        def pack(payload: Any) -> Request:
            return Request.pack(payload, timeout_s=plan.timeout_s, once=once, **wishes)

        replies = self._carry_out(plan, map(pack, payloads))
        return (outcome(reply, return_exceptions) for reply in replies)

    def _carry_out(self, plan: Plan[Request], requests: Iterator[Request]) -> Iterator[Reply]:
        waiter = Waiter()
        under_way: dict[Call[Waiter], int] = {}
        try:
            while not plan.is_done:
                self._send_next(plan, requests, waiter, under_way)
                call = waiter.take()
                if call is None and plan.must_wait(monotonic()):
                    call = self._connection.wait(waiter, plan.wakes_at(monotonic()))
                if call in under_way:
                    plan.ended(under_way.pop(call), call.reply(), monotonic())
                yield from plan.answers()
        finally:
            self._connection.forget(under_way)

    def _send_next(
        self,
        plan: Plan[Request],
        requests: Iterator[Request],
        waiter: Waiter,
        under_way: dict[Call[Waiter], int],
    ) -> None:
        now = monotonic()
        if plan.wants_item(now):
            request = next(requests, None)
            if request is None:
                plan.complete()
            else:
                plan.add(request)
        while (item := plan.next_to_send(now)) is not None:
            number, request = item
            under_way[self._connection.submit(request, waiter)] = number

    def close(self) -> None:
        """Calls that other threads still wait for end with ``Unavailable``."""
        self._connection.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
