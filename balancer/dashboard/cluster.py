"""The dashboard's ear on the cluster: asks for its status again and again, follows its events.

However many look at the page, the cluster is asked once. A cluster that is gone or silent is
dialed until it answers again.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from balancer.control import LINE_BYTES_MAX, Message, NotRunning
from balancer.runtime_directory import control_path

PERIOD_S = 1.0
HASTE_S = 0.2
"""After an event that concerns a worker the status is asked for sooner, but never sooner than
this after the one before."""
PATIENCE_S = 3.0
"""The launcher answers within one second even while its balancer cannot."""
RETRY_S = 0.5
ACTION_TIMEOUT_S = 10.0
EVENTS_BEFORE = 1000


class Watcher:
    """Tells of each status, each event, and of each failure to get a status. Once the events begin
    anew, with those of before first, ``on_replay`` is called."""

    def __init__(
        self,
        name: str,
        on_status: Callable[[Message], None],
        on_event: Callable[[Message], None],
        on_replay: Callable[[], None],
        on_silence: Callable[[], None],
    ) -> None:
        self._name = name
        self._on_status = on_status
        self._on_event = on_event
        self._on_replay = on_replay
        self._on_silence = on_silence
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Without end."""
        while True:
            with contextlib.suppress(NotRunning):
                await self._watch()
            self._on_silence()
            await asyncio.sleep(RETRY_S)

    async def ask(self, question: Message, timeout_s: float = ACTION_TIMEOUT_S) -> Message:
        """Put a question of its own to the cluster. NotRunning if it does not answer."""
        async with _connection(self._name) as connection:
            await connection.send(question)
            reply = await connection.receive(timeout_s)
        self._news.set()
        return reply

    async def _watch(self) -> None:
        """Until the status or the events end; the other is of no use alone."""
        async with _connection(self._name) as questions, _connection(self._name) as events:
            tasks = {
                asyncio.create_task(self._ask_again_and_again(questions)),
                asyncio.create_task(self._follow(events)),
            }
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in done:
                task.result()

    async def _ask_again_and_again(self, connection: "_Connection") -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._news.clear()
            asked_at = clock()
            await connection.send({"op": "status"})
            status = await connection.receive(PATIENCE_S)
            if "error" in status:
                raise NotRunning(self._name)
            self._on_status(status)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(asked_at + PERIOD_S):
                    await self._news.wait()
            await asyncio.sleep(asked_at + HASTE_S - clock())

    async def _follow(self, connection: "_Connection") -> None:
        await connection.send({"op": "events", "last": EVENTS_BEFORE, "follow": True})
        self._on_replay()
        while True:
            record = await connection.receive(None)
            if record["op"] == "event":
                self._on_event(record)
                if record.get("worker"):
                    self._news.set()
            elif "error" in record:
                raise NotRunning(self._name)


class _Connection:
    """JSON lines over the control socket. NotRunning if anything is wrong with it."""

    def __init__(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._name = name
        self._reader = reader
        self._writer = writer

    async def send(self, message: Message) -> None:
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise NotRunning(self._name) from error

    async def receive(self, timeout_s: float | None) -> Message:
        try:
            async with asyncio.timeout(timeout_s):
                line = await self._reader.readline()
            message = json.loads(line)
        except (OSError, ValueError, RecursionError) as error:  # a timeout is an OSError
            raise NotRunning(self._name) from error
        if not isinstance(message, dict) or not isinstance(message.get("op"), str):
            raise NotRunning(self._name)
        return message


@asynccontextmanager
async def _connection(name: str) -> AsyncIterator[_Connection]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_unix_connection(
                control_path(name), limit=LINE_BYTES_MAX
            )
    except OSError as error:
        raise NotRunning(name) from error
    try:
        yield _Connection(name, reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
