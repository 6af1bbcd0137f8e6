"""Balancer ↔ worker: a task and what comes back for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from balancer.core.events import Outcome, WorkerReply
from balancer.wire.values import WireError, decode_map, read_duration_s, read_field

PING = [msgpack.packb({"op": "ping"}), b""]
PONG = [msgpack.packb("pong")]
EMPTY_REPLY = [b""]


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
    fields = decode_map(frames[0])
    return Task(
        payload=frames[1],
        id=read_field(fields, "id", str, ""),
        attempt=read_field(fields, "attempt", int, 1),
        remaining_s=read_duration_s(fields, "remaining_ms"),
        expires_at=read_field(fields, "expires_at", float, None),
        is_ping=fields.get("op") == "ping",
    )


def encode_value(value: Any) -> list[bytes]:
    """A handler's answer. TypeError, ValueError or OverflowError if msgpack cannot carry it."""
    return [msgpack.packb(value)]


def encode_error(status: int, error: str) -> list[bytes]:
    return [msgpack.packb({"status": status, "error": error}), _NIL]


_NIL = msgpack.packb(None)


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
        fields = decode_map(frames[0])
        status, error = read_field(fields, "status", int, 0), read_field(fields, "error", str, "")
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
