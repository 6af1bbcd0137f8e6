"""What one seed plays with: limits, topology, and which of the faults are switched on.

Each seed has its own subset of the faults: with all of them on at once, each would hide others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from balancer.core.events import Batching
from balancer.core.limits import Limits
from tests.simulation.tape import Lane

T = TypeVar("T")
U = TypeVar("U")


class Behaviour(StrEnum):
    """What a worker does with one try."""

    QUICK = "quick"
    ERROR = "handler error"
    NEAR_TIMEOUT = "near the timeout"
    LATE = "late reply"
    EMPTY = "empty"
    GARBLED = "garbled"
    EXPIRED = "expired"
    DIES_BEFORE = "dies before"
    DIES_DURING = "dies during"
    DIES_AFTER = "dies after"
    HANGS = "hangs"


LASTING = (Behaviour.HANGS, Behaviour.GARBLED, Behaviour.DIES_DURING, Behaviour.LATE)
"""What a worker may do with every try for ever, where the faults do not end."""


class Fault(StrEnum):
    """What else can go wrong, or is out of the ordinary."""

    LATE_NOTICE = "death noticed late"
    NO_NOTICE = "death never noticed"
    LOST_TASK = "task lost in a dead link"
    LOST_REPLY = "reply lost in a dead link"
    DOUBLED_REPLY = "reply sent twice"
    MISCOUNTED = "wrong number of replies"
    FROZEN = "frozen and thawed"
    LINK_LOST = "link lost and made anew"
    SLOW_RESTART = "slow restart"
    NO_RESTART = "never restarted"
    CRASH_LOOP = "crash loop"
    STUCK_START = "stuck at start"
    READY_TWICE = "ready twice"
    SLOW_KILL = "slow kill"
    CRASH = "crash out of the blue"
    SLOT_REMOVED = "slot removed"
    SLOT_ADDED = "slot added"
    SLOT_RETIRED = "slot retired"
    SUCCESSOR = "successor started beside"
    RECONFIGURED = "limits and order changed"
    STATIC = "static worker"
    STALE_EVENT = "stale or doubled event"
    CLIENT_GONE = "client gone"
    RESENT = "request sent again"
    LARGE_BURST = "large burst"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too large"
    OWN_TIMEOUT = "own timeout"
    ONCE = "once"
    NAMED = "named by its client"
    PRIORITY = "priority"
    POISON = "poison"
    DRAIN = "drain"
    PAUSE = "pause of the loop"
    SLOW_STEP = "slow step of the loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The lot of one seed. Rates are probabilities; the pools are in the order of the sweep."""

    grid_s: float
    limits: Limits
    pools: tuple[str, ...]
    batching: Mapping[str, Batching]
    """What the workers of each pool do with a batch, but for static ones."""
    slots: tuple[tuple[str, str], ...]
    """Slot and pool of each worker that is there from the start."""
    faults: frozenset[Fault]
    behaviours: tuple[Behaviour, ...]
    quick_share: float
    is_sorted: bool
    """Each kind of request is known to one pool alone, the others decline it."""
    slow_pool: str | None
    """Its workers take all the time they are given: what only they can do piles up."""
    is_lasting: bool
    """The faults do not end: some workers are bad for ever, and the others must do."""
    clients: int
    bursts: tuple[int, ...]
    """How many requests come at the same instant."""
    period_s: float
    """How long requests keep coming and new faults begin."""
    batch_limit: int
    """How many events the balancer's loop takes before it looks at the clock."""


_RATES = dict.fromkeys(Fault, 0.3) | {
    Fault.DRAIN: 0.15,
    Fault.NO_RESTART: 0.2,
    Fault.MISCOUNTED: 0.5,
}
_BATCHING = (Batching.NONE, Batching.EACH, Batching.EACH, Batching.WHOLE, Batching.WHOLE)
_BAD = tuple(behaviour for behaviour in Behaviour if behaviour is not Behaviour.QUICK)


def draw(lane: Lane) -> Scenario:
    is_lasting = lane.chance(0.4)
    faults = frozenset(fault for fault in Fault if lane.chance(_RATES[fault]))
    behaviours = tuple(behaviour for behaviour in _BAD if lane.chance(0.4))
    pools = tuple("abc"[: lane.between(1, 3)])
    slots = [(f"{pool}{number}", pool) for number in range(1, 7) for pool in pools]
    bursts = lane.choice(((1,), (1, 1, 2, 4, 8)))
    return Scenario(
        grid_s=lane.choice((0.25, 0.25, 0.25, 0.001)),
        limits=draw_limits(lane, is_lasting=is_lasting),
        pools=pools,
        batching={pool: lane.choice(_BATCHING) for pool in pools},
        slots=tuple(slots[: lane.between(1, 6)]),
        faults=faults - {Fault.DRAIN, Fault.POISON} if is_lasting else faults,
        behaviours=behaviours,
        quick_share=lane.choice((0.9, 0.5, 0.2)),
        is_sorted=lane.chance(0.4),
        slow_pool=pools[-1] if lane.chance(0.15) else None,
        is_lasting=is_lasting,
        clients=lane.between(1, 5),
        bursts=(*bursts, 30) if Fault.LARGE_BURST in faults else bursts,
        period_s=lane.choice((2.0, 5.0, 10.0)),
        batch_limit=lane.choice((1, 2, 100)),
    )


def draw_limits(lane: Lane, *, is_lasting: bool) -> Limits:
    return _draw_patience(lane) if is_lasting else _draw_oddities(lane)


def _draw_oddities(lane: Lane) -> Limits:
    """Most of them generous in most seeds: a request refused at the door tells little more."""
    return Limits(
        deadline_s=lane.choice((10.0, 5.0, 2.0, 1.0)),
        deadline_max_s=lane.choice((12.0, 5.0)),
        try_timeout_s=lane.choice((1.0, 2.0, 0.5, 0.25)),
        try_start_min_s=lane.choice((0.001, 0.25)),
        queue_limit=_rarely(lane, (5, 2, 1, 0), 1000),
        queue_limit_bytes=_rarely(lane, (500, 100), 100_000),
        queue_timeout_s=_rarely(lane, (1.0, 0.25), None),
        client_limit=_rarely(lane, (3, 1), 1000),
        max_body_bytes=100,
        retry_budget=lane.choice((1.0, 0.2, 0.0)),
        retry_budget_window_s=lane.choice((10, 1)),
        retry_budget_per_worker=lane.choice((100, 2, 0)),
        strikes=lane.choice((10, 3, 2, 1)),
        revive_grace_s=lane.choice((1.0, 0.25, 0.0)),
        hang_kill_after_s=lane.choice((1.0, 0.5, 0.25)),
        ejection_tries=lane.choice((3, 1, 1000)),
        ejection_s=lane.choice((1.0, 0.25, 5.0, 0.5, None)),
        ejection_max_s=lane.choice((20.0, 2.0)),
        on_empty_next_pool=lane.chance(0.3),
        **_draw_batches(lane),
    )


def _draw_patience(lane: Lane) -> Limits:
    """Limits that give nobody up who can still be helped."""
    return Limits(
        deadline_s=500.0,
        deadline_max_s=1000.0,
        try_timeout_s=lane.choice((1.0, 2.0)),  # more than any good reply takes
        max_body_bytes=100,
        retry_budget_per_worker=1000,
        strikes=1000,
        revive_grace_s=lane.choice((1.0, 0.25, 0.0)),
        hang_kill_after_s=lane.choice((1.0, 0.5, 0.25)),
        ejection_tries=lane.choice((3, 1, 1000)),
        ejection_s=lane.choice((1.0, 0.25, 5.0, 0.5, None)),
        ejection_max_s=lane.choice((20.0, 2.0)),
        on_empty_next_pool=lane.chance(0.3),
        **_draw_batches(lane),
    )


def _draw_batches(lane: Lane) -> dict[str, Any]:
    return {
        "batch_max": lane.choice((1, 1, 2, 3, 8)),
        "batch_budget_s": lane.choice((100.0, 0.5, 0.001)),
        "batch_wait_s": lane.choice((0.0, 0.0, 0.0, 0.25, 1.0)),
    }


def _rarely(lane: Lane, odd: tuple[T, ...], usual: U) -> T | U:
    return lane.choice(odd) if lane.chance(0.2) else usual
