"""A tape replays its world, survives being written down, and shrinks to a story."""

from random import Random

import pytest

from balancer.core.dispatcher import Dispatcher
from balancer.core.events import Action, Answer, Event
from tests.plain import needs_plain_python
from tests.simulation.shrinking import Shrinker
from tests.simulation.simulator import play, replay
from tests.simulation.stories import kind_of, shortest, tell
from tests.simulation.tape import Recording, Tape, from_text, to_text


class ForgetsAnswersOfSecondTries(Dispatcher):
    """Breaks P1, but only for a request whose first try has failed."""

    def step(self, event: Event, now: float) -> list[Action]:
        actions = super().step(event, now)
        return [a for a in actions if not (isinstance(a, Answer) and a.attempts > 1)]


@pytest.mark.parametrize("seed", range(10))
def test_what_was_recorded_plays_again_just_so(seed: int) -> None:
    result = play(seed)
    again = replay(from_text(to_text(result.recording)))
    assert again.digest() == result.digest()
    assert again.recording == result.recording


def test_an_empty_tape_is_the_simplest_world() -> None:
    result = replay({})
    assert result.error is None
    assert not result.faults.total()
    assert result.outcomes == {"answer": 5}  # one request, and four to see that all is well


def test_a_lane_takes_what_it_is_given_within_bounds_and_then_zeros() -> None:
    tape = Tape({"a": [9, 1, 7]})
    lane = tape.lane("a")
    assert (lane.below(3), lane.chance(0.0), lane.choice("xyz"), lane.between(4, 6)) == (
        2,
        False,
        "z",
        4,
    )
    assert tape.taken() == {"a": [2, 0, 2]}


def test_what_belongs_to_one_time_can_be_left_out_alone() -> None:
    drawn = Tape(dice=Random(2))
    values = [drawn.lane("a").below(100) for _ in drawn.lane("a").repeat(0, 9)]
    (recording,) = drawn.taken().values()
    assert len(values) > 2
    lane = Tape({"a": recording[:2] + recording[4:]}).lane("a")
    assert [lane.below(100) for _ in lane.repeat(0, 9)] == [values[0], *values[2:]]


@pytest.mark.parametrize("text", ["a", "a:1.x", "a:1/a:2", "a b:1", ":1"])
def test_what_is_no_tape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"tape|invalid literal"):
        from_text(text)


def test_the_shrinker_leaves_out_and_lowers_what_does_not_matter() -> None:
    def fails(recording: Recording) -> tuple[tuple[int, ...], Recording] | None:
        return (
            ((0,), recording) if sum(value >= 5 for value in recording.get("a", ())) > 1 else None
        )

    start = {"a": [3, 9, 0, 8, 1, 77], "b": [1, 2, 3]}
    shrinker = Shrinker((0,), start, fails)
    assert shrinker.run() == {"a": [5, 5]}
    assert shrinker.runs < 200


@needs_plain_python
def test_a_finding_shrinks_to_a_short_story() -> None:
    core = ForgetsAnswersOfSecondTries
    found = next(r for r in (play(seed, core) for seed in range(99)) if r.error)
    short = shortest(found, 10.0, core)
    assert kind_of(short.error) == kind_of(found.error) == "P1 one answer"
    assert short.requests <= 2
    assert short.faults.total() <= 2
    *_, verdict, command = tell(short)
    assert verdict.startswith("Violation: P1 one answer: ")
    tape = command.removeprefix("replay it with: python -m tests.simulation --tape ").strip("'")
    assert replay(from_text(tape), core).digest() == short.digest()
