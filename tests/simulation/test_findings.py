"""What the simulator has found in the core, each as the shortest story that shows it."""

from balancer.core.events import SlotAdded
from tests.core.story import (
    Story,
    answer,
    comes_up,
    dies,
    empty,
    garbled,
    leaves,
    request,
    undelivered,
)


def test_a_successor_says_that_its_predecessor_is_dead() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    assert story.at(1000.1, *comes_up("a#2")) == ["1 -> a#2 (attempt 2)"]
    assert story.at(1000.2, dies("a"), answer("a")) == []
    assert story.at(1000.3, answer("a#2")) == ["1 <- 200 from a#2 after 2 attempts; a died"]


def test_declined_requests_do_not_fill_the_queue_without_end() -> None:
    story = Story(pools={"x": "a", "y": "b"}, queue_limit=0, try_timeout_s=9.0)
    story.at(1000.0, request(1), empty("a"))
    assert story.at(1000.1, request(2), empty("a")) == ["2 -> a (attempt 1)"]
    assert story.at(1000.2, request(3), empty("a")) == ["3 -> a (attempt 1)"]
    assert story.at(1000.3, request(4), empty("a")) == [
        "4 -> a (attempt 1)",
        "4 <- 503 queue_full after 1 attempt; a empty",
    ]


def test_the_workers_of_a_pool_that_declined_are_replicas_even_if_they_come_later() -> None:
    story = Story(
        pools={"x": "a", "y": "b"}, on_empty_next_pool=True, strikes=9, retry_budget_per_worker=9
    )
    story.at(1000.0, request(1), empty("a"))
    story.at(1000.1, SlotAdded("c", "x"), *comes_up("c"))
    assert story.at(1000.2, dies("b")) == []
    assert story.at(1000.3, *comes_up("b#2")) == ["1 -> b#2 (attempt 3)"]


def test_who_comes_back_from_a_failed_try_keeps_its_place_when_lines_are_joined() -> None:
    story = Story("a")
    story.at(1000.0, request(1), request(2))
    story.at(1000.1, dies("a"))
    assert story.at(1000.2, *comes_up("a#2")) == ["1 -> a#2 (attempt 2)"]


def test_a_name_that_another_request_bears_stays_known() -> None:
    story = Story("a", queue_limit=0)
    assert story.at(1000.0, request(1, once=True, id="x")) == ["1 -> a (attempt 1)"]
    assert story.at(1000.1, request(2, id="x")) == ["2 <- 503 queue_full"]
    story.at(1000.2, answer("a"))
    assert story.at(1000.3, request(3, once=True, id="x")) == ["3 <- 409 duplicate; may have run"]


def test_a_request_that_was_tried_and_certainly_not_executed_may_come_again() -> None:
    story = Story("a")
    assert story.at(1000.0, request(1, once=True, id="x"), undelivered("a")) == [
        "1 -> a (attempt 1)"
    ]
    assert story.at(1001.0) == ["1 <- 503 exhausted after 1 attempt; a undelivered"]
    story.at(1001.1, *comes_up("a#2"))
    assert story.at(1001.2, request(2, once=True, id="x")) == ["2 -> a#2 (attempt 1)"]


def test_a_request_whose_client_went_while_it_was_tried_stays_known() -> None:
    story = Story("a")
    assert story.at(1000.0, request(1, once=True, id="x"), leaves()) == [
        "1 -> a (attempt 1)",
        "1 forgotten",
    ]
    assert story.at(1000.1, request(2, once=True, id="x")) == ["2 <- 409 duplicate; may have run"]


def test_who_comes_back_from_a_last_resort_takes_what_waits_for_another_pool() -> None:
    story = Story(pools={"x": "a a2", "y": "b"}, ejection_tries=1, try_timeout_s=0.5)
    story.at(1000.0, request(1), request(2), request(3), garbled("a2"))
    assert story.at(1000.5) == ["1 -> b (attempt 2)"]
    assert story.at(1000.6, garbled("b")) == ["1 -> a2 (attempt 3)", "2 -> b (attempt 2)"]
    assert story.at(1000.7, garbled("a2"))[-1] == "3 -> a2 (attempt 1)"
