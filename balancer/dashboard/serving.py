"""The server: the board, and everything around it that a request passes, until we are killed."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from balancer.dashboard.application import Application
from balancer.dashboard.board import Board
from balancer.dashboard.connections import LimitedProtocol
from balancer.dashboard.guard import HEAD_BYTES_MAX, Guard


async def serve(
    cluster: str, token: str | None, hosts: frozenset[str], listener: socket.socket
) -> None:
    """Until we are killed, or something of ours fails: then the launcher starts another."""
    board = Board(cluster, is_admin=bool(token))
    config = uvicorn.Config(
        Guard(Application(board, token).asgi, hosts),
        http=LimitedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(board.watcher.run())
        group.create_task(_Server(config).serve([listener]))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """There is nothing to finish: a SIGTERM may end us where we stand."""
        yield
