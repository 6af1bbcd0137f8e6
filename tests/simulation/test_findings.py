"""What the simulator has found in the core, each as the shortest story that shows it."""

from balancer.core.events import SlotAdded
from tests.core.story import Story, answer, comes_up, dies, empty, request


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
