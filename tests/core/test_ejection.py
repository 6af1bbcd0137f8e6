"""Ejection: who fails one request after another is out of rotation for a while."""

from collections.abc import Callable
from typing import Any

import pytest

from balancer.core.events import Ejected, Event, SlotAdded
from tests.core.story import (
    Story,
    answer,
    comes_up,
    dies,
    empty,
    garbled,
    request,
    worker_id,
)


def story_of_a(**limits: Any) -> Story:
    """``b`` is busy for long, so that whatever comes goes to ``a``."""
    story = Story("a", "b", try_timeout_s=200.0, deadline_s=250.0, **limits)
    story.at(1000.0, request(100), request(101), answer("a"))
    return story


def fail(story: Story, now: float) -> bool:
    """Let ``a`` reply with nonsense to a request; whether that ejects it."""
    number = int(now * 10)
    assert story.at(now, request(number, once=True))[-1] == f"{number} -> a (attempt 1)"
    happened = story.at(now, garbled("a"))
    assert happened[-1] == f"{number} <- 503 exhausted after 1 attempt; a garbled; may have run"
    return len(happened) > 1


def test_the_third_bad_try_in_a_row_ejects_the_worker_for_five_seconds() -> None:
    story = story_of_a()
    assert [fail(story, now) for now in (1000.1, 1000.2, 1000.3)] == [False, False, True]
    assert story.at(1005.2, request(1)) == []
    assert story.at(1005.3) == ["a readmitted", "1 -> a (attempt 1)"]


@pytest.mark.parametrize("good", [answer, empty])
def test_a_good_reply_clears_the_record(good: Callable[[str], Event]) -> None:
    story = story_of_a()
    fail(story, 1000.1)
    fail(story, 1000.2)
    story.at(1000.3, request(1), good("a"))
    assert [fail(story, now) for now in (1000.4, 1000.5, 1000.6)] == [False, False, True]


def test_after_it_one_more_bad_try_is_enough() -> None:
    story = story_of_a()
    assert [fail(story, now) for now in (1000.1, 1000.2, 1000.3, 1006.0)][2:] == [True, True]


def test_it_is_out_twice_as_long_each_time_and_at_most_ejection_max() -> None:
    story = story_of_a(ejection_tries=1, ejection_max_s=12.0)
    durations = []
    for now in (1000.1, 1020.0, 1040.0, 1060.0):
        fail(story, now)
        durations += [a.duration_s for a in story.actions if isinstance(a, Ejected)]
    assert durations == [5.0, 10.0, 12.0, 12.0]
    story.at(1080.0, request(1), answer("a"))
    assert fail(story, 1081.0)
    assert story.actions[0] == Ejected(worker_id("a"), 5.0)


def test_timeouts_count_and_the_late_reply_brings_the_verdict() -> None:
    story = Story("a", "b", try_timeout_s=1.0, hang_kill_after_s=9.0, ejection_tries=1)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 -> b (attempt 2)"]
    story.at(1001.1, answer("b"))
    assert story.at(1001.5, answer("a")) == ["a ejected for 5 s", "reply of a to 1 dropped"]


def test_a_clients_impatience_is_not_the_workers_fault() -> None:
    story = Story("a", "b", try_timeout_s=1.0, hang_kill_after_s=9.0, ejection_tries=1)
    story.at(1000.0, request(1, try_timeout_s=0.25))
    assert story.at(1000.25) == ["1 -> b (attempt 2)"]
    story.at(1000.3, answer("b"))
    assert story.at(1000.4, answer("a")) == ["reply of a to 1 dropped"]


def test_never_more_than_half_of_a_pool() -> None:
    story = Story("a", "b", "c", ejection_tries=1, strikes=9)
    assert story.at(1000.0, request(1), garbled("a"))[1] == "a ejected for 5 s"
    assert "ejected" not in "".join(story.at(1000.1, garbled("b")))


def test_never_the_last_that_serves() -> None:
    story = Story("a", "b", ejection_tries=1)
    story.at(1000.0, dies("b"), request(1))
    assert "ejected" not in "".join(story.at(1000.1, garbled("a")))


def test_a_request_for_which_nobody_else_is_left_goes_to_an_ejected_worker() -> None:
    story = Story("a", "b", ejection_tries=1)
    story.at(1000.0, request(1), garbled("a"), answer("b"))
    story.at(1000.1, request(2))
    assert story.at(1000.2, dies("b")) == ["2 -> a (attempt 2)"]
    assert story.at(1000.3, answer("a")) == ["2 <- 200 from a after 2 attempts; b died"]
    assert story.at(1000.4, request(3)) == ["3 -> a (attempt 1)"]


def test_a_new_process_begins_with_a_clean_record() -> None:
    story = story_of_a(ejection_tries=2)
    fail(story, 1000.1)
    story.at(1000.2, dies("a"), *comes_up("a#2"), request(1))
    assert "ejected" not in "".join(story.at(1000.3, garbled("a#2")))


def test_an_ejected_worker_that_dies_leaves_no_date_behind() -> None:
    story = story_of_a(ejection_tries=1)
    assert fail(story, 1000.1)
    story.at(1000.3, dies("a"), answer("b"))
    story.at(1300.0)
    assert story.core.next_deadline() is None


def test_the_pool_grows_and_more_may_be_ejected() -> None:
    story = Story("a", "b", "c", ejection_tries=1, strikes=9, retry_budget_per_worker=99)
    story.at(1000.0, request(1), garbled("a"), answer("b"))
    story.at(1000.1, SlotAdded("d", "echo"), *comes_up("d"))
    story.at(1000.2, request(2))
    assert story.at(1000.3, garbled("b"))[0] == "b ejected for 5 s"


def test_it_can_be_switched_off() -> None:
    story = story_of_a(ejection_tries=1, ejection_s=None)
    assert not any(fail(story, now) for now in (1000.1, 1000.2, 1000.3))
