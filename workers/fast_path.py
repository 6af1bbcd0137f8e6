"""The way of almost every request through a worker, in one function.

``answering`` does all this, and all else, in a dozen functions. Where other processes have used the
caches since the last request each of them costs some microseconds, 40 of the 130 that a worker
took beside its handler. So what is usual is done here in one go; whatever is not is left alone.
"""

import time
from functools import partial

from balancer.wire.framing import pack_one
from balancer.wire.task import FIXED, FIXED_BYTES, HEADER_AT, SHORTEST_BYTES, task_of, unpack_head
from balancer.wire.tasks import Packer
from balancer.wire.values import LARGE_BYTES, unpack
from workers.answering import (
    TEXTS,
    about,
    encode_reply,
    reply_to_error,
    reply_to_too_large,
    reply_to_unpackable,
)
from workers.handler import Current, Handler, asked


def answer_lone(
    message: bytes, handler: Handler, max_body_bytes: int
) -> bytes | list[bytes] | None:
    """The reply to a lone task, if this is all of it as it comes by a stream: whole as it is to be
    sent by one, or its frames. None if the message is anything else, or if the handler is not to be
    called for it: nothing has been done then."""
    if len(message) < SHORTEST_BYTES or handler.is_whole:
        return None
    count, header_bytes, payload_bytes, mark, flags, _, _, expires_at = unpack_head(message)
    payload_at = HEADER_AT + header_bytes
    is_one = count == 2 and payload_at + payload_bytes == len(message)
    if not is_one or mark != FIXED or flags or header_bytes < FIXED_BYTES:
        return None
    try:
        request = unpack(message[payload_at:], strict_map_key=False)
    except Exception:
        return None
    now = time.monotonic()
    if now >= expires_at:
        return None
    asked.about = partial(_about, message, now)
    try:
        result = handler.call(request)
    except BaseException as error:
        asked.about = None
        return reply_to_error(task_of(message), error)
    asked.about = None
    if result is None or (isinstance(result, TEXTS) and not 0 < len(result) < LARGE_BYTES):
        return encode_reply(task_of(message), result, max_body_bytes)
    try:
        packed = Packer().pack(result)
    except Exception as error:
        return reply_to_unpackable(task_of(message), error)
    size_bytes = len(packed)
    if size_bytes > max_body_bytes:
        return reply_to_too_large(task_of(message), size_bytes, max_body_bytes)
    return [packed] if size_bytes >= LARGE_BYTES else pack_one(1, size_bytes) + packed


def _about(message: bytes, began_at: float) -> Current:
    return about(task_of(message), began_at)
