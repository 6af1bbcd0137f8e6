"""Some hundred random walks break no promise; a core with a fault in it does not get through."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from balancer.core.dispatcher import Dispatcher
from balancer.core.events import Action, Batching, BatchReplied, Event, ReplyArrived, WorkerLost
from tests.plain import needs_plain_python
from tests.walks.machine import Walk


def walk(walks: type[Walk], examples: int) -> None:
    """Always the same walks, so that a red test stays red."""
    run_state_machine_as_test(
        walks,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )


def test_no_walk_breaks_a_promise() -> None:
    walk(Walk, examples=200)


@settings(max_examples=1, database=None)
@given(st.none())  # a walk can be told only there
def test_who_finds_the_queue_full_leaves_its_place_to_who_came_with_it(nothing: None) -> None:
    """Not all that came together count against their client's limit at once."""
    walk = Walk()
    odd = {"queue_limit": 1, "client_limit": 2}
    walk.begin(odd=odd, up="a1", once_names=(), batching=Batching.NONE)
    walk.worker_dies(which=0)
    walk.plain_requests_arrive(number=2, once=False, together=False)
    walk.plain_requests_arrive(number=4, once=True, together=True)
    walk.teardown()


class TakesDeathsForUndelivered(Dispatcher):
    """A request that must run once goes on after a death that may have come too late."""

    def step(self, event: Event, now: float) -> list[Action]:
        if isinstance(event, WorkerLost):
            event = replace(event, undelivered=True)
        return super().step(event, now)


class MistakesIncarnations(Dispatcher):
    """What a dead process said is taken for the word of its successor."""

    def step(self, event: Event, now: float) -> list[Action]:
        current = {member.slot: member.worker for member in self.pools.members()}
        if isinstance(event, ReplyArrived | BatchReplied) and event.worker.slot in current:
            event = replace(event, worker=current[event.worker.slot])
        return super().step(event, now)


class SeesOneDateAtATime(Dispatcher):
    """Of two dates at the same instant the second is not seen to in time."""

    def expire(self, now: float) -> list[Action]:
        event = self._deadlines.pop_due(now)
        return self.step(event, now) if event is not None else []


@needs_plain_python
@pytest.mark.parametrize(
    "faulty", [TakesDeathsForUndelivered, MistakesIncarnations, SeesOneDateAtATime]
)
def test_a_faulty_core_is_found_out(faulty: type[Dispatcher]) -> None:
    class WalkOfFaulty(Walk):
        core_class = faulty

    with pytest.raises(AssertionError):
        walk(WalkOfFaulty, examples=1000)
