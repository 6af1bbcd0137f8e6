"""Some hundred seeds of the simulated world, and proof that its checkers notice a broken core."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    Action,
    Answer,
    Batching,
    BatchReplied,
    ClientGone,
    DrainStarted,
    Event,
    Forward,
    ForwardBatch,
    Kill,
    Reason,
    Refuse,
    ReplyArrived,
    TryFailed,
    Why,
    WorkerLost,
    WorkerReady,
)
from balancer.core.limits import Limits
from tests.plain import needs_plain_python
from tests.simulation.campaign import play_bounded
from tests.simulation.scenario import Behaviour, Fault
from tests.simulation.simulator import Result, play
from tests.simulation.situations import names

SEEDS = 120


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return [play_bounded(seed) for seed in range(SEEDS)]


def test_no_promise_is_broken(results: list[Result]) -> None:
    broken = {seed: str(r.error) for seed, r in enumerate(results) if r.error is not None}
    assert not broken, f"replay with: python -m tests.simulation --seed {min(broken)}"


def test_every_fault_and_every_outcome_occurs(results: list[Result]) -> None:
    faults = {fault for result in results for fault in result.faults}
    outcomes = {outcome for result in results for outcome in result.outcomes}
    assert faults >= {*Fault, *Behaviour} - {Behaviour.QUICK}
    assert outcomes == {"answer", "forget", *Reason}


def test_most_rare_situations_are_reached_by_few_seeds(results: list[Result]) -> None:
    reached = set().union(*(result.situations for result in results))
    assert reached <= set(names())
    assert len(list(names())) == len(set(names())) >= 80
    assert len(reached) >= 65


def test_many_seeds_on_all_cores_add_up_and_end_at_the_first_finding() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "60", "--cores", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("60 seeds in ")
    assert "no promise broken" in done.stdout
    assert "never reached: " in done.stdout


# --- the law -----------------------------------------------------------------------------------


def test_the_same_events_at_the_same_times_give_the_same_actions(results: list[Result]) -> None:
    for result in results[:50]:
        core = Dispatcher(result.scenario.limits, result.scenario.pools)
        for now, event, actions in result.trace:
            assert (core.expire(now) if event is None else core.step(event, now)) == actions


def test_the_same_seed_gives_the_same_trace_whatever_the_hashes() -> None:
    script = (
        "from tests.simulation.simulator import play\n"
        "print(*(play(seed).digest() for seed in range(10)))"
    )
    digests = [" ".join(play(seed).digest() for seed in range(10))]
    for hash_seed in ("1", "2"):
        process = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.append(process.stdout.strip())
    assert len(set(digests)) == 1


# --- the checkers ------------------------------------------------------------------------------


def deaf_to(*events: type[Event]) -> type[Dispatcher]:
    """A core that is never told of these events."""

    class Deaf(Dispatcher):
        def step(self, event: Event, now: float) -> list[Action]:
            return [] if isinstance(event, events) else super().step(event, now)

    return Deaf


def distorted(distort: Callable[[Action], list[Action]]) -> type[Dispatcher]:
    """A core whose every action is replaced by what ``distort`` makes of it."""

    class Distorted(Dispatcher):
        def step(self, event: Event, now: float) -> list[Action]:
            return [a for action in super().step(event, now) for a in distort(action)]

        def expire(self, now: float) -> list[Action]:
            return [a for action in super().expire(now) for a in distort(action)]

    return Distorted


class Sleepy(Dispatcher):
    def expire(self, now: float) -> list[Action]:
        return []


class NeverDone(Dispatcher):
    @property
    def drained(self) -> bool:
        return False


class SeesDatesLate(Dispatcher):
    def __init__(self, limits: Limits, pools: Iterable[str]) -> None:
        super().__init__(limits, pools)
        soonest = self.next_deadline
        self.next_deadline = lambda: None if (date := soonest()) is None else date + 0.25


def without(kind: type[Action]) -> type[Dispatcher]:
    return distorted(lambda action: [] if isinstance(action, kind) else [action])


def twice(kind: type[Action]) -> type[Dispatcher]:
    return distorted(lambda action: [action] * (1 + isinstance(action, kind)))


def with_value(action: Action) -> list[Action]:
    if isinstance(action, Answer):
        return [replace(action, reply=replace(action.reply, value=b"somebody else's"))]
    return [action]


def says_no_workers(action: Action) -> list[Action]:
    if isinstance(action, Refuse) and action.reason is Reason.QUEUE_FULL:
        return [replace(action, reason=Reason.NO_WORKERS)]
    return [action]


def hides_what_ran(action: Action) -> list[Action]:
    return [replace(action, may_have_run=False)] if isinstance(action, Refuse) else [action]


def hides_tries(action: Action) -> list[Action]:
    return [replace(action, tried=())] if isinstance(action, Refuse) else [action]


def blames_death(action: Action) -> list[Action]:
    return [replace(action, why=Why.DIED)] if isinstance(action, TryFailed) else [action]


def loses_the_last(action: Action) -> list[Action]:
    if isinstance(action, ForwardBatch) and len(action.tries) > 2:
        return [replace(action, tries=action.tries[:-1])]
    return [action]


def turns_round(action: Action) -> list[Action]:
    if isinstance(action, ForwardBatch):
        return [replace(action, tries=action.tries[::-1])]
    return [action]


class TakesAllBatches(Dispatcher):
    """Workers that know no batches get them all the same."""

    def step(self, event: Event, now: float) -> list[Action]:
        if isinstance(event, WorkerReady):
            event = replace(event, batching=Batching.EACH)
        return super().step(event, now)


class MixesReplies(Dispatcher):
    def step(self, event: Event, now: float) -> list[Action]:
        if isinstance(event, BatchReplied):
            event = replace(event, replies=event.replies[::-1])
        return super().step(event, now)


BROKEN: dict[str, tuple[str, type[Dispatcher]]] = {
    "no answer": ("P1 one answer", without(Answer)),
    "no refusal": ("P1 one answer", without(Refuse)),
    "two answers": ("P1 one answer", twice(Answer)),
    "a reply is not heard": ("P1 one answer", deaf_to(ReplyArrived)),
    "no date is ever looked at": ("P1 deadline", Sleepy),
    "dates are seen too late": ("P1 deadline", SeesDatesLate),
    "somebody else's answer": ("P2 its own answer", distorted(with_value)),
    "everything is sent twice": ("P4 failover", twice(Forward)),
    "batches are sent twice": ("P4 failover", twice(ForwardBatch)),
    "a batch loses its last request": ("P1 deadline", distorted(loses_the_last)),
    "a batch is turned round": ("turn", distorted(turns_round)),
    "a batch goes to whoever is there": ("batch", TakesAllBatches),
    "the replies of a batch are mixed up": ("P2 its own answer", MixesReplies),
    "the replies to a batch are not heard": ("P1 one answer", deaf_to(BatchReplied)),
    "a death is not heard": ("P1 one answer", deaf_to(WorkerLost)),
    "a worker that is up is not used": ("P4 failover", deaf_to(WorkerReady)),
    "a refusal that is not true": ("P5 honest", distorted(says_no_workers)),
    "an execution is hidden": ("P5 honest", distorted(hides_what_ran)),
    "tries are hidden": ("P5 list of tries", distorted(hides_tries)),
    "a worker is called dead": ("P5 list of tries", distorted(blames_death)),
    "a hanging worker is left alone": ("P1 deadline", without(Kill)),
    "a client's leaving is not heard": ("client gone", deaf_to(ClientGone)),
    "a drain is not heard": ("drain", deaf_to(DrainStarted)),
    "a drain that does not end": ("drain", NeverDone),
}


@needs_plain_python
@pytest.mark.parametrize("bug", BROKEN)
def test_a_broken_core_is_caught(bug: str) -> None:
    promise, core = BROKEN[bug]
    errors = (play(seed, core).error for seed in range(60))
    assert any(getattr(error, "promise", None) == promise for error in errors)
