"""Client → balancer: a request as it arrives, and as a client writes it."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgpack

from balancer.core.records import record
from balancer.wire.values import Blob, WireError, decode_map, read_duration_s, read_field

VERSION = 1
ENVELOPE_FRAMES_MAX = 7
ENVELOPE_FRAME_BYTES_MAX = 255
"""As long as a routing id may be: an envelope is not for cargo."""
ID_LENGTH_MAX = 255
FRAMES_MAX = ENVELOPE_FRAMES_MAX + 1 + 2
"""Envelope, the empty frame, header and payload. Longer messages are not kept."""

Echo = bytes | str | None


@record
class Header:
    """What a client may say about its request; everything is optional."""

    timeout_s: float | None = None
    try_timeout_s: float | None = None
    once: bool = False
    route: str | None = None
    key: str | None = None
    priority: int = 1
    id: Echo = None
    hello: bool = False
    """It asks the balancer itself who it is; the payload is nobody's."""


@record
class Unreadable:
    error: str
    id: Echo = None


def decode_request(frames: Sequence[Any]) -> tuple[Header, Blob] | Unreadable:
    """Read a client's message: what it wants, and the payload, which nobody decodes here."""
    # Almost all messages: an id of the client's own or none, and a payload alone.
    count = len(frames)
    if count == 2 or (count == 3 and 0 < len(frames[0]) <= ENVELOPE_FRAME_BYTES_MAX):
        payload = frames[-1]
        if payload and not frames[-2]:
            return NO_HEADER, payload
    sizes = list(map(len, frames))
    try:
        end = sizes.index(0) + 1
    except ValueError:
        return Unreadable("no empty frame between envelope and body")
    body = frames[end:]
    if end > ENVELOPE_FRAMES_MAX + 1 or len(body) > 2:
        return Unreadable("too many frames")
    if max(sizes[:end]) > ENVELOPE_FRAME_BYTES_MAX:
        return Unreadable(f"an envelope frame is above {ENVELOPE_FRAME_BYTES_MAX} bytes")
    if not body:
        return Unreadable("no body frame")
    header, fields = NO_HEADER, dict[str, Any]()
    if len(body) == 2:
        try:
            fields = decode_map(body[0])
            header = _decode_header(fields)
        except WireError as error:
            return Unreadable(f"header: {error}", _readable_id(fields))
    if not sizes[-1]:
        error_text = "the payload is zero bytes long, which no msgpack value is"
        return Unreadable(error_text, header.id)
    return header, body[-1]


NO_HEADER = Header()
"""Of a request that has none."""


def _decode_header(fields: Mapping[str, Any]) -> Header:
    if read_field(fields, "v", int, VERSION) != VERSION:
        raise WireError(f"v must be {VERSION}")
    priority = read_field(fields, "priority", int, 1)
    if priority not in (0, 1, 2):
        raise WireError("priority must be 0, 1 or 2")
    return Header(
        timeout_s=read_duration_s(fields, "timeout_ms"),
        try_timeout_s=read_duration_s(fields, "try_timeout_ms"),
        once=read_field(fields, "once", bool, False),
        route=read_field(fields, "route", str, None),
        key=read_field(fields, "key", str, None),
        priority=priority,
        id=_id(fields),
        hello=read_field(fields, "hello", bool, False),
    )


def _id(fields: Mapping[str, Any]) -> Echo:
    value = fields.get("id")
    if value is not None and (type(value) not in (bytes, str) or len(value) > ID_LENGTH_MAX):
        raise WireError(f"id must be bytes or str, of at most {ID_LENGTH_MAX}")
    return value


def _readable_id(fields: Mapping[str, Any]) -> Echo:
    try:
        return _id(fields)
    except WireError:
        return None


def encode_request(payload: Any, **header: Any) -> list[bytes]:
    """The body frames of a request; header fields that are None are left out."""
    return [encode_header(**header), encode_payload(payload)]


def encode_payload(payload: Any) -> bytes:
    """TypeError, ValueError or OverflowError if msgpack cannot carry it."""
    return bytes(msgpack.packb(payload))


def encode_header(**header: Any) -> bytes:
    """A request's header alone, for whoever sends the same payload again with less time left."""
    fields = {name: value for name, value in header.items() if value is not None}
    return bytes(msgpack.packb({"v": VERSION, **fields}))
