"""Balancer → worker: a task; and what a worker of ours sends back.

Every worker imports this: what it need not know, or is slow to import, is elsewhere.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

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


class Task(NamedTuple):
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
