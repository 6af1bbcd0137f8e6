"""What the page may have done to a worker, once the operator has given the dashboard a token."""

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from balancer.control import Message, NotRunning
from balancer.dashboard.guard import is_sent_by_our_page
from balancer.dashboard.shown import shown_text

ACTIONS = ("drain", "ready", "restart", "kill")
BODY_BYTES_MAX = 4 * 1024
NAME_CHARACTERS_MAX = 200

Ask = Callable[[Message], Awaitable[Message]]


class Refused(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class Admin:
    def __init__(self, token: str, ask: Ask) -> None:
        """``ask`` puts a question to the cluster; NotRunning if there is no answer."""
        self._token = token
        self._ask = ask
        self.routes = [
            Route(f"/admin/{action}", self._route_to(action), methods=["POST"])
            for action in ACTIONS
        ]

    def _route_to(self, action: str) -> Callable[[Request], Awaitable[Response]]:
        async def act(request: Request) -> Response:
            try:
                self._check(request)
                worker = _worker_in(await _body_of(request))
                return JSONResponse(await self._pass_on(action, worker))
            except Refused as refused:
                challenge = {"www-authenticate": "Bearer"} if refused.status == 401 else None
                return JSONResponse({"error": str(refused)}, refused.status, challenge)

        return act

    def _check(self, request: Request) -> None:
        if not is_sent_by_our_page(request.headers):
            raise Refused(403, "only the dashboard's own page may ask for this")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        is_known = hmac.compare_digest(token.encode(), self._token.encode())
        if scheme.lower() != "bearer" or not is_known:
            raise Refused(401, "this is not the dashboard's token")
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise Refused(415, "the body must be application/json")

    async def _pass_on(self, action: str, worker: str) -> dict[str, Any]:
        try:
            reply = await self._ask({"op": action, "worker": worker, "by": "dashboard"})
        except NotRunning:
            raise Refused(503, "the cluster does not answer") from None
        if "error" in reply:
            raise Refused(409, shown_text(str(reply["error"])))
        return {"did": shown_text(str(reply.get("did"))), "changed": bool(reply.get("changed"))}


async def _body_of(request: Request) -> bytes:
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise Refused(413, "the body is above 4 KiB")
    except ClientDisconnect:
        raise Refused(400, "the body breaks off") from None
    return body


def _worker_in(body: bytes) -> str:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON") from None
    worker = asked.get("worker") if isinstance(asked, dict) else None
    if not isinstance(worker, str) or not 0 < len(worker) <= NAME_CHARACTERS_MAX:
        raise Refused(400, 'the body must be {"worker": name}')
    return worker
