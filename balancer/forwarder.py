"""Requests on their way to workers: each becomes a task, or a part of one, and leaves at once.

A worker that has replied is idle until then: whatever else follows from its reply comes after.
"""

from collections.abc import Callable, Mapping
from typing import Any

from balancer.core.events import (
    Event,
    Forward,
    ForwardBatch,
    Outcome,
    ReplyArrived,
    WorkerId,
    WorkerReply,
)
from balancer.frontend import Frontend, once_name
from balancer.link import Link
from balancer.wire import requests, tasks
from balancer.wire.task import pack_message
from balancer.wire.values import LARGE_BYTES

STREAMED_BYTES_MAX = LARGE_BYTES - 4096
"""A payload below this makes no large message of its task."""


class Forwarder:
    """``tell_once`` gets the name of a ``once`` request before any worker gets the request, which
    no worker does where the result is False."""

    def __init__(
        self,
        frontend: Frontend,
        links: Mapping[WorkerId, Link],
        boot: str,
        tell_once: Callable[[bytes], bool],
        emit: Callable[[Event], None],
        on_undelivered: Callable[[WorkerId, Link | None], None],
    ) -> None:
        self._frontend = frontend
        self._links = links
        self._boot = boot
        self._tell_once = tell_once
        self._emit = emit
        self._on_undelivered = on_undelivered

    def request_name(self, request: int) -> str:
        """The request's name in logs and for workers; no other balancer process gives it."""
        return f"{self._boot}-{request}"

    def forward(self, action: Forward) -> None:
        link = self._links.get(action.worker)
        _, _, header, payload = self._frontend.incoming(action.request)
        if header.once and not self._may_go(action, header, link):
            return
        name = f"{self._boot}-{action.request}"  # as ``request_name`` says
        attempt, remaining_s, expires_at = action.attempt, action.remaining_s, action.expires_at
        wants_time = action.wants_time
        task: bytes | list[Any]
        if (
            link is not None
            and link.has_stream
            and type(payload) is bytes
            and len(payload) < STREAMED_BYTES_MAX
        ):
            task = pack_message(name, attempt, remaining_s, expires_at, wants_time, payload)
        else:
            instant = expires_at if link is not None and link.is_ours else None
            task = tasks.encode_task(name, attempt, remaining_s, instant, payload, wants_time)
        if link is None or not link.send(task):
            self._on_undelivered(action.worker, link)

    def forward_batch(self, action: ForwardBatch) -> None:
        link, tries = self._links.get(action.worker), action.tries
        boot, incoming = self._boot, self._frontend.incoming
        is_ours = link is not None and link.is_ours
        headers = [
            (
                f"{boot}-{one.request}",  # as ``request_name`` says
                one.attempt,
                one.remaining_s,
                one.expires_at if is_ours else None,
            )
            for one in tries
        ]
        payloads = [incoming(one.request).payload for one in tries]
        frames = tasks.encode_batch(headers, payloads)
        if link is None or not link.send(frames, len(payloads)):
            self._on_undelivered(action.worker, link)

    def _may_go(self, action: Forward, header: requests.Header, link: Link | None) -> bool:
        """Of a request marked ``once`` the launcher is told first; and whether it was delivered
        will decide whether another worker may have it, so look who is alive."""
        name = once_name(header)
        if name is not None and not self._tell_once(name):
            # As if the worker had said that it is too late: it is free, and nothing has run.
            self._emit(ReplyArrived(action.worker, WorkerReply(Outcome.EXPIRED)))
            return False
        if link is not None:
            link.watch()
        return True
