"""The routes: the page, the figures for machines, and actions if there is a token."""

from collections.abc import Sequence
from pathlib import Path

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from balancer.dashboard.admin import Admin
from balancer.dashboard.board import Board
from balancer.dashboard.metrics import StatusCollector
from balancer.dashboard.stream import TooMany

IN_ROTATION = ("idle", "busy")
_PAGE = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class Application:
    """What a request gets that the guard has let through."""

    def __init__(self, board: Board, token: str | None) -> None:
        self._board = board
        self._registry = CollectorRegistry()
        self._registry.register(StatusCollector(lambda: board.memory.status))
        self.asgi: ASGIApp = Router(
            [
                *_page_routes(),
                Route("/metrics", self._metrics),
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/status.json", self._status),
                Route("/stream", self._stream),
                Route("/worker/{name}.json", self._worker),
                *(Admin(token, board.watcher.ask).routes if token else ()),
            ],
            redirect_slashes=False,
        )

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        status = self._board.memory.status
        if status is None:
            return PlainTextResponse("the cluster does not answer\n", 503)
        ready = sum(worker["state"] in IN_ROTATION for worker in status["workers"])
        return PlainTextResponse(f"{ready} in rotation\n", 200 if ready else 503)

    async def _status(self, _: Request) -> Response:
        status = self._board.memory.status
        if status is None:
            return JSONResponse({"error": "the cluster does not answer"}, 503)
        return JSONResponse(status)

    async def _worker(self, request: Request) -> Response:
        told = self._board.memory.worker(request.path_params["name"])
        if told is None:
            return JSONResponse({"error": "there is no such worker"}, 404)
        return JSONResponse(told)

    async def _stream(self, request: Request) -> Response:
        media_type = "text/event-stream"
        if request.method == "HEAD":
            return Response(media_type=media_type)
        try:
            viewer = self._board.join()
        except TooMany:
            return PlainTextResponse("too many look at this already\n", 503)
        return StreamingResponse(self._board.viewers.read(viewer), media_type=media_type)


def _page_routes() -> Sequence[Route]:
    """The files are read once: what is served cannot be chosen by whoever asks."""
    routes = [_page_route(f"/page/{file.name}", file) for file in sorted(_PAGE.iterdir())]
    return [_page_route("/", _PAGE / "index.html"), *routes]


def _page_route(path: str, file: Path) -> Route:
    content, media_type = file.read_bytes(), _TYPES[file.suffix]

    async def serve(_: Request) -> Response:
        return Response(content, media_type=media_type)

    return Route(path, serve)
