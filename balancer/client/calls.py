"""A client's requests on their way, and the replies to those that no balancer answers."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypedDict, TypeVar

from balancer.wire import requests, values
from balancer.wire.reply import Reply, decode_reply

GRACE_S = 0.05
"""How long past its deadline a call waits for the balancer's own 504, which tells of the tries."""
NAME_BYTES = 16
PRIORITIES = (0, 1, 2)
LOST = "The connection to the balancer was lost."
LOSSES_MAX = 3
LARGE_BYTES = 16 * 1024 * 1024
LARGE_LOSSES_MAX = 2
"""A balancer drops the connection of a message beyond its hard limit: so large a call is stopped
one loss earlier, or it would take everything else that is in flight down with it."""

HELLO_ID = bytes(8)
"""No call has it."""

Owner = TypeVar("Owner")


class Wishes(TypedDict, total=False):
    """What a caller may ask of the balancer beside an answer in time; None asks for nothing."""

    try_timeout: float | None
    """The time that each worker gets, in seconds."""
    priority: int | None
    """Of those that wait, 0 is served first and 2 last; 1 is usual."""
    route: str | None
    key: str | None
    """These two go to the balancer as they are."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be sent more than once: the payload stays packed, the time runs."""

    payload: bytes
    timeout_s: float
    once: bool = False
    try_timeout_s: float | None = None
    priority: int | None = None
    route: str | None = None
    key: str | None = None
    name: bytes | str | None = None
    """By which the balancer knows it if it comes again; one marked ``once`` always has one."""

    @classmethod
    def pack(
        cls,
        payload: Any,
        *,
        timeout_s: float,
        once: bool,
        id: bytes | str | None = None,
        try_timeout: float | None = None,
        priority: int | None = None,
        route: str | None = None,
        key: str | None = None,
    ) -> "Request":
        """TypeError or ValueError if anything is not as it should be; these or OverflowError if
        msgpack cannot carry the payload."""
        if id is not None:
            _check_id(id)
        elif once:
            id = os.urandom(NAME_BYTES)
        check_seconds("timeout", timeout_s)
        if try_timeout is not None:
            check_seconds("try_timeout", try_timeout)
        if priority is not None and (type(priority) is not int or priority not in PRIORITIES):
            raise ValueError(f"priority must be 0 (served first), 1 or 2, not {priority!r}")
        packed = requests.encode_payload(payload)
        return cls(packed, timeout_s, once, try_timeout, priority, route, key, id)

    @property
    def try_timeout_ms(self) -> int | None:
        return None if self.try_timeout_s is None else max(1, int(self.try_timeout_s * 1000))

    @property
    def losses_max(self) -> int:
        return LARGE_LOSSES_MAX if len(self.payload) > LARGE_BYTES else LOSSES_MAX


@dataclass(slots=True, eq=False)
class Call(Generic[Owner]):
    """One request on its way; it has ended when ``answer`` is set."""

    id: bytes
    request: Request
    deadline: float
    owner: Owner
    answer: bytes | Reply | None = None
    is_handed_over: bool = False
    """To the socket of today."""
    may_have_run: bool = False
    """It was handed to some socket."""
    life: str = ""
    """Of the cluster that it was handed to; empty if that said none."""
    losses: int = 0
    """Connections that ended while it was in flight over them."""

    @property
    def ends_at(self) -> float:
        return self.deadline + GRACE_S

    def frames(self, now: float) -> list[bytes]:
        request = self.request
        header = requests.encode_header(
            timeout_ms=max(1, int((self.deadline - now) * 1000)),
            try_timeout_ms=request.try_timeout_ms,
            once=request.once or None,
            priority=request.priority,
            route=request.route,
            key=request.key,
            id=request.name,
        )
        return [self.id, b"", header, request.payload]

    def reply(self) -> Reply:
        """The answer, read only now: decoding takes the time of whoever wants it."""
        if isinstance(self.answer, Reply):
            return self.answer
        assert self.answer is not None
        try:
            reply = decode_reply(self.answer)
        except values.WireError as error:
            text = f"Error 502: Bad Gateway. The balancer's answer cannot be read: {error}"
            return Reply(502, error=text, reason="garbled", may_have_run=True)
        if self.losses and self.request.once and reply.reason == "duplicate":
            # It is our own doubt that the balancer confirms.
            return lost(self, LOST)
        if self.losses and reply.status != 200:
            # The balancer that refused it does not know of the one that had it before.
            return replace(reply, may_have_run=True)
        return reply


def hello_frames() -> list[bytes]:
    return [HELLO_ID, b"", *requests.encode_request(None, hello=True)]


def check_seconds(name: str, value: Any) -> None:
    """TypeError or ValueError if it is no number of seconds that a caller could wait."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {value}")


def _check_id(id: bytes | str) -> None:
    if not isinstance(id, bytes | str):
        raise TypeError(f"id must be bytes or str, not {type(id).__name__}")
    if len(id) > requests.ID_LENGTH_MAX:
        raise ValueError(f"id must be of at most {requests.ID_LENGTH_MAX}, not {len(id)}")
    if isinstance(id, str):
        id.encode()  # raises here what msgpack would raise later, for everybody's calls


# --- replies that no balancer sent ---------------------------------------------------------------


def timed_out(call: Call[Any]) -> Reply:
    text = f"Error 504: Deadline exceeded. No answer within {call.request.timeout_s:g} s."
    return Reply(504, error=text, reason="deadline", may_have_run=call.may_have_run)


def unreachable(call: Call[Any], addresses: Sequence[str]) -> Reply:
    """The time is over, and there is no connection."""
    nobody = f"No balancer answers at {' or '.join(addresses)}."
    if call.may_have_run:
        return lost(call, f"The connection was lost. {nobody}")
    return Reply(503, error=f"Error 503: Service Unavailable. {nobody}", reason="unreachable")


def lost(call: Call[Any], text: str) -> Reply:
    return Reply(
        503,
        error=f"Error 503: Service Unavailable. {text}",
        reason="connection_lost",
        may_have_run=call.may_have_run,
    )
