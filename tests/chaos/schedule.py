"""When to break what: a list of faults that follows from a seed alone. Pure."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

RATES_PER_S = {
    "kill": 0.45,
    "stop": 0.12,
    "kill-balancer": 0.09,
    "stop-balancer": 0.09,
    "kill-launcher": 0.075,
    "drain": 0.075,
    "reload": 0.08,
    "crash": 0.12,
    "hang": 0.08,
    "leak": 0.35,
    "empty": 0.9,
    "garbage": 0.5,
    "large": 0.2,
    "slow": 0.4,
    "raise": 0.4,
    "chatter": 0.1,
    "descriptors": 0.095,
    "deaf": 0.08,
    "latency": 0.15,
    "slices": 0.15,
    "reset": 0.5,
    "blackhole": 0.12,
    "kill-client": 0.12,
}
"""The kinds of faults. What costs the start of processes is rare: each start takes 0.1 s of CPU."""


@dataclass(frozen=True, slots=True)
class Due:
    """A fault that is to happen ``at_s`` after the start."""

    at_s: float
    kind: str
    seed: int
    """For what else there is to choose."""


def plan(
    seconds: float, seed: int, kinds: Iterable[str] | None = None, pace: float = 1.0
) -> list[Due]:
    """The faults of a run, in order of time; each kind at least once, and ``pace`` times as often
    as usual."""
    dice = random.Random(seed)
    faults = []
    for kind in sorted(kinds or RATES_PER_S):
        for _ in range(max(1, round(RATES_PER_S[kind] * pace * seconds))):
            faults.append(Due(dice.uniform(0, seconds), kind, dice.randrange(1 << 32)))
    return sorted(faults, key=lambda due: due.at_s)
