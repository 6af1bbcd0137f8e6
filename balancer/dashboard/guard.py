"""Who may ask: only pages of ours and people at this machine, never a foreign page in a browser.

A browser takes every page that it shows to every address that it can reach, this one too. So a
request must name a host that we are known by, which a rebound name does not; must come from no
other page, whatever its method; and what is answered says that no other page may read or frame it.
"""

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "HEAD", "POST")
HEAD_BYTES_MAX = 8 * 1024
_FROM_NOWHERE_OR_US = ("none", "same-origin")

HEADERS = {
    "content-security-policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Middleware around everything else."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if _head_bytes(scope) > HEAD_BYTES_MAX:
            return PlainTextResponse("the head of this request is above 8 KiB\n", 431)
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return PlainTextResponse("this dashboard is not known by that name\n", 421)
        if scope["method"] not in METHODS:
            allow = {"allow": ", ".join(METHODS)}
            return PlainTextResponse("method not allowed\n", 405, allow)
        if not _is_ours(headers, host):
            return PlainTextResponse("not for other pages\n", 403)
        return None


def _is_ours(headers: Headers, host: str) -> bool:
    """Nowhere is an address typed in, a bookmark, or a program that is no browser."""
    origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
    return all(_is_origin_of(host, origin) for origin in origins) and all(
        site in _FROM_NOWHERE_OR_US for site in sites
    )


def is_sent_by_our_page(headers: Headers) -> bool:
    """For what changes something: no origin at all is not enough."""
    host = headers.get("host", "").lower()
    return _is_origin_of(host, headers.get("origin", "")) and (
        headers.get("sec-fetch-site") == "same-origin"
    )


def _is_origin_of(host: str, origin: str) -> bool:
    """A proxy may have added TLS."""
    return origin.lower() in (f"http://{host}", f"https://{host}")


def _head_bytes(scope: Scope) -> int:
    """One that comes in a single piece is not yet refused by the parser."""
    head = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
    return head + len(scope["raw_path"]) + len(scope["query_string"])
