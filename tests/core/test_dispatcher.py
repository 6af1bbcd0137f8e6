"""Events: workers come and go, the cluster drains, and no stray news confuses anybody."""

import random

import pytest

from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    Action,
    DrainStarted,
    Event,
    SlotAdded,
    SlotRemoved,
)
from balancer.core.limits import Limits
from tests.core.story import (
    Story,
    answer,
    comes_up,
    connects,
    dies,
    empty,
    garbled,
    leaves,
    ready,
    request,
    undelivered,
)

# --- drain -------------------------------------------------------------------------------------


def test_a_draining_core_takes_nothing_new_and_finishes_what_it_has() -> None:
    story = Story("a")
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, DrainStarted(25.0)) == []
    assert story.at(1000.2, request(3)) == ["3 <- 503 draining"]
    assert not story.core.drained
    assert story.at(1000.3, answer("a"))[-1] == "2 -> a (attempt 1)"
    assert not story.core.drained
    assert story.at(1000.4, answer("a")) == ["2 <- 200 from a"]
    assert story.core.drained


def test_a_core_is_not_drained_before_it_is_asked_to_drain() -> None:
    story = Story("a")
    assert not story.core.drained
    story.at(1000.0, DrainStarted(25.0))
    assert story.core.drained


def test_newcomers_wait_where_nobody_is_free_and_nobody_is_refused() -> None:
    """Then it is no matter when they are read; in a drain they are to be told before the end."""
    story = Story("a", "b")
    assert not story.core.newcomers_wait
    story.at(1000.0, request(1))
    assert not story.core.newcomers_wait
    story.at(1000.1, request(2))
    assert story.core.newcomers_wait
    story.at(1000.2, DrainStarted(25.0))
    assert not story.core.newcomers_wait


def test_failover_works_while_draining() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1), DrainStarted(25.0))
    assert story.at(1000.1, dies("a")) == ["1 -> b (attempt 2)"]


def test_what_is_still_open_when_the_drain_times_out_is_refused() -> None:
    story = Story("a")
    story.at(1000.0, request(1), request(2))
    story.at(1000.5, DrainStarted(5.0))
    assert story.at(1005.499) == []
    assert story.at(1005.5) == [
        "1 <- 503 draining after 1 attempt; a timeout; may have run",
        "2 <- 503 draining",
    ]
    assert story.core.drained


def test_a_second_drain_sets_a_new_limit() -> None:
    story = Story("a")
    story.at(1000.0, request(1), DrainStarted(25.0))
    assert story.at(1001.0, DrainStarted(3.0)) == []
    assert story.at(1004.0) == ["1 <- 503 draining after 1 attempt; a timeout; may have run"]
    assert story.at(1100.0) == ["kill a for 1"]


def test_a_second_drain_may_be_more_patient_than_the_first() -> None:
    story = Story("a")
    story.at(1000.0, request(1), DrainStarted(3.0))
    story.at(1001.0, DrainStarted(8.0))
    assert story.at(1008.999) == []
    assert story.at(1009.0)[0].startswith("1 <- 503 draining")


# --- slots come and go -------------------------------------------------------------------------


def test_an_added_slot_serves_once_its_worker_is_up() -> None:
    story = Story("a")
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, SlotAdded("b", "echo")) == []
    assert story.at(1000.2, *comes_up("b")) == ["2 -> b (attempt 1)"]


def test_a_removed_slot_is_not_waited_for() -> None:
    story = Story("-a", revive_grace_s=9.0)
    story.at(1000.0, request(1))
    assert story.at(1000.5, SlotRemoved("a")) == ["1 <- 503 no_workers"]
    assert story.at(1000.6, *comes_up("a#2")) == []


def test_the_request_of_a_removed_worker_goes_on_elsewhere() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    assert story.at(1000.1, SlotRemoved("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, answer("a"), dies("a")) == []
    assert story.at(1000.3, answer("b")) == ["1 <- 200 from b after 2 attempts; a died"]


def test_removing_a_slot_that_is_not_there_is_harmless() -> None:
    assert Story("a").at(1000.0, SlotRemoved("b"), SlotRemoved("a"), SlotRemoved("a")) == []


# --- stale, doubled and unknown events ---------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        answer("a#2"),
        empty("a#2"),
        dies("a#2"),
        undelivered("a#2"),
        connects("a"),
        ready("a"),
        ready("a#2"),
        answer("nobody"),
        dies("nobody"),
        *comes_up("nobody"),
        answer("b"),
        connects("b"),
        SlotAdded("a", "echo"),
    ],
)
def test_news_of_the_past_or_of_strangers_changes_nothing(event: Event) -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    assert story.at(1000.1, event) == []
    assert story.actions == []
    assert story.at(1000.2, request(2)) == ["2 -> b (attempt 1)"]
    assert story.at(1000.3, answer("a"), answer("b")) == ["1 <- 200 from a", "2 <- 200 from b"]


def test_a_reply_that_comes_twice_counts_once() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    assert story.at(1000.1, answer("a"), answer("a"), answer("a")) == ["1 <- 200 from a"]


def test_a_death_that_is_told_twice_counts_once() -> None:
    story = Story("a", "b", "c")
    story.at(1000.0, request(1))
    assert story.at(1000.1, dies("a"), dies("a")) == ["1 -> b (attempt 2)"]


def test_the_reply_of_a_dead_incarnation_does_not_answer_for_the_new_one() -> None:
    story = Story("a")
    story.at(1000.0, request(1), dies("a"))
    assert story.at(1000.1, *comes_up("a#2")) == ["1 -> a#2 (attempt 2)"]
    assert story.at(1000.2, answer("a"), dies("a")) == []
    assert story.at(1000.3, answer("a#2")) == ["1 <- 200 from a#2 after 2 attempts; a died"]


def test_a_new_incarnation_means_that_the_old_one_is_dead_told_or_not() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1), request(2), request(3))
    assert story.at(1000.1, connects("a#2")) == []
    assert story.at(1000.2, dies("a"), answer("a")) == []
    assert story.at(1000.3, ready("a#2")) == ["1 -> a#2 (attempt 2)"]
    assert story.at(1000.4, answer("a#2")) == [
        "1 <- 200 from a#2 after 2 attempts; a died",
        "3 -> a#2 (attempt 1)",
    ]


def test_an_incarnation_is_no_news_to_itself() -> None:
    story = Story("-a")
    assert story.at(1000.0, *comes_up("a#2"), request(1)) == ["1 -> a#2 (attempt 1)"]
    assert story.at(1000.1, connects("a#2"), connects("a")) == []
    assert story.at(1000.2, answer("a#2")) == ["1 <- 200 from a#2"]


def test_a_dead_incarnation_does_not_come_back() -> None:
    story = Story("a")
    story.at(1000.0, dies("a"), *comes_up("a"))
    assert story.at(1000.0, request(1)) == []


def test_an_event_that_does_not_exist_crashes() -> None:
    with pytest.raises(KeyError):
        Story("a").at(1000.0, "hello")  # type: ignore[arg-type]


# --- the law -----------------------------------------------------------------------------------


def told_at_random(seed: int) -> list[Action]:
    """Three hundred events of all kinds, sensible or not, and everything that came of them."""
    chance = random.Random(seed)
    core = Dispatcher(Limits(try_timeout_s=1.0, queue_limit=5, client_limit=4), ["x", "y"])
    incarnation = dict.fromkeys("abcd", 1)
    actions: list[Action] = []
    for slot in "abcd":
        actions += core.step(SlotAdded(slot, "x" if slot in "ab" else "y"), 1000.0)
    for number in range(300):
        now = 1000.0 + number * 0.25
        slot = chance.choice("abcd")
        worker = f"{slot}#{incarnation[slot]}"
        kind = chance.randrange(8)
        if kind == 0:
            incarnation[slot] += 1
        events: list[list[Event]] = [
            [dies(worker)],
            [*comes_up(worker)],
            [answer(worker)],
            [empty(worker)],
            [garbled(worker)],
            [leaves(chance.choice("pqr"))],
            [request(number, chance.choice("pqr"), once=chance.random() < 0.3)],
            [request(number, chance.choice("pqr"), priority=chance.randrange(3))],
        ]
        for event in events[kind]:
            actions += core.step(event, now)
        actions += core.expire(now)
    return actions


def test_the_same_events_at_the_same_times_always_give_the_same_actions() -> None:
    for seed in range(5):
        assert told_at_random(seed) == told_at_random(seed)


def test_all_that_is_due_at_an_instant_happens_at_that_instant() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    story.at(1000.0, request(1, once=True), request(2, once=True))
    assert story.at(1001.0) == [
        "1 <- 503 exhausted after 1 attempt; a timeout; may have run",
        "2 <- 503 exhausted after 1 attempt; b timeout; may have run",
    ]


def test_every_request_ends_once_and_nothing_stays_behind() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    for number in range(100):
        story.at(1000.0 + number / 10, request(number), *([answer("a")] if number % 3 else []))
    story.at(2000.0, answer("a"), answer("b"))
    assert (story.core.open_requests, len(story.core.queue)) == (0, 0)
    assert story.core.next_deadline() is None
