"""The checkers' own records of requests, tries and workers; none of them is the core's."""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from balancer.core.events import Batching, FailedTry, RequestArrived, RequestId, WorkerId

TINY_S = 1e-6
"""What two ways to add up the same durations may differ by."""
NEVER = float("inf")


class Violation(AssertionError):
    """A promise was broken; the first argument says which."""

    def __init__(self, promise: str, how: str) -> None:
        super().__init__(f"{promise}: {how}")
        self.promise = promise


class State(StrEnum):
    """What the balancer can know of a worker."""

    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    OVERDUE = "overdue"
    EJECTED = "ejected"
    DRAINING = "draining"


class Prospect(StrEnum):
    """The best that a waiting request can hope for."""

    IDLE = "somebody untried is idle"
    BUSY = "somebody untried is busy"
    EJECTED = "somebody untried is ejected, and nobody else would do"
    ALIVE = "somebody untried is overdue or about to be ready"
    DOWN = "somebody untried may come back"
    NOBODY = "nobody is left to ask"


AT_ONCE = (Prospect.IDLE, Prospect.EJECTED)
"""What leaves no reason to wait."""


@dataclass(slots=True)
class Attempt:
    """One worker's try of a request, or of several in one batch: from its Forward to the reply or
    the death, whatever becomes of the requests."""

    requests: tuple[RequestId, ...]
    worker: WorkerId
    pool: str
    started_at: float
    times_out_at: float
    """With several requests: when the last of them has run out of time."""
    kill_at: float
    is_full: bool
    """It has all the time that a try can have: its timeout is the worker's fault."""
    is_last_resort: bool = False
    """The worker was ejected: this try says nothing about who should wait for it."""
    is_over: bool = False
    """Its time has passed, and the balancer has seen it."""

    @property
    def is_batch(self) -> bool:
        return len(self.requests) > 1


@dataclass(slots=True)
class Worker:
    """An incarnation that the balancer believes to be alive."""

    id: WorkerId
    pool: str
    is_ours: bool
    """Whether it can be killed."""
    ready_until: float
    """When the wait for its first sign of life is over."""
    state: State = State.CONNECTING
    batching: Batching = Batching.NONE
    """As it said when it was ready."""
    attempt: Attempt | None = None
    idle_order: int = 0
    bad_tries: int = 0
    ejections: int = 0
    ejected_until: float = NEVER


@dataclass(slots=True)
class Case:
    """A request that has no outcome yet."""

    arrived: RequestArrived
    arrived_at: float
    deadline: float
    try_timeout_s: float
    attempts: list[Attempt] = field(default_factory=list)
    failed: list[FailedTry] = field(default_factory=list)
    holder: Attempt | None = None
    """The try it waits for; without one it waits for a worker."""
    excluded_slots: frozenset[str] = frozenset()
    excluded_pools: frozenset[str] = frozenset()
    strikes: int = 0
    """Workers that it has killed or hung alone: in company it need not have been the cause."""
    has_hung: bool = False
    """One of them was hung."""
    was_in_company: bool = False
    """Its latest failed try was that of a batch."""
    is_poison: bool = False
    """Its strikes were too many when it got the last one."""
    may_have_run: bool = False
    is_final: bool = False
    waits_last: bool = False
    patient_until: float = 0.0
    """Until then a suspect waits for workers that are away, too."""
    gives_way_until: float | None = None
    """It may be the cause of its failures: until then others may go first, idle workers or not."""
    grace_ends_at: float | None = None
    """While nobody untried is alive: until when it waits for somebody to come back."""
    patience_ends_at: float | None = None
    """While it was never tried: until when it waits in the queue, if there is such a limit."""

    @property
    def is_suspect(self) -> bool:
        return self.strikes > 1 or self.has_hung

    @property
    def must_go_alone(self) -> bool:
        """It may run but once, or something went wrong with it that may be its own fault."""
        return self.arrived.once or self.may_have_run


@dataclass(slots=True)
class RetryBook:
    """First tries, and tries after a death or a timeout, by the second."""

    window_s: int
    first: Counter[int] = field(default_factory=Counter)
    again: Counter[int] = field(default_factory=Counter)
    unused: Counter[int] = field(default_factory=Counter)
    """Such tries that were granted, or not, before the request ended in the same step."""

    def within_window(self, counter: Counter[int], now: float) -> int:
        return sum(counter[int(now) - n] for n in range(self.window_s))
