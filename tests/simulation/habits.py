"""What is peculiar to the workers of one slot, whichever process fills it."""

from balancer.core.events import Batching
from tests.simulation.scenario import Behaviour, Scenario
from tests.simulation.tape import Lane


def draw_habit(scenario: Scenario, lane: Lane, pool: str) -> Behaviour | None:
    """What they do with every try; None for those that have good and bad moments."""
    if pool == scenario.slow_pool:
        return Behaviour.NEAR_TIMEOUT
    if scenario.behaviours and lane.chance(0.2):
        return lane.choice(scenario.behaviours)
    return None


def draw_batching(scenario: Scenario, lane: Lane, pool: str, *, is_static: bool) -> Batching:
    """Most static workers are no work of our runtime, and know of no batches."""
    if is_static and not lane.chance(0.2):
        return Batching.NONE
    return scenario.batching[pool]
