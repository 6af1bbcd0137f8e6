"""What every message is made of: packed values, checked fields of a header, and the limits."""

import math
from collections.abc import Mapping
from typing import Any, Protocol

import msgpack

LARGE_BYTES = 64 * 1024
"""From here on a copy costs more than what is needed to do without."""


class Large(Protocol):
    """A frame that stays where it was received, for a copy of so many bytes would cost more."""

    @property
    def buffer(self) -> memoryview: ...

    def __len__(self) -> int: ...


Blob = bytes | Large
"""A frame's content, unread."""

HEADER_BYTES_MAX = 4096
FRAME_BYTES_MAX_LEAST = 2 * HEADER_BYTES_MAX
"""However small max_body is, the handshake and the headers must fit through a socket."""
BATCH_MAX = 1024
"""The most requests that one message between balancer and worker can carry."""
BATCH_ENTRY_BYTES_MAX = 1024
"""By how much more the header of a batch may be for each of them."""


def frame_bytes_max(max_body_bytes: int) -> int:
    """The hard limit: who sends a larger frame loses its connection and gets no answer."""
    return max(2 * max_body_bytes, FRAME_BYTES_MAX_LEAST)


def batch_header_bytes_max(count: int) -> int:
    """How large the header of a batch of so many requests may be, there and back."""
    return HEADER_BYTES_MAX + count * BATCH_ENTRY_BYTES_MAX


def worker_frame_bytes_max(max_body_bytes: int) -> int:
    """The hard limit between balancer and worker, where the header of a batch must fit, too."""
    return max(2 * max_body_bytes, batch_header_bytes_max(BATCH_MAX))


class WireError(ValueError):
    """What a peer sent cannot be read; the text says what is wrong with it."""


unpack = msgpack.unpackb


def decode_payload(payload: Blob | memoryview) -> Any:
    """The value in a payload, or WireError. Map keys may be of any type that Python can hash."""
    try:
        return unpack(payload, strict_map_key=False)
    # A hostile frame raises ValueError, StackError, UnicodeDecodeError, TypeError, OverflowError …
    except Exception as error:
        raise WireError(f"not msgpack: {str(error) or type(error).__name__}") from error


def decode_header(frame: Blob, bytes_max: int = HEADER_BYTES_MAX) -> Any:
    """The value in a header frame, or WireError."""
    if len(frame) > bytes_max:
        raise WireError(f"{len(frame)} bytes, the limit is {bytes_max}")
    try:
        return msgpack.unpackb(frame, max_ext_len=0)
    # A hostile frame raises ValueError, StackError, UnicodeDecodeError, TypeError, OverflowError …
    except Exception as error:
        raise WireError("not msgpack") from error


def decode_map(frame: Blob, bytes_max: int = HEADER_BYTES_MAX) -> dict[str, Any]:
    """The map in a header frame, or WireError."""
    fields = decode_header(frame, bytes_max)
    if type(fields) is not dict:
        raise WireError("not a map")
    return fields


def read_field(fields: Mapping[str, Any], name: str, kind: type, default: Any) -> Any:
    """The field, or the default where it is missing or nil; WireError if it is of another type."""
    value = fields.get(name)
    if value is None:
        return default
    if type(value) is not kind:  # not isinstance: True is an int
        raise WireError(f"{name} must be of type {kind.__name__}")
    return value


def read_duration_s(fields: Mapping[str, Any], name: str) -> float | None:
    """The field, sent in milliseconds, in seconds; None where it is missing or nil."""
    return to_duration_s(fields.get(name), name)


def to_duration_s(value: Any, name: str) -> float | None:
    """A number of milliseconds in seconds, None where it is nil; WireError, with the name of the
    field, if it is anything else."""
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise WireError(f"{name} must be a number of milliseconds, 0 or more")
    return float(value) / 1000
