"""Balancer → worker: a task or several at once; and what a worker of ours sends back.

Every worker imports this: what it need not know, or is slow to import, is elsewhere.
"""

from collections.abc import Sequence
from typing import Any

import msgpack

from balancer.wire.task import FIXED, Task, pack_task, pack_tasks, unpack_task, unpack_tasks
from balancer.wire.values import (
    BATCH_ENTRY_BYTES_MAX,
    BATCH_MAX,
    LARGE_BYTES,
    Blob,
    WireError,
    batch_header_bytes_max,
    decode_map,
    to_duration_s,
)

LONE_FRAMES_MAX = 2
"""A message of more than a header and a payload can only be several tasks."""
PING = [msgpack.packb({"op": "ping"}), b""]
PONG_EACH = [msgpack.packb({"batch": "each"})]
PONG_WHOLE = [msgpack.packb({"batch": "whole"})]
"""What a worker that knows batches says to a ping: how its handler is called for one."""
EMPTY_REPLY = [b""]
EXPIRED_REPLY = [msgpack.packb({"status": 504, "error": "expired before it began"}), b"\xc0"]
"""The time of the try was over when the worker came to it: no user code has run."""

Packer = msgpack.Packer
_pack_header = Packer().pack
"""A packer that is kept costs half of what packb does; it keeps no more than its longest header."""
_NIL = msgpack.packb(None)
_BIN_32 = b"\xc6"


# --- there ----------------------------------------------------------------------------------------


def encode_task(
    id: str,
    attempt: int,
    remaining_s: float,
    expires_at: float | None,
    payload: Blob,
    wants_time: bool = False,
) -> list[Any]:
    """``expires_at`` is for workers of ours on this machine, which have the same clock. They are
    told in a form of their own."""
    if expires_at is not None:
        return [pack_task(id, attempt, remaining_s, expires_at, wants_time), payload]
    header = {"id": id, "attempt": attempt, "remaining_ms": int(remaining_s * 1000)}
    if wants_time:
        header["tell"] = True
    return [_pack_header(header), payload]


def encode_batch(
    headers: Sequence[tuple[str, int, float, float | None]], payloads: Sequence[Blob]
) -> list[Any]:
    """Two tasks or more in one message; each header is what ``encode_task`` takes, and all have an
    ``expires_at`` or none has."""
    fixed = [
        (id, attempt, remaining_s, expires_at)
        for id, attempt, remaining_s, expires_at in headers
        if expires_at is not None
    ]
    if fixed:
        return [pack_tasks(fixed), *payloads]
    entries = [
        (id, attempt, int(remaining_s * 1000), None) for id, attempt, remaining_s, _ in headers
    ]
    return [_pack_header({"batch": entries}), *payloads]


def decode_task(frames: Sequence[Blob]) -> Task:
    """Read what a balancer sent; a lone frame is a payload. WireError if it is neither."""
    if len(frames) == 1:
        return Task(frames[0])
    if len(frames) != 2:
        raise WireError(f"expected a header and a payload, got {len(frames)} frames")
    task = unpack_task(frames)
    if task is not None:
        return task
    header, payload = frames
    fields = decode_map(header)
    get = fields.get
    id, attempt = get("id"), get("attempt")
    return _task(
        payload,
        "" if id is None else id,
        1 if attempt is None else attempt,
        get("remaining_ms"),
        get("expires_at"),
        get("op") == "ping",
        get("tell") is True,
    )


def decode_batch(frames: Sequence[Blob]) -> list[Task]:
    """Read several tasks that a balancer sent in one message. WireError if it makes no sense."""
    header, payloads = frames[0], frames[1:]
    count = len(payloads)
    if not 2 <= count <= BATCH_MAX:
        raise WireError(f"a batch of {count} payloads")
    if type(header) is bytes and header[:1] == FIXED:
        return unpack_tasks(header, payloads)
    entries = decode_map(header, batch_header_bytes_max(count)).get("batch")
    if type(entries) is not list or len(entries) != count:
        raise WireError(f"batch must be an array with an entry for each of {count} payloads")
    return [_read_entry(entry, payload) for entry, payload in zip(entries, payloads, strict=True)]


def _read_entry(entry: Any, payload: Blob) -> Task:
    if type(entry) is not list or len(entry) != 4:
        raise WireError("what is said of a task must be an array of 4")
    return _task(payload, *entry)


def _task(
    payload: Blob,
    id: Any,
    attempt: Any,
    remaining_ms: Any,
    expires_at: Any,
    is_ping: bool = False,
    wants_time: bool = False,
) -> Task:
    """Checked here and not field by field, which would cost more than the unpacking."""
    if type(id) is not str:
        raise WireError("id must be of type str")
    if type(attempt) is not int:  # not isinstance: True is an int
        raise WireError("attempt must be of type int")
    if expires_at is not None and type(expires_at) is not float:
        raise WireError("expires_at must be of type float")
    remaining_s = to_duration_s(remaining_ms, "remaining_ms")
    return Task(payload, id, attempt, remaining_s, expires_at, is_ping, wants_time)


# --- and back -------------------------------------------------------------------------------------


def encode_value(value: Any) -> list[bytes]:
    """A handler's answer. TypeError, ValueError or OverflowError if msgpack cannot carry it."""
    if type(value) is bytes and len(value) >= LARGE_BYTES:
        # As the packer would, but it copies twice.
        return [b"".join((_BIN_32, len(value).to_bytes(4, "big"), value))]
    # Not a packer that is kept: it would keep as much memory as the largest answer took.
    return [Packer().pack(value)]


def encode_timed(reply: list[bytes], took_s: float) -> list[bytes]:
    """The reply with how long it took, where it is an answer."""
    if len(reply) != 1 or not reply[0]:
        return reply
    return [_pack_header({"took_us": max(1, int(took_s * 1e6))}), reply[0]]


def encode_error(status: int, error: str) -> list[bytes]:
    return [msgpack.packb({"status": status, "error": error}), _NIL]


def encode_batch_reply(replies: Sequence[list[bytes]], took_s: float = 0.0) -> list[bytes]:
    """The replies to a batch in one message; each is what would be sent if it were alone. Where
    none is an error, they tell how long they took together."""
    values = [reply[-1] for reply in replies]
    if sum(map(len, replies)) == len(replies):
        return [_pack_header({"batch": len(values), "took_us": max(1, int(took_s * 1e6))}), *values]
    entries = [None if len(reply) == 1 else msgpack.unpackb(reply[0]) for reply in replies]
    header = msgpack.packb({"batch": entries})
    if len(header) > batch_header_bytes_max(len(entries)):
        header = msgpack.packb({"batch": [entry and _shortened(entry) for entry in entries]})
    return [header, *values]


def _shortened(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with so much of its text as is due to each if all are long."""
    room_bytes = BATCH_ENTRY_BYTES_MAX - len(msgpack.packb(entry | {"error": ""})) - _STR_BYTES
    text: bytes = entry["error"].encode()[:room_bytes]
    return entry | {"error": text.decode(errors="ignore")}


_STR_BYTES = 2
"""By how much the head of a string that fits into an entry is longer than that of an empty one."""
