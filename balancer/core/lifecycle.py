"""One request: its phases and the one table by which it moves through them.

Rule 1: every change of a request's phase is a row of TRANSITIONS; a missing row is our bug.
Rule 2: this file knows no worker, no queue and no clock but the instants it is handed.
"""

from enum import StrEnum

from balancer.core.deadlines import Alarm
from balancer.core.events import ClientId, FailedTry, RequestArrived, RequestId, Why, WorkerId


class Phase(StrEnum):
    QUEUED = "queued"
    TRYING = "trying"
    ANSWERED = "answered"
    REFUSED = "refused"
    DROPPED = "dropped"


class Signal(StrEnum):
    FORWARDED = "forwarded"
    TRY_FAILED = "try failed"
    ANSWERED = "answered"
    REFUSED = "refused"
    CLIENT_GONE = "client gone"


TRANSITIONS: dict[tuple[Phase, Signal], Phase] = {
    (Phase.QUEUED, Signal.FORWARDED): Phase.TRYING,
    (Phase.QUEUED, Signal.ANSWERED): Phase.ANSWERED,  # by the late reply of an earlier try
    (Phase.QUEUED, Signal.REFUSED): Phase.REFUSED,
    (Phase.QUEUED, Signal.CLIENT_GONE): Phase.DROPPED,
    (Phase.TRYING, Signal.TRY_FAILED): Phase.QUEUED,
    (Phase.TRYING, Signal.ANSWERED): Phase.ANSWERED,
    (Phase.TRYING, Signal.REFUSED): Phase.REFUSED,
    (Phase.TRYING, Signal.CLIENT_GONE): Phase.DROPPED,
}

# What every request asks for: until Python 3.12 a member's look-up costs ten times a name's.
_QUEUED, _FORWARDED = Phase.QUEUED, Signal.FORWARDED

MAY_HAVE_RUN = {Why.GARBLED, Why.TIMEOUT, Why.DIED}
STRIKES = {Why.TIMEOUT, Why.DIED}
"""The failures of which the request itself may be the cause."""
EXCLUDES_SLOT = {Why.EMPTY, Why.GARBLED, Why.TIMEOUT}
"""After these the slot would only do the same again; after a death a new process may not."""
SAFE_FOR_ONCE = {Why.UNDELIVERED, Why.EMPTY}


class Request:
    """What a client asked for and what has become of it so far."""

    __slots__ = (
        "arrived_at",
        "attempts",
        "client",
        "deadline",
        "excluded",
        "excluded_pools",
        "gives_way",
        "grace_alarm",
        "has_hung",
        "id",
        "is_accompanied",
        "is_final",
        "may_have_run",
        "must_go_alone",
        "name",
        "once",
        "phase",
        "priority",
        "queue_alarm",
        "size_bytes",
        "strikes",
        "tried",
        "tried_at",
        "try_timeout_s",
        "waits_last",
        "worker",
    )

    def __init__(
        self, arrived: RequestArrived, now: float, deadline: float, try_timeout_s: float
    ) -> None:
        self.id: RequestId = arrived.request
        self.client: ClientId = arrived.client
        self.name = arrived.id
        """What its client calls it, if it does."""
        self.size_bytes = arrived.size_bytes
        self.once = arrived.once
        self.priority = arrived.priority
        self.arrived_at = now
        self.deadline = deadline
        self.try_timeout_s = try_timeout_s
        self.phase = _QUEUED
        self.attempts = 0
        self.strikes = 0
        self.may_have_run = False
        self.must_go_alone = arrived.once
        """So that it runs only once, or that the next failure is certainly its own."""
        self.tried: tuple[FailedTry, ...] = ()
        self.excluded: frozenset[str] = frozenset()
        """The slots that would only do the same again."""
        self.excluded_pools: frozenset[str] = frozenset()
        self.worker: WorkerId | None = None
        """Who holds it while it is being tried."""
        self.tried_at = 0.0
        """When its latest try began."""
        self.is_accompanied = False
        """In its latest try it was one of a batch: who is to blame for a failure is not known."""
        self.has_hung = False
        """A worker that had nothing else was waited for in vain."""
        self.is_final = False
        """It was marked ``once`` and may have been executed: nobody else may get it."""
        self.gives_way = False
        """It has waited on a worker in vain or killed two, and lets others go first for a while."""
        self.waits_last = False
        """Behind all others, while it is patient; after that ahead of the untried, as ever."""
        self.queue_alarm: Alarm | None = None
        self.grace_alarm: Alarm | None = None

    @property
    def is_suspect(self) -> bool:
        """It may be the cause of what happens to its workers: more than one death says so, or one
        timeout."""
        return self.strikes > 1 or self.has_hung

    def move(self, signal: Signal) -> None:
        self.phase = TRANSITIONS[self.phase, signal]

    def forwarded_to(self, worker: WorkerId, now: float, is_accompanied: bool) -> int:
        """Begin a try; returns which one it is."""
        self.phase = TRANSITIONS[self.phase, _FORWARDED]
        self.is_accompanied = is_accompanied
        self.tried_at = now
        self.worker = worker
        self.attempts += 1
        return self.attempts

    def note_failed_try(self, worker: WorkerId, why: Why, took_s: float) -> None:
        """Write down how a try ended. The phase is the caller's to move."""
        self.tried = (*self.tried, FailedTry(worker.slot, why, took_s))
        self.may_have_run = self.may_have_run or why in MAY_HAVE_RUN
        self.must_go_alone = self.once or self.may_have_run
        is_alone = not self.is_accompanied
        self.strikes += is_alone and why in STRIKES
        self.has_hung = self.has_hung or (is_alone and why is Why.TIMEOUT)
        self.is_final = self.once and why not in SAFE_FOR_ONCE
        # In company it may be innocent: a new process in the place of the one that hangs may do.
        if why in EXCLUDES_SLOT and (is_alone or why is not Why.TIMEOUT):
            self.excluded |= {worker.slot}
        self.worker = None
