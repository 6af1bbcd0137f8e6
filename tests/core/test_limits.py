"""Numbers: the documented defaults, and what happens at each limit and one beyond it."""

import dataclasses

import pytest

from balancer.core.events import Event
from balancer.core.limits import Limits
from tests.core.story import Story, answer, leaves, request


def test_the_defaults_are_the_documented_ones() -> None:
    assert dataclasses.asdict(Limits()) == {
        "deadline_s": 30.0,
        "deadline_max_s": 300.0,
        "try_timeout_s": 10.0,
        "try_start_min_s": 0.001,
        "queue_limit": 1024,
        "queue_limit_bytes": 64 * 1024 * 1024,
        "queue_timeout_s": None,
        "client_limit": 1024,
        "max_body_bytes": 16 * 1024 * 1024,
        "retry_budget": 0.2,
        "retry_budget_window_s": 10,
        "retry_budget_per_worker": 2,
        "strikes": 3,
        "revive_grace_s": 1.0,
        "hang_kill_after_s": 2.0,
        "ejection_tries": 3,
        "ejection_s": 5.0,
        "ejection_max_s": 300.0,
        "once_ids_limit": 65_536,
        "batch_max": 1,
        "batch_budget_s": 0.001,
        "batch_wait_s": 0.0,
        "on_empty_next_pool": False,
    }


# --- the deadline ------------------------------------------------------------------------------


def test_a_request_without_a_wish_gets_the_default_deadline() -> None:
    story = Story("a", deadline_s=5.0)
    story.at(1000.0, request(1))
    assert story.at(1004.999) == []
    assert story.at(1005.0) == ["1 <- 504 deadline after 1 attempt; a timeout; may have run"]


def test_a_client_may_ask_for_less_or_more_time() -> None:
    story = Story("a", deadline_s=5.0, try_timeout_s=99.0)
    story.at(1000.0, request(1, timeout_s=7.0))
    story.at(1000.0, request(2, timeout_s=1.0))
    assert story.at(1001.0) == ["2 <- 504 deadline"]
    assert story.at(1006.999) == []
    assert story.at(1007.0) == ["1 <- 504 deadline after 1 attempt; a timeout; may have run"]


def test_a_wish_above_the_longest_deadline_is_cut() -> None:
    story = Story("a", deadline_max_s=300.0, try_timeout_s=999.0)
    story.at(1000.0, request(1, timeout_s=1e300))
    assert story.at(1299.999) == []
    assert story.at(1300.0) == ["1 <- 504 deadline after 1 attempt; a timeout; may have run"]


def test_a_request_whose_time_is_spent_on_arrival_is_not_executed() -> None:
    story = Story("a")
    assert story.at(1000.0, request(1, timeout_s=0.0)) == ["1 <- 504 deadline"]


def test_a_try_starts_with_just_enough_time_and_not_with_less() -> None:
    story = Story("a", "b", try_start_min_s=0.25)
    assert story.at(1000.0, request(1, timeout_s=0.25)) == ["1 -> a (attempt 1)"]
    assert story.at(1000.0, request(2, timeout_s=0.125)) == ["2 <- 504 deadline"]


def test_a_free_worker_goes_to_the_next_in_line_when_the_first_has_no_time_left() -> None:
    story = Story("a", try_start_min_s=0.25)
    story.at(1000.0, request(1))
    story.at(1000.0, request(2, timeout_s=1.0), request(3))
    assert story.at(1000.875, answer("a")) == [
        "1 <- 200 from a",
        "2 <- 504 deadline",
        "3 -> a (attempt 1)",
    ]


# --- at the door -------------------------------------------------------------------------------


def test_a_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    story = Story("a", "b", max_body_bytes=100)
    assert story.at(1000.0, request(1, size_bytes=100)) == ["1 -> a (attempt 1)"]
    assert story.at(1000.0, request(2, size_bytes=101)) == ["2 <- 413 too_large"]
    assert story.core.open_requests == 1


def test_a_client_has_its_limit_of_open_requests_and_no_more() -> None:
    story = Story("a", client_limit=2)
    story.at(1000.0, request(1, "one"), request(2, "one"))
    assert story.at(1000.1, request(3, "one")) == ["3 <- 429 client_limit"]
    assert story.at(1000.1, request(4, "two")) == []


@pytest.mark.parametrize("end", [answer("a"), leaves("one")])
def test_a_request_that_is_over_makes_room_for_its_clients_next(end: Event) -> None:
    story = Story("a", client_limit=1)
    story.at(1000.0, request(1, "one"))
    story.at(1000.1, end)
    assert story.at(1000.2, request(2, "one"))[:1] != ["2 <- 429 client_limit"]
    assert story.at(1000.2, request(3, "one")) == ["3 <- 429 client_limit"]
