"""A TCP proxy between clients and the cluster that delays, slices, cuts and swallows at command."""

import asyncio
import contextlib
import socket
import struct

CHUNK_BYTES = 1 << 16
SLICE_BYTES = 7
SLICE_PAUSE_S = 0.001
SLICED_BYTES_MAX = 512
"""A larger chunk goes on whole: it would take seconds."""


class Proxy:
    """Passes bytes on, unless a fault is set; one event loop serves all connections."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.latency_s = 0.0
        self.is_slicing = False
        self._passes = asyncio.Event()
        self._passes.set()
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Start to listen; the address for clients."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"tcp://127.0.0.1:{port}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> None:
        """Cut every connection, as a crashed peer or an angry firewall does."""
        for writer in self._writers:
            connection = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()

    def swallow(self) -> None:
        """Let nothing through, in either direction, until ``release``."""
        self._passes.clear()

    def release(self) -> None:
        self._passes.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        for one, other in ((reader, there[1]), (there[0], writer)):
            self._writers.add(other)
            task = asyncio.create_task(self._pump(one, other))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (data := await reader.read(CHUNK_BYTES)) and not writer.is_closing():
                await self._passes.wait()
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                await self._write(writer, data)
        except OSError:
            pass  # one side is gone: the other is cut below
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if reader.exception() else writer.close()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if self.is_slicing and len(data) <= SLICED_BYTES_MAX:
            for begin in range(0, len(data), SLICE_BYTES):
                if writer.is_closing():
                    return
                writer.write(data[begin : begin + SLICE_BYTES])
                await asyncio.sleep(SLICE_PAUSE_S)
        else:
            writer.write(data)
        await writer.drain()
