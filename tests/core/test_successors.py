"""A worker makes room for its successor, or goes because its slot does; no request notices."""

from balancer.core.events import Reconfigured, SlotAdded, SlotRetired
from balancer.core.limits import Limits
from tests.core.story import Story, answer, comes_up, connects, dies, ready, request


def test_an_idle_worker_is_released_when_its_successor_is_ready() -> None:
    story = Story("a")
    assert story.at(1000.0, connects("a#2", beside_older=True)) == []
    assert story.at(1000.1, request(1), answer("a")) == ["1 -> a (attempt 1)", "1 <- 200 from a"]
    assert story.at(1000.2, ready("a#2")) == ["a released"]
    assert story.at(1000.3, request(2)) == ["2 -> a#2 (attempt 1)"]


def test_a_busy_worker_finishes_first_and_gets_nothing_more() -> None:
    story = Story("a")
    story.at(1000.0, request(1), request(2), connects("a#2", beside_older=True))
    assert story.at(1000.1, ready("a#2")) == ["2 -> a#2 (attempt 1)"]
    assert story.at(1000.2, answer("a")) == ["1 <- 200 from a", "a released"]
    assert story.at(1000.3, request(3), answer("a#2")) == [
        "2 <- 200 from a#2",
        "3 -> a#2 (attempt 1)",
    ]


def test_a_retired_worker_that_dies_costs_its_request_a_try_as_ever() -> None:
    story = Story("a")
    story.at(1000.0, request(1), connects("a#2", beside_older=True), ready("a#2"))
    assert story.at(1000.1, dies("a")) == ["1 -> a#2 (attempt 2)"]


def test_a_retired_worker_that_hangs_is_given_up_and_killed() -> None:
    story = Story("a", try_timeout_s=1.0, hang_kill_after_s=2.0)
    story.at(1000.0, request(1), connects("a#2", beside_older=True), ready("a#2"))
    assert story.at(1001.0) == ["1 <- 503 exhausted after 1 attempt; a timeout; may have run"]
    assert story.at(1003.0) == ["kill a for 1"]
    assert story.core.next_deadline() is None


def test_a_successor_that_never_gets_ready_is_killed_and_the_old_one_serves_on() -> None:
    story = Story("a", try_timeout_s=10.0, hang_kill_after_s=2.0)
    story.at(1000.0, connects("a#2", beside_older=True))
    assert story.at(1012.0, request(1)) == ["1 -> a (attempt 1)", "kill a#2"]


def test_of_a_successor_that_was_killed_nothing_more_is_heard() -> None:
    """Told once more that it has connected, it would be taken for the slot's newest process, and
    the one that serves for dead (the simulation, 2026-11-25)."""
    story = Story("a", try_timeout_s=10.0, hang_kill_after_s=2.0)
    story.at(1000.0, connects("a#2", beside_older=True))
    assert story.at(1012.0, request(1)) == ["1 -> a (attempt 1)", "kill a#2"]
    assert story.at(1012.1, connects("a#2"), ready("a#2")) == []
    assert story.at(1012.2, answer("a")) == ["1 <- 200 from a"]
    assert story.at(1012.3, request(2)) == ["2 -> a (attempt 1)"]


def test_a_successor_whose_predecessor_dies_has_the_slot_to_itself() -> None:
    story = Story("a", revive_grace_s=0.1)
    story.at(1000.0, connects("a#2", beside_older=True), request(1))
    assert story.at(1000.1, dies("a")) == []
    assert story.at(1000.5, ready("a#2")) == ["1 -> a#2 (attempt 2)"]


def test_without_the_older_one_a_successor_is_just_the_next() -> None:
    story = Story("-a")
    story.at(1000.0, request(1), connects("a#1", beside_older=True))
    assert story.at(1000.1, ready("a#1")) == ["1 -> a (attempt 1)"]


def test_a_process_that_takes_the_slot_outright_ends_all_that_stood_there() -> None:
    story = Story("a")
    story.at(1000.0, connects("a#2", beside_older=True), request(1))
    assert story.at(1000.1, connects("a#3"), ready("a#3")) == ["1 -> a#3 (attempt 2)"]
    assert story.at(1000.2, ready("a#2"), answer("a")) == []


def test_news_of_an_older_incarnation_changes_nothing() -> None:
    story = Story("a")
    story.at(1000.0, connects("a#2", beside_older=True), connects("a#2"), ready("a#2"))
    assert story.at(1000.1, connects("a#2"), *comes_up("a#1"), request(1)) == [
        "1 -> a#2 (attempt 1)"
    ]


def test_a_retired_slot_lets_its_worker_finish_and_takes_no_more() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    assert story.at(1000.1, SlotRetired("a"), SlotRetired("b")) == ["b released"]
    assert story.at(1000.2, request(2)) == ["2 <- 503 no_workers"]
    assert story.at(1000.3, answer("a")) == ["1 <- 200 from a", "a released"]
    assert story.core.next_deadline() is None


def test_the_order_of_the_sweep_and_the_limits_can_change() -> None:
    story = Story(pools={"x": "a", "y": "b"})
    order = ("y", "z", "x")
    story.at(1000.0, Reconfigured(Limits(deadline_s=5.0), order), SlotAdded("c", "z"))
    assert [pool.name for pool in story.core.pools] == ["y", "z", "x"]
    assert story.at(1000.1, request(1)) == ["1 -> b (attempt 1)"]
    assert story.at(1005.1) == ["1 <- 504 deadline after 1 attempt; b timeout; may have run"]
