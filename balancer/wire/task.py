"""One task, and the fixed form in which a worker of ours on this machine is told of it.

``struct`` unpacks it together with the head of its message, in a quarter of the time that msgpack
and a look at each field take for a task alone; for a task in a batch it makes no difference. The
balancer's clock (CLOCK_MONOTONIC) is the worker's, too. All numbers are little-endian.
"""

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

from balancer.wire.values import Blob, WireError

FIXED = b"\xc1"
"""A header of this form begins so, which no msgpack value does."""
_WANTS_TIME = 1
_HEAD, _ENTRY, _LONE = Struct("<cB"), Struct("<Idd"), Struct("<cBIdd")
_HEAD_BYTES, _ENTRY_BYTES, FIXED_BYTES = _HEAD.size, _ENTRY.size, _LONE.size
_pack_entry, _pack_lone, _unpack_lone = _ENTRY.pack, _LONE.pack, _LONE.unpack_from
_MESSAGE = Struct("<QQQcBIdd")
_pack_message, unpack_head, SHORTEST_BYTES = _MESSAGE.pack, _MESSAGE.unpack_from, _MESSAGE.size
"""What goes ahead of a lone task's id and payload on a stream: the head that ``framing`` writes
for two frames, and the beginning of the first."""
HEADER_AT = SHORTEST_BYTES - FIXED_BYTES
_NAMES_APART = "\0"


class Task(NamedTuple):
    """What a worker is asked to do; ``payload`` is still packed."""

    payload: Blob
    id: str = ""
    attempt: int = 1
    remaining_s: float | None = None
    expires_at: float | None = None
    is_ping: bool = False
    wants_time: bool = False
    """The balancer asks how long it takes."""


def pack_task(
    id: str, attempt: int, remaining_s: float, expires_at: float, wants_time: bool
) -> bytes:
    """The header of a task that travels alone."""
    return _pack_lone(FIXED, wants_time, attempt, remaining_s, expires_at) + id.encode()


def unpack_task(frames: Sequence[Blob]) -> Task | None:
    """The task, if the message is one that travels alone and its header is fixed. WireError if the
    header only begins so."""
    header = frames[0]
    if len(frames) != 2 or type(header) is not bytes or header[:1] != FIXED:
        return None
    if len(header) < FIXED_BYTES:
        raise WireError(f"a fixed header of {len(header)} bytes")
    _, flags, attempt, remaining_s, expires_at = _unpack_lone(header)
    # To each byte it has a letter, so this cannot fail.
    id = str(header[FIXED_BYTES:], "latin-1")
    fields = frames[1], id, attempt, remaining_s, expires_at, False, flags == _WANTS_TIME
    return tuple.__new__(Task, fields)  # half of what Task(…) takes, which is Python


def task_of(message: bytes) -> Task:
    """The lone task that a message is, as it comes by a stream."""
    payload_at = HEADER_AT + unpack_head(message)[1]
    task = unpack_task((message[HEADER_AT:payload_at], message[payload_at:]))
    assert task is not None
    return task


def pack_message(
    id: str, attempt: int, remaining_s: float, expires_at: float, wants_time: bool, payload: bytes
) -> bytes:
    """A lone task whole, as it goes by a stream."""
    name = id.encode()
    return b"".join(
        (
            _pack_message(
                2,
                FIXED_BYTES + len(name),
                len(payload),
                FIXED,
                wants_time,
                attempt,
                remaining_s,
                expires_at,
            ),
            name,
            payload,
        )
    )


def pack_tasks(entries: Sequence[tuple[str, int, float, float]]) -> bytes:
    """The header of several: of each its id, attempt, remaining_s and expires_at."""
    names = _NAMES_APART.join([entry[0] for entry in entries])
    packed = [_pack_entry(*entry[1:]) for entry in entries]
    return b"".join((_HEAD.pack(FIXED, 0), *packed, names.encode()))


def unpack_tasks(header: bytes, payloads: Sequence[Blob]) -> list[Task]:
    """WireError unless the header is of so many."""
    names_at = _HEAD_BYTES + len(payloads) * _ENTRY_BYTES
    ids = str(header[names_at:], "latin-1").split(_NAMES_APART)
    if len(header) < names_at or len(ids) != len(payloads):
        raise WireError(f"a fixed header that is not of {len(payloads)} tasks")
    entries: Iterable[tuple[int, float, float]] = _ENTRY.iter_unpack(header[_HEAD_BYTES:names_at])
    return [
        tuple.__new__(Task, (payload, id, attempt, remaining_s, expires_at, False, False))
        for payload, id, (attempt, remaining_s, expires_at) in zip(
            payloads, ids, entries, strict=True
        )
    ]
