"""Worker → balancer: what a worker's reply is, whoever wrote the worker."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from balancer.core.events import Batching, Outcome, WorkerReply
from balancer.wire.values import Blob, WireError, batch_header_bytes_max, decode_map, read_field

_ANSWER = Outcome.ANSWER
_EMPTY = WorkerReply(Outcome.EMPTY)
_EXPIRED = WorkerReply(Outcome.EXPIRED)
_GARBLED = WorkerReply(Outcome.GARBLED)


def decode_pong(frames: Sequence[Blob]) -> Batching:
    """What the worker does with batches, by its reply to a ping: NONE, unless it says so."""
    if len(frames) != 1:
        return Batching.NONE
    try:
        return _PONGS.get(read_field(decode_map(frames[0]), "batch", str, ""), Batching.NONE)
    except WireError:
        return Batching.NONE


_PONGS = {kind.value: kind for kind in (Batching.EACH, Batching.WHOLE)}


def decode_worker_reply(
    frames: Sequence[Blob], max_body_bytes: int, is_trusted: bool
) -> WorkerReply:
    """Classify a worker's reply. Only a worker that packs with our own runtime is trusted to
    send msgpack; for others its form is checked, or one bad value would spoil the client's reply.
    """
    value = frames[-1]
    if len(frames) > 2 or len(value) > max_body_bytes:
        return _GARBLED
    if is_trusted and len(frames) == 1 and value and type(value) is bytes:
        return WorkerReply(_ANSWER, 200, value)
    try:
        if len(frames) == 1:
            return _read_value(value, is_trusted)
        fields = decode_map(frames[0])
        return _read_value(value, is_trusted) if "took_us" in fields else _read_error(fields)
    except WireError:
        return _GARBLED


def decode_batch_reply(
    frames: Sequence[Blob], count: int, max_body_bytes: int, is_trusted: bool
) -> tuple[tuple[WorkerReply, ...], float | None]:
    """Classify a worker's reply to a batch of ``count`` requests, one by one, as if each had come
    alone. If any part of it makes no sense, all of it is garbled. And how long the worker says
    that they took together, if it does."""
    header, values = frames[0], frames[1:]
    if len(values) != count or max(map(len, values)) > max_body_bytes:
        return (_GARBLED,) * count, None
    try:
        fields = decode_map(header, batch_header_bytes_max(count))
        return tuple(_read_batch(fields, values, is_trusted)), _took_s(fields)
    except WireError:
        return (_GARBLED,) * count, None


def decode_took_s(frames: Sequence[Blob]) -> float | None:
    """How long the worker says that it took; None if it does not say."""
    try:
        return _took_s(decode_map(frames[0]))
    except WireError:
        return None


def _took_s(fields: Mapping[str, Any]) -> float | None:
    took_us = fields.get("took_us")
    return took_us / 1e6 if type(took_us) is int and 0 < took_us < _TOOK_MAX_US else None


_TOOK_MAX_US = 1 << 40


def _read_batch(
    fields: Mapping[str, Any], values: Sequence[Blob], is_trusted: bool
) -> list[WorkerReply]:
    count, entries = len(values), fields.get("batch")
    if type(entries) is int and entries == count:  # not isinstance: True is an int
        if is_trusted and all(values):
            return [
                WorkerReply(_ANSWER, 200, value if isinstance(value, bytes) else value.buffer)
                for value in values
            ]
        return [_read_value(value, is_trusted) for value in values]
    if type(entries) is not list or len(entries) != count:
        raise WireError("batch must be their number, or an array with an entry for each")
    return [
        _read_value(value, is_trusted) if entry is None else _read_error(entry)
        for entry, value in zip(entries, values, strict=True)
    ]


def _read_value(blob: Blob, is_trusted: bool) -> WorkerReply:
    if not blob:
        return _EMPTY
    value = blob if isinstance(blob, bytes) else blob.buffer
    if is_trusted or _is_msgpack(value):
        return WorkerReply(_ANSWER, 200, value)
    raise WireError("not msgpack")


def _read_error(fields: Any) -> WorkerReply:
    if type(fields) is not dict:
        raise WireError("not a map")
    status, error = read_field(fields, "status", int, 0), read_field(fields, "error", str, "")
    if status == 504:
        return _EXPIRED
    if status in (400, 500):
        return WorkerReply(_ANSWER, status, error=error)
    raise WireError(f"status {status}")


def _is_msgpack(value: bytes | memoryview) -> bool:
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
