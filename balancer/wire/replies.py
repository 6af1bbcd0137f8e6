"""Balancer → client: the one answer to a request, spliced or packed."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgpack

from balancer.core.events import STATUS, FailedTry, Reason, Refuse, WorkerReply
from balancer.wire.requests import Echo

_SERVICE_UNAVAILABLE = "Error 503: Service Unavailable."
_ERRORS: dict[Reason, str] = {
    Reason.MALFORMED: "Error 400: Bad Request. The message cannot be read.",
    Reason.TOO_LARGE: "Error 413: Too Large. The payload is above the limit max_body.",
    Reason.CLIENT_LIMIT: "Error 429: Too Many Requests. This client has too many open.",
    Reason.DUPLICATE: "Error 409: Conflict. A request marked once with this id came before.",
    Reason.POISONED: "Error 500: Poisoned. This request killed or hung one worker after another.",
    Reason.EXHAUSTED: f"{_SERVICE_UNAVAILABLE} No downstream server could process this frame.",
    Reason.NO_WORKERS: f"{_SERVICE_UNAVAILABLE} No worker is up.",
    Reason.QUEUE_FULL: f"{_SERVICE_UNAVAILABLE} The queue is full.",
    Reason.QUEUE_TIMEOUT: f"{_SERVICE_UNAVAILABLE} No worker was free within queue_timeout.",
    Reason.RETRY_BUDGET: f"{_SERVICE_UNAVAILABLE} Too many tries failed lately to try again.",
    Reason.DRAINING: f"{_SERVICE_UNAVAILABLE} The cluster is draining.",
    Reason.DEADLINE: "Error 504: Deadline exceeded. The request's time was spent.",
}


def encode_answer(
    reply: WorkerReply, worker: str, attempts: int, tried: Sequence[FailedTry], id: Echo
) -> bytes:
    """The worker's value is spliced in as it came, never decoded and packed again."""
    if reply.status == 200 and not tried and id is None:
        head, tail = _around_body(worker, attempts)
        return b"".join((head, reply.value, tail))
    if reply.status == 200:
        fields: dict[str, Any] = {"status": 200}
    else:
        reason = "handler_error" if reply.status == 500 else Reason.MALFORMED.value
        fields = {"status": reply.status, "error": reply.error, "reason": reason}
        fields["may_have_run"] = reply.status == 500  # it did: the handler raised
    fields |= {"worker": worker, "attempts": attempts} | _tried(tried)
    if id is not None:
        fields["id"] = id
    if reply.status != 200:
        return bytes(msgpack.packb(fields))
    head, tail = _split(fields)
    return b"".join((head, reply.value, tail))


@lru_cache(maxsize=8192)
def _around_body(worker: str, attempts: int) -> tuple[bytes, bytes]:
    """What is the same in all plain answers of a worker, packed once."""
    return _split({"status": 200, "worker": worker, "attempts": attempts})


def _split(fields: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """What comes before and after a body that is spliced in as the first pair."""
    packed = msgpack.packb(fields)
    # A map of up to 15 pairs begins with one byte that counts them: make room for one pair more.
    return bytes((packed[0] + 1,)) + _BODY_KEY, packed[1:]


_BODY_KEY = msgpack.packb("body")


def encode_refusal(refuse: Refuse, id: Echo) -> bytes:
    error = _ERRORS[refuse.reason]
    fields: dict[str, Any] = {
        "status": STATUS[refuse.reason],
        "error": f"{error} ({refuse.detail})" if refuse.detail else error,
        "reason": refuse.reason.value,
        "attempts": refuse.attempts,
        **_tried(refuse.tried),
        "may_have_run": refuse.may_have_run,
    }
    if refuse.retry_after_s is not None:
        fields["retry_after_ms"] = math.ceil(refuse.retry_after_s * 1000)
    if id is not None:
        fields["id"] = id
    return bytes(msgpack.packb(fields))


def encode_welcome(life: str, id: Echo) -> bytes:
    """The answer to a hello: ``life`` is that of the launcher, and with it that of the cluster."""
    fields: dict[str, Any] = {"status": 200, "body": {"life": life}}
    if id is not None:
        fields["id"] = id
    return bytes(msgpack.packb(fields))


def _tried(tried: Sequence[FailedTry]) -> dict[str, Any]:
    if not tried:
        return {}
    return {
        "tried": [
            {"worker": t.worker, "why": t.why.value, "ms": round(t.took_s * 1000, 1)} for t in tried
        ]
    }
