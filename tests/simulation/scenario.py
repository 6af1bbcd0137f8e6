"""What one seed plays with: limits, topology, and which of the faults are switched on.

Each seed has its own subset of the faults: with all of them on at once, each would hide others.
"""

from dataclasses import dataclass
from enum import StrEnum
from random import Random
from typing import TypeVar

from balancer.core.limits import Limits

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


class Fault(StrEnum):
    """What else can go wrong, or is out of the ordinary."""

    LATE_NOTICE = "death noticed late"
    LOST_TASK = "task lost in a dead link"
    LOST_REPLY = "reply lost in a dead link"
    SLOW_RESTART = "slow restart"
    NO_RESTART = "never restarted"
    STUCK_START = "stuck at start"
    SLOW_KILL = "slow kill"
    CRASH = "crash out of the blue"
    SLOT_REMOVED = "slot removed"
    SLOT_ADDED = "slot added"
    STALE_EVENT = "stale or doubled event"
    CLIENT_GONE = "client gone"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too large"
    OWN_TIMEOUT = "own timeout"
    ONCE = "once"
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
    slots: tuple[tuple[str, str], ...]
    """Slot and pool of each worker that is there from the start."""
    faults: frozenset[Fault]
    behaviours: tuple[Behaviour, ...]
    quick_share: float
    is_sorted: bool
    """Each kind of request is known to one pool alone, the others decline it."""
    slow_pool: str | None
    """Its workers take all the time they are given: what only they can do piles up."""
    requests: int
    clients: int
    bursts: tuple[int, ...]
    """How many requests come at the same instant."""
    period_s: float
    """How long requests keep coming and faults go on."""
    batch_limit: int
    """How many events the balancer's loop takes before it looks at the clock."""


_RATES = dict.fromkeys(Fault, 0.4) | {Fault.DRAIN: 0.2, Fault.NO_RESTART: 0.2}


def draw(dice: Random) -> Scenario:
    pools = tuple("abc"[: dice.randint(1, 3)])
    slots = [(f"{pool}{number}", pool) for number in range(1, 7) for pool in pools]
    return Scenario(
        grid_s=dice.choice((0.25, 0.25, 0.25, 0.001)),
        limits=_draw_limits(dice),
        pools=pools,
        slots=tuple(slots[: dice.randint(1, 6)]),
        faults=frozenset(fault for fault, rate in _RATES.items() if dice.random() < rate),
        behaviours=tuple(b for b in Behaviour if b is not Behaviour.QUICK and dice.random() < 0.4),
        quick_share=dice.choice((0.2, 0.5, 0.9)),
        is_sorted=dice.random() < 0.4,
        slow_pool=_rarely(dice, (pools[-1],), None),
        requests=dice.randint(5, 60),
        clients=dice.randint(1, 5),
        bursts=dice.choice(((1,), (1, 1, 2, 4, 8))),
        period_s=dice.choice((2.0, 5.0, 10.0)),
        batch_limit=dice.choice((1, 2, 100)),
    )


def _draw_limits(dice: Random) -> Limits:
    """Most of them generous in most seeds: a request refused at the door tells little more."""
    return Limits(
        deadline_s=dice.choice((1.0, 2.0, 5.0, 10.0)),
        deadline_max_s=dice.choice((3.0, 12.0)),
        try_timeout_s=dice.choice((0.25, 0.5, 1.0, 2.0)),
        try_start_min_s=dice.choice((0.001, 0.25)),
        queue_limit=dice.choice((0, 1, 2, 5, 1000, 1000, 1000, 1000)),
        queue_limit_bytes=_rarely(dice, (100, 500), 100_000),
        queue_timeout_s=_rarely(dice, (0.25, 1.0), None),
        client_limit=_rarely(dice, (1, 3), 1000),
        max_body_bytes=100,
        retry_budget=dice.choice((0.0, 0.2, 1.0)),
        retry_budget_window_s=dice.choice((1, 10)),
        retry_budget_per_worker=dice.choice((0, 2, 100)),
        strikes=dice.choice((1, 2, 3, 10)),
        revive_grace_s=dice.choice((0.0, 0.25, 1.0)),
        hang_kill_after_s=dice.choice((0.25, 0.5, 1.0)),
        ejection_tries=1_000_000,
        on_empty_next_pool=dice.random() < 0.3,
    )


def _rarely(dice: Random, odd: tuple[T, ...], usual: U) -> T | U:
    return dice.choice(odd) if dice.random() < 0.2 else usual
