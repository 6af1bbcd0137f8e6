"""The proxy does to connections what a run of chaos asks of it, and nothing else."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.proxy import Proxy

HELLO = b"hello, are you there?"
PATIENCE_S = 5.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def through_proxy(play: Callable[[Proxy, Streams], Awaitable[None]]) -> None:
    """Play with a connection by a proxy to somebody who sends back what comes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
        except ConnectionResetError:
            pass
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        proxy = Proxy(("127.0.0.1", server.sockets[0].getsockname()[1]))
        host, _, port = (await proxy.open()).removeprefix("tcp://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(PATIENCE_S):
            await play(proxy, (reader, writer))
        writer.close()
        await proxy.close()
        server.close()

    asyncio.run(main())


async def ask(streams: Streams, data: bytes = HELLO) -> float:
    """How many seconds it took to come back."""
    reader, writer = streams
    sent_at = time.monotonic()
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    return time.monotonic() - sent_at


def test_it_passes_everything_on() -> None:
    async def play(proxy: Proxy, streams: Streams) -> None:
        await ask(streams)
        await ask(streams, bytes(1 << 20))

    through_proxy(play)


def test_latency_is_added_in_each_direction() -> None:
    async def play(proxy: Proxy, streams: Streams) -> None:
        proxy.latency_s = 0.1
        assert await ask(streams) >= 0.2

    through_proxy(play)


def test_slices_arrive_whole() -> None:
    async def play(proxy: Proxy, streams: Streams) -> None:
        proxy.is_slicing = True
        await ask(streams)

    through_proxy(play)


def test_what_is_swallowed_arrives_after_the_release() -> None:
    async def play(proxy: Proxy, streams: Streams) -> None:
        await ask(streams)
        proxy.swallow()
        answer = asyncio.create_task(ask(streams))
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert not done
        proxy.release()
        assert await answer >= 0.2

    through_proxy(play)


def test_a_reset_cuts_the_connection() -> None:
    async def play(proxy: Proxy, streams: Streams) -> None:
        await ask(streams)
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await streams[0].read(1)

    through_proxy(play)
