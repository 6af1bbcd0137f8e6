"""The only file that knows frames and msgpack: every message, both ends, version 1.

A peer that sends nonsense is no exception here but a value: ``Unreadable``, or a reply that is
garbled. Only ``decode_task`` and ``decode_reply`` raise, each for the one caller that reads them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from balancer.core.events import STATUS, FailedTry, Outcome, Reason, Refuse, WorkerReply

VERSION = 1
ENVELOPE_FRAMES_MAX = 7
FRAMES_MAX = 1 + ENVELOPE_FRAMES_MAX + 1 + 2
"""Routing id, envelope, the empty frame, header and payload. Longer messages are not kept."""
HEADER_BYTES_MAX = 4096
FRAME_BYTES_MAX_LEAST = 2 * HEADER_BYTES_MAX
"""However small max_body is, the handshake and the headers must fit through a socket."""
PING = [msgpack.packb({"op": "ping"}), b""]
PONG = [msgpack.packb("pong")]
EMPTY_REPLY = [b""]

Echo = bytes | str | None

_SERVICE_UNAVAILABLE = "Error 503: Service Unavailable."
_ERRORS: dict[Reason, str] = {
    Reason.MALFORMED: "Error 400: Bad Request. The message cannot be read.",
    Reason.TOO_LARGE: "Error 413: Too Large. The payload is above the limit max_body.",
    Reason.CLIENT_LIMIT: "Error 429: Too Many Requests. This client has too many open.",
    Reason.POISONED: "Error 500: Poisoned. This request killed or hung one worker after another.",
    Reason.EXHAUSTED: f"{_SERVICE_UNAVAILABLE} No downstream server could process this frame.",
    Reason.NO_WORKERS: f"{_SERVICE_UNAVAILABLE} No worker is up.",
    Reason.QUEUE_FULL: f"{_SERVICE_UNAVAILABLE} The queue is full.",
    Reason.QUEUE_TIMEOUT: f"{_SERVICE_UNAVAILABLE} No worker was free within queue_timeout.",
    Reason.RETRY_BUDGET: f"{_SERVICE_UNAVAILABLE} Too many tries failed lately to try again.",
    Reason.DRAINING: f"{_SERVICE_UNAVAILABLE} The cluster is draining.",
    Reason.DEADLINE: "Error 504: Deadline exceeded. The request's time was spent.",
}


def frame_bytes_max(max_body_bytes: int) -> int:
    """The hard limit: who sends a larger frame loses its connection and gets no answer."""
    return max(2 * max_body_bytes, FRAME_BYTES_MAX_LEAST)


class WireError(ValueError):
    """What a peer sent cannot be read; the text says what is wrong with it."""


# --- client → balancer --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Header:
    """What a client may say about its request; everything is optional."""

    timeout_s: float | None = None
    try_timeout_s: float | None = None
    once: bool = False
    route: str | None = None
    key: str | None = None
    priority: int = 1
    id: Echo = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A client's message: how to answer it, what it wants, and the payload nobody decoded."""

    envelope: Sequence[bytes]
    """Routing id first, up to and including the empty frame: the start of the answer."""
    header: Header
    payload: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    envelope: Sequence[bytes]
    error: str
    id: Echo = None


def decode_request(frames: Sequence[bytes]) -> Incoming | Unreadable:
    """Read a message as the ROUTER gives it, routing id first."""
    try:
        end = frames.index(b"", 1) + 1
    except ValueError:
        return Unreadable(frames[:1], "no empty frame between envelope and body")
    envelope, body = frames[:end], frames[end:]
    if end > ENVELOPE_FRAMES_MAX + 2 or len(body) > 2:
        return Unreadable(envelope, "too many frames")
    if not body:
        return Unreadable(envelope, "no body frame")
    header, fields = _NO_HEADER, dict[str, Any]()
    if len(body) == 2:
        try:
            fields = _decode_map(body[0])
            header = _read_header(fields)
        except WireError as error:
            return Unreadable(envelope, f"header: {error}", _readable_id(fields))
    if not body[-1]:
        error_text = "the payload is zero bytes long, which no msgpack value is"
        return Unreadable(envelope, error_text, header.id)
    return Incoming(envelope, header, body[-1])


_NO_HEADER = Header()


def _decode_map(frame: bytes) -> dict[str, Any]:
    if len(frame) > HEADER_BYTES_MAX:
        raise WireError(f"{len(frame)} bytes, the limit is {HEADER_BYTES_MAX}")
    try:
        fields = msgpack.unpackb(frame, max_ext_len=0)
    # A hostile frame raises ValueError, StackError, UnicodeDecodeError, TypeError, OverflowError …
    except Exception as error:
        raise WireError("not msgpack") from error
    if type(fields) is not dict:
        raise WireError("not a map")
    return fields


def _read_header(fields: Mapping[str, Any]) -> Header:
    if _field(fields, "v", int, VERSION) != VERSION:
        raise WireError(f"v must be {VERSION}")
    priority = _field(fields, "priority", int, 1)
    if priority not in (0, 1, 2):
        raise WireError("priority must be 0, 1 or 2")
    return Header(
        timeout_s=_duration_s(fields, "timeout_ms"),
        try_timeout_s=_duration_s(fields, "try_timeout_ms"),
        once=_field(fields, "once", bool, False),
        route=_field(fields, "route", str, None),
        key=_field(fields, "key", str, None),
        priority=priority,
        id=_id(fields),
    )


def _field(fields: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not kind:  # not isinstance: True is an int
        raise WireError(f"{name} must be of type {kind.__name__}")
    return value


def _duration_s(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise WireError(f"{name} must be a number of milliseconds, 0 or more")
    return float(value) / 1000


def _id(fields: Mapping[str, Any]) -> Echo:
    value = fields.get("id")
    if value is not None and type(value) not in (bytes, str):
        raise WireError("id must be bytes or str")
    return value


def _readable_id(fields: Mapping[str, Any]) -> Echo:
    try:
        return _id(fields)
    except WireError:
        return None


def encode_request(payload: Any, **header: Any) -> list[bytes]:
    """The body frames of a request; header fields that are None are left out."""
    return [encode_header(**header), msgpack.packb(payload)]


def encode_header(**header: Any) -> bytes:
    """A request's header alone, for whoever sends the same payload again with less time left."""
    fields = {name: value for name, value in header.items() if value is not None}
    return bytes(msgpack.packb({"v": VERSION, **fields}))


# --- balancer → client --------------------------------------------------------------------------


def encode_answer(
    reply: WorkerReply, worker: str, attempts: int, tried: Sequence[FailedTry], id: Echo
) -> bytes:
    """The worker's value is spliced in as it came, never decoded and packed again."""
    if reply.status == 200:
        fields: dict[str, Any] = {"status": 200}
    else:
        reason = "handler_error" if reply.status == 500 else Reason.MALFORMED.value
        fields = {"status": reply.status, "error": reply.error, "reason": reason}
    fields |= {"worker": worker, "attempts": attempts} | _tried(tried)
    if id is not None:
        fields["id"] = id
    if reply.status != 200:
        return bytes(msgpack.packb(fields))
    packed = msgpack.packb(fields)
    # A map of up to 15 pairs begins with one byte that counts them: make room for one pair more.
    return b"".join((bytes((packed[0] + 1,)), _BODY_KEY, reply.value, packed[1:]))


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


def _tried(tried: Sequence[FailedTry]) -> dict[str, Any]:
    if not tried:
        return {}
    return {
        "tried": [
            {"worker": t.worker, "why": t.why.value, "ms": round(t.took_s * 1000, 1)} for t in tried
        ]
    }


@dataclass(frozen=True, slots=True)
class Try:
    """A failed try as the client sees it."""

    worker: str
    why: str
    ms: float


@dataclass(frozen=True, slots=True)
class Reply:
    """The balancer's whole answer to one request. ``body`` is set for status 200 alone."""

    status: int
    body: Any = None
    error: str = ""
    reason: str = ""
    worker: str = ""
    attempts: int = 0
    tried: tuple[Try, ...] = ()
    may_have_run: bool = False
    retry_after_ms: int | None = None
    id: Echo = None


def decode_reply(frame: bytes) -> Reply:
    """Read the balancer's answer; WireError if it is none, which only a broken peer sends."""
    fields = decode_payload(frame)
    try:
        tried = tuple(Try(t["worker"], t["why"], t["ms"]) for t in fields.pop("tried", ()))
        known = {name: fields[name] for name in Reply.__dataclass_fields__ if name in fields}
        if type(known["status"]) is not int or type(known.get("reason", "")) is not str:
            raise WireError("not a reply of a balancer")
        return Reply(**known, tried=tried)
    except (AttributeError, KeyError, TypeError) as error:
        raise WireError("not a reply of a balancer") from error


# --- balancer → worker, worker → balancer -------------------------------------------------------


def encode_task(
    id: str, attempt: int, remaining_s: float, expires_at: float | None, payload: bytes
) -> list[bytes]:
    """``expires_at`` is for workers on this machine: CLOCK_MONOTONIC is the same for them."""
    header = {"id": id, "attempt": attempt, "remaining_ms": int(remaining_s * 1000)}
    if expires_at is not None:
        header["expires_at"] = expires_at
    return [msgpack.packb(header), payload]


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is asked to do; ``payload`` is still packed."""

    payload: bytes
    id: str = ""
    attempt: int = 1
    remaining_s: float | None = None
    expires_at: float | None = None
    is_ping: bool = False


def decode_task(frames: Sequence[bytes]) -> Task:
    """Read what a balancer sent; a lone frame is a payload. WireError if it is neither."""
    if len(frames) == 1:
        return Task(frames[0])
    if len(frames) != 2:
        raise WireError(f"expected a header and a payload, got {len(frames)} frames")
    fields = _decode_map(frames[0])
    return Task(
        payload=frames[1],
        id=_field(fields, "id", str, ""),
        attempt=_field(fields, "attempt", int, 1),
        remaining_s=_duration_s(fields, "remaining_ms"),
        expires_at=_field(fields, "expires_at", float, None),
        is_ping=fields.get("op") == "ping",
    )


def encode_value(value: Any) -> list[bytes]:
    """A handler's answer. TypeError, ValueError or OverflowError if msgpack cannot carry it."""
    return [msgpack.packb(value)]


def encode_error(status: int, error: str) -> list[bytes]:
    return [msgpack.packb({"status": status, "error": error}), _NIL]


_NIL = msgpack.packb(None)


def decode_payload(payload: bytes) -> Any:
    """The value in a payload, or WireError. Map keys may be of any type that Python can hash."""
    try:
        return msgpack.unpackb(payload, strict_map_key=False)
    # A hostile frame raises ValueError, StackError, UnicodeDecodeError, TypeError, OverflowError …
    except Exception as error:
        raise WireError(f"not msgpack: {str(error) or type(error).__name__}") from error


def decode_worker_reply(
    frames: Sequence[bytes], max_body_bytes: int, is_trusted: bool
) -> WorkerReply:
    """Classify a worker's reply. Only a worker that packs with our own runtime is trusted to
    send msgpack; for others its form is checked, or one bad value would spoil the client's reply.
    """
    value = frames[-1]
    if len(frames) > 2 or len(value) > max_body_bytes:
        return _GARBLED
    if len(frames) == 1:
        if not value:
            return _EMPTY
        if is_trusted or _is_msgpack(value):
            return WorkerReply(Outcome.ANSWER, value=value)
        return _GARBLED
    try:
        fields = _decode_map(frames[0])
        status, error = _field(fields, "status", int, 0), _field(fields, "error", str, "")
    except WireError:
        return _GARBLED
    if status == 504:
        return WorkerReply(Outcome.EXPIRED)
    if status in (400, 500):
        return WorkerReply(Outcome.ANSWER, status=status, error=error)
    return _GARBLED


_EMPTY = WorkerReply(Outcome.EMPTY)
_GARBLED = WorkerReply(Outcome.GARBLED)


def _is_msgpack(value: bytes) -> bool:
    """Whether it is exactly one msgpack value, found by walking it without building it."""
    unpacker = msgpack.Unpacker(max_buffer_size=1 + len(value))
    # Walked as the only element of an array: in the client's reply it lies one level deeper too.
    unpacker.feed(b"\x91")
    unpacker.feed(value)
    try:
        unpacker.skip()
    except (ValueError, msgpack.OutOfData, msgpack.StackError):
        return False
    return bool(unpacker.tell() == 1 + len(value))
