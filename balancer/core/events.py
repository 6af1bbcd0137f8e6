"""The vocabulary of the core: what happened (events, timers included) and what to do (actions)."""

from dataclasses import field
from enum import StrEnum
from typing import NamedTuple, NewType

from balancer.core.limits import Limits
from balancer.core.records import record

RequestId = NewType("RequestId", int)
ClientId = NewType("ClientId", bytes)


class WorkerId(NamedTuple):
    """One incarnation of a worker: a restarted process has the same slot and a new number."""

    slot: str
    incarnation: int


class Outcome(StrEnum):
    """What a worker's reply is, as far as the core cares."""

    ANSWER = "answer"
    EMPTY = "empty"
    GARBLED = "garbled"
    EXPIRED = "expired"
    """The worker refused: the try's time was over before user code began."""


class Batching(StrEnum):
    """What a worker does with several requests in one message."""

    NONE = "none"
    """It does not know what that is."""
    EACH = "each"
    """It calls its handler once for each of them, in their order."""
    WHOLE = "whole"
    """It calls its handler once for all of them."""


class Why(StrEnum):
    """Why a try failed; these words reach the client in ``tried``."""

    UNDELIVERED = "undelivered"
    EMPTY = "empty"
    GARBLED = "garbled"
    TIMEOUT = "timeout"
    DIED = "died"


class Reason(StrEnum):
    """Why a request was refused; these words reach the client in ``reason``."""

    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    CLIENT_LIMIT = "client_limit"
    DUPLICATE = "duplicate"
    POISONED = "poisoned"
    EXHAUSTED = "exhausted"
    NO_WORKERS = "no_workers"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    RETRY_BUDGET = "retry_budget"
    DRAINING = "draining"
    DEADLINE = "deadline"


STATUS: dict[Reason, int] = {
    Reason.MALFORMED: 400,
    Reason.TOO_LARGE: 413,
    Reason.CLIENT_LIMIT: 429,
    Reason.DUPLICATE: 409,
    Reason.POISONED: 500,
    Reason.EXHAUSTED: 503,
    Reason.NO_WORKERS: 503,
    Reason.QUEUE_FULL: 503,
    Reason.QUEUE_TIMEOUT: 503,
    Reason.RETRY_BUDGET: 503,
    Reason.DRAINING: 503,
    Reason.DEADLINE: 504,
}


@record
class WorkerReply:
    """A worker's reply. The core reads ``outcome`` and hands the rest through unread."""

    outcome: Outcome
    status: int = 200
    value: bytes | memoryview = b""
    error: str = ""


@record
class FailedTry:
    """One forwarding that did not bring the answer."""

    worker: str
    why: Why
    took_s: float


# --- events: what happened -------------------------------------------------------------------


@record
class RequestArrived:
    request: RequestId
    client: ClientId
    size_bytes: int = 0
    timeout_s: float | None = None
    try_timeout_s: float | None = None
    once: bool = False
    priority: int = 1
    id: bytes | str | None = None
    """The client's own name for it; a request marked ``once`` is known by it if it comes again."""


@record
class RequestsArrived:
    """Several at once: as if one came after the other, but for those that may go together."""

    arrivals: tuple[RequestArrived, ...]


@record
class RequestUnreadable:
    """A message came whose envelope or header makes no sense; it gets its answer all the same."""

    request: RequestId
    client: ClientId
    error: str


@record
class OnceNamesKnown:
    """Names of ``once`` requests that may have run before our time: to be told before the first
    request arrives, the oldest first."""

    names: tuple[bytes | str, ...]


@record
class ClientGone:
    client: ClientId


@record
class SlotAdded:
    """A place for a worker exists in ``pool``, whether or not a process fills it by now."""

    slot: str
    pool: str
    is_ours: bool = True
    """Whether its worker can be killed, and comes back when it was."""


@record
class SlotRemoved:
    """Nobody will come back to this slot; what its worker may still hold has died with it."""

    slot: str


@record
class SlotRetired:
    """The slot is not wanted any more: its worker gets nothing new, and is released once free."""

    slot: str


@record
class Reconfigured:
    """Decide by these limits from now on, and sweep the pools in this order."""

    limits: Limits
    pools: tuple[str, ...]


@record
class WorkerConnected:
    """A new incarnation is alive but has not answered its first ping: not in rotation yet."""

    worker: WorkerId
    beside_older: bool = False
    """The one in its slot lives on, to be retired when this one is ready; else it must be dead."""


@record
class WorkerReady:
    worker: WorkerId
    batching: Batching = Batching.NONE


@record
class WorkerLost:
    """Death has one name, whoever saw it first: the link, the heartbeat or the launcher."""

    worker: WorkerId
    cause: str = ""
    undelivered: bool = False
    """The try that the worker was given certainly never reached it."""


@record
class ReplyArrived:
    worker: WorkerId
    reply: WorkerReply
    took_s: float | None = None
    """How long the worker says that it took for it, if it was asked."""


@record
class BatchReplied:
    """The worker's replies to the batch that it holds, one for each request and in their order."""

    worker: WorkerId
    replies: tuple[WorkerReply, ...]
    took_s: float | None = None
    """How long the worker says that it took for them, without the way there and back."""


@record
class DrainStarted:
    """Take nothing new; whatever is still open after ``timeout_s`` is refused."""

    timeout_s: float


# --- events with a date: the core sets them for itself ----------------------------------------


@record
class DeadlinePassed:
    request: RequestId


@record
class QueueTimedOut:
    request: RequestId


@record
class GraceEnded:
    """Nobody came back in time for this request."""

    request: RequestId


@record
class WayGiven:
    """The suspect request has waited for others for long enough."""

    request: RequestId


@record
class TryTimedOut:
    """The worker's try is over, unless it has a later one by now."""

    worker: WorkerId


@record
class HangConfirmed:
    """The worker kept silent for so long after its timeout that only a kill frees it."""

    worker: WorkerId


@record
class EjectionEnded:
    worker: WorkerId


@record
class FillEnded:
    """The first request that waits in this pool for others to join it has waited long enough."""

    pool: str


@record
class DrainTimedOut:
    pass


Timer = (
    DeadlinePassed
    | QueueTimedOut
    | GraceEnded
    | WayGiven
    | TryTimedOut
    | HangConfirmed
    | EjectionEnded
    | FillEnded
    | DrainTimedOut
)
Event = (
    RequestArrived
    | RequestsArrived
    | RequestUnreadable
    | OnceNamesKnown
    | ClientGone
    | SlotAdded
    | SlotRemoved
    | SlotRetired
    | Reconfigured
    | WorkerConnected
    | WorkerReady
    | WorkerLost
    | ReplyArrived
    | BatchReplied
    | DrainStarted
    | Timer
)


# --- actions: what to do, in this order --------------------------------------------------------


@record
class Forward:
    """Send the request to the worker. If that cannot be done, say WorkerLost(undelivered=True)."""

    worker: WorkerId
    request: RequestId
    attempt: int
    remaining_s: float
    expires_at: float
    """The instant after which the worker must not begin with it."""
    wants_time: bool = False
    """The worker is asked to say how long the work itself took, without the way there and back."""


@record
class ForwardBatch:
    """Send these requests, two or more, to their worker in one message and in this order."""

    worker: WorkerId
    tries: tuple[Forward, ...]


@record
class Answer:
    """Send the worker's reply to the client; the request is over."""

    request: RequestId
    worker: WorkerId
    reply: WorkerReply
    attempts: int
    tried: tuple[FailedTry, ...]
    arrived_at: float = field(default=0.0, compare=False)
    """For whoever watches, like the next: the request's own date."""
    started_at: float = field(default=0.0, compare=False)
    """When the worker was given it."""


@record
class Refuse:
    """Tell the client that it gets no answer and why; the request is over."""

    request: RequestId
    reason: Reason
    attempts: int = 0
    tried: tuple[FailedTry, ...] = ()
    may_have_run: bool = False
    retry_after_s: float | None = None
    detail: str = ""
    arrived_at: float = field(default=0.0, compare=False)


@record
class Forget:
    """The client is gone: drop what is kept for its request, there is nobody to tell."""

    request: RequestId
    arrived_at: float = field(default=0.0, compare=False)


@record
class Kill:
    """The worker hangs in one of these, or in its first ping: have it killed, with its stack in
    the log. To the core it is dead from now on: freed by a late reply, it would be killed with the
    next request."""

    worker: WorkerId
    requests: tuple[RequestId, ...]


@record
class Released:
    """The worker was retired and holds nothing: it gets nothing more and may be stopped. To the
    core it is gone from now on."""

    worker: WorkerId


@record
class Ejected:
    """For whoever watches: the worker failed one request after another and is out of rotation for
    so long. Nothing is to be done."""

    worker: WorkerId
    duration_s: float


@record
class Readmitted:
    """For whoever watches: the time of an ejected worker is over. Nothing is to be done."""

    worker: WorkerId


@record
class TryFailed:
    """For whoever watches: a try ended without an answer. Nothing is to be done."""

    worker: WorkerId
    request: RequestId
    attempt: int
    why: Why
    took_s: float
    arrived_at: float = field(default=0.0, compare=False)


@record
class ReplyDropped:
    """For whoever watches: a reply came whose request was over. Nothing is to be done."""

    worker: WorkerId
    request: RequestId
    started_at: float = field(default=0.0, compare=False)


Action = (
    Forward
    | ForwardBatch
    | Answer
    | Refuse
    | Forget
    | Kill
    | Released
    | Ejected
    | Readmitted
    | TryFailed
    | ReplyDropped
)
