"""What one seed plays with: limits, topology, and which of the faults are switched on.

Each seed has its own subset of the faults: with all of them on at once, each would hide others.
"""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from balancer.core.limits import Limits


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
    requests: int
    clients: int
    period_s: float
    """How long requests keep coming and faults go on."""
    batch_limit: int
    """How many events the balancer's loop takes before it looks at the clock."""


def draw(dice: Random) -> Scenario:
    grid_s = dice.choice((0.25, 0.25, 0.25, 0.001))
    pools = tuple("abc"[: dice.randint(1, 3)])
    slots = [(f"{pools[n % len(pools)]}{n // len(pools) + 1}", pools[n % len(pools)]) for n in range(6)]
    return Scenario(
        grid_s=grid_s,
        limits=_draw_limits(dice),
        pools=pools,
        slots=tuple(slots[: dice.randint(1, 6)]),
        faults=frozenset(fault for fault in Fault if dice.random() < 0.4),
        behaviours=tuple(b for b in Behaviour if b is not Behaviour.QUICK and dice.random() < 0.4),
        quick_share=dice.choice((0.2, 0.5, 0.9)),
        is_sorted=dice.random() < 0.3,
        requests=dice.randint(5, 60),
        clients=dice.randint(1, 5),
        period_s=dice.choice((1.0, 5.0, 10.0)),
        batch_limit=dice.choice((1, 2, 100)),
    )


def _draw_limits(dice: Random) -> Limits:
    return Limits(
        deadline_s=dice.choice((1.0, 2.0, 5.0, 10.0)),
        deadline_max_s=dice.choice((3.0, 12.0)),
        try_timeout_s=dice.choice((0.25, 0.5, 1.0, 2.0)),
        try_start_min_s=dice.choice((0.001, 0.25)),
        queue_limit=dice.choice((0, 1, 2, 5, 1000)),
        queue_limit_bytes=dice.choice((100, 500, 100_000)),
        queue_timeout_s=dice.choice((None, None, 0.25, 1.0)),
        client_limit=dice.choice((1, 3, 1000)),
        max_body_bytes=100,
        retry_budget=dice.choice((0.0, 0.2, 1.0)),
        retry_budget_window_s=dice.choice((1, 10)),
        retry_budget_per_worker=dice.choice((0, 2, 100)),
        strikes=dice.choice((1, 2, 3)),
        revive_grace_s=dice.choice((0.0, 0.25, 1.0)),
        hang_kill_after_s=dice.choice((0.25, 0.5, 1.0)),
        on_empty_next_pool=dice.random() < 0.3,
    )
