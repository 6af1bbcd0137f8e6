"""Worker → balancer: what a worker's reply is, whoever wrote the worker."""

from collections.abc import Sequence

import msgpack

from balancer.core.events import Outcome, WorkerReply
from balancer.wire.values import WireError, decode_map, read_field


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
