"""The only place that knows frames and msgpack: every message, both ends, version 1.

A peer that sends nonsense is no exception here but a value: ``Unreadable``, or a reply that is
garbled. Only ``decode_task``, ``decode_payload`` and ``decode_reply`` raise, each for the one
caller that reads them.
"""

from balancer.wire.replies import Reply, Try, decode_reply, encode_answer, encode_refusal
from balancer.wire.requests import (
    ENVELOPE_FRAME_BYTES_MAX,
    ENVELOPE_FRAMES_MAX,
    FRAMES_MAX,
    VERSION,
    Echo,
    Header,
    Incoming,
    Unreadable,
    decode_request,
    encode_header,
    encode_request,
)
from balancer.wire.tasks import (
    EMPTY_REPLY,
    PING,
    PONG,
    Task,
    decode_task,
    decode_worker_reply,
    encode_error,
    encode_task,
    encode_value,
)
from balancer.wire.values import (
    FRAME_BYTES_MAX_LEAST,
    HEADER_BYTES_MAX,
    WireError,
    decode_payload,
    frame_bytes_max,
)

__all__ = [
    "EMPTY_REPLY",
    "ENVELOPE_FRAMES_MAX",
    "ENVELOPE_FRAME_BYTES_MAX",
    "FRAMES_MAX",
    "FRAME_BYTES_MAX_LEAST",
    "HEADER_BYTES_MAX",
    "PING",
    "PONG",
    "VERSION",
    "Echo",
    "Header",
    "Incoming",
    "Reply",
    "Task",
    "Try",
    "Unreadable",
    "WireError",
    "decode_payload",
    "decode_reply",
    "decode_request",
    "decode_task",
    "decode_worker_reply",
    "encode_answer",
    "encode_error",
    "encode_header",
    "encode_refusal",
    "encode_request",
    "encode_task",
    "encode_value",
    "frame_bytes_max",
]
