"""Server-sent events to all who look: whoever reads too slowly is dropped, not waited for."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

from balancer.control import Message

VIEWERS_MAX = 24
BACKLOG_MAX = 64
"""Messages that a viewer may be behind: some ten seconds of them in the worst of times."""
RECONNECT_AFTER_MS = 1000


class TooMany(Exception):
    """So many look already that one more is refused."""


def encode(name: str, data: Message) -> bytes:
    """One message of the stream; JSON has no line feeds of its own."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Viewer:
    """A bounded queue of encoded messages between the cluster and one reader."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG_MAX)
        self._is_dropped = False

    def put(self, data: bytes) -> bool:
        """Whether there is room for it; without, the stream ends and its reader may come anew."""
        try:
            self._messages.put_nowait(data)
        except asyncio.QueueFull:
            self._is_dropped = True
        return not self._is_dropped

    async def get(self) -> bytes | None:
        """The next message; None once the viewer was dropped."""
        return None if self._is_dropped else await self._messages.get()


class Viewers:
    def __init__(self) -> None:
        self._all: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._all)

    def publish(self, messages: Iterable[bytes]) -> None:
        """Give the messages to all, as one."""
        data = b"".join(messages)
        self._all = {viewer for viewer in self._all if viewer.put(data)}

    def join(self, beginning: Iterable[bytes]) -> Viewer:
        """A new viewer, which is told of the past first. TooMany if there is no place."""
        if len(self._all) >= VIEWERS_MAX:
            raise TooMany
        viewer = Viewer()
        viewer.put(f"retry: {RECONNECT_AFTER_MS}\n\n".encode() + b"".join(beginning))
        self._all.add(viewer)
        return viewer

    async def read(self, viewer: Viewer) -> AsyncIterator[bytes]:
        """What the viewer is to be sent, until it is dropped or leaves."""
        try:
            while data := await viewer.get():
                yield data
        finally:
            self._all.discard(viewer)
