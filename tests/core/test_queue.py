"""Waiting: the order, the bounds, and how long."""

from balancer.core.lifecycle import Request
from balancer.core.queue import Queue
from tests.core.story import Story, answer, comes_up, dies, empty, leaves, request, undelivered


def test_requests_are_served_in_the_order_of_their_arrival() -> None:
    story = Story("a")
    story.at(1000.0, request(1), request(2), request(3))
    assert story.at(1000.1, answer("a"))[-1] == "2 -> a (attempt 1)"
    assert story.at(1000.2, answer("a"))[-1] == "3 -> a (attempt 1)"


def test_the_urgent_come_first_and_the_others_in_order() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    story.at(1000.1, request(2, priority=2), request(3), request(4, priority=0), request(5))
    order = []
    for tenth in range(2, 6):
        order.append(story.at(1000.0 + tenth / 10, answer("a"))[-1])
    assert order == [f"{number} -> a (attempt 1)" for number in (4, 3, 5, 2)]


def test_a_request_that_comes_back_waits_at_the_head() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1), request(2), request(3))
    assert story.at(1000.1, empty("a")) == ["3 -> a (attempt 1)"]
    story.at(1000.1, request(4))
    assert story.at(1000.2, answer("b")) == ["2 <- 200 from b", "1 -> b (attempt 2)"]


def test_the_head_is_that_of_its_own_priority() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1, priority=1), request(2), request(3, priority=0))
    story.at(1000.0, request(4, priority=0))
    assert story.at(1000.1, empty("a")) == ["3 -> a (attempt 1)"]
    assert story.at(1000.2, answer("b"))[-1] == "4 -> b (attempt 1)"
    assert story.at(1000.3, answer("b"))[-1] == "1 -> b (attempt 2)"


def test_a_worker_passes_over_those_that_have_tried_it() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, empty("a")) == []
    assert story.at(1000.2, request(3)) == ["3 -> a (attempt 1)"]
    assert story.at(1000.3, answer("a")) == ["3 <- 200 from a"]
    assert story.at(1000.4, answer("b")) == ["2 <- 200 from b", "1 -> b (attempt 2)"]


def test_the_order_outlives_a_change_of_the_pool() -> None:
    story = Story("a", "b")
    story.at(1000.0, *(request(number) for number in range(1, 7)))
    assert story.at(1000.1, dies("b")) == []
    assert story.at(1000.2, answer("a"))[-1] == "2 -> a (attempt 2)"
    assert story.at(1000.3, *comes_up("b#2")) == ["3 -> b#2 (attempt 1)"]
    assert story.at(1000.4, answer("a"))[-1] == "4 -> a (attempt 1)"


def test_those_who_waited_for_a_pool_that_died_keep_their_place_among_the_others() -> None:
    story = Story(pools={"x": "a", "y": "b"})
    story.at(1000.0, request(1), empty("a"))
    assert story.at(1000.1, request(2), request(3), empty("a")) == [
        "2 -> a (attempt 1)",
        "3 -> a (attempt 1)",
    ]
    assert story.at(1000.2, request(4), dies("a")) == []
    order = [story.at(1000.3 + tenth / 10, answer("b"))[-1] for tenth in range(3)]
    assert order == ["2 -> b (attempt 2)", "3 -> b (attempt 2)", "4 -> b (attempt 1)"]


# --- bounds ------------------------------------------------------------------------------------


def test_the_queue_takes_its_limit_and_no_more() -> None:
    story = Story("a", queue_limit=2)
    assert story.at(1000.0, request(1), request(2), request(3)) == ["1 -> a (attempt 1)"]
    assert story.at(1000.1, request(4)) == ["4 <- 503 queue_full"]
    story.at(1000.2, answer("a"))
    assert story.at(1000.3, request(5)) == []
    assert story.at(1000.4, request(6)) == ["6 <- 503 queue_full"]


def test_the_queue_takes_its_bytes_and_no_more() -> None:
    story = Story("a", queue_limit_bytes=100)
    story.at(1000.0, request(1, size_bytes=100))
    assert story.at(1000.1, request(2, size_bytes=60), request(3, size_bytes=40)) == []
    assert story.at(1000.2, request(4, size_bytes=1)) == ["4 <- 503 queue_full"]
    story.at(1000.3, answer("a"))
    assert story.at(1000.4, request(5, size_bytes=61)) == ["5 <- 503 queue_full"]
    assert story.at(1000.5, request(6, size_bytes=60)) == []


def test_bytes_are_counted_right_through_a_change_of_the_pool() -> None:
    story = Story("a", "b", queue_limit_bytes=100)
    story.at(1000.0, request(1), request(2), request(3, size_bytes=60))
    story.at(1000.1, dies("b"))
    assert story.core.queue.size_bytes == 60
    assert story.at(1000.2, request(4, size_bytes=41)) == ["4 <- 503 queue_full"]
    assert story.at(1000.2, request(5, size_bytes=40)) == []


def test_an_idle_worker_makes_the_bound_meaningless() -> None:
    story = Story("a", queue_limit=0)
    assert story.at(1000.0, request(1)) == ["1 -> a (attempt 1)"]
    assert story.at(1000.0, request(2)) == ["2 <- 503 queue_full"]


def test_a_request_that_comes_back_is_let_in_above_the_limit() -> None:
    story = Story("a", "b", queue_limit=1)
    story.at(1000.0, request(1), request(2), request(3))
    assert story.at(1000.1, undelivered("a")) == []
    assert len(story.core.queue) == 2
    assert story.at(1000.2, answer("b"))[-1] == "1 -> b (attempt 2)"


def test_a_worker_that_declines_all_it_gets_does_not_fill_the_queue_without_end() -> None:
    story = Story("a", "b", queue_limit=0)
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, empty("a")) == []
    assert story.at(1000.2, request(3), empty("a")) == ["3 -> a (attempt 1)"]
    assert story.at(1000.3, request(4), empty("a")) == [
        "4 -> a (attempt 1)",
        "4 <- 503 queue_full after 1 attempt; a empty",
    ]
    assert story.at(1000.4, answer("b"))[-1] == "1 -> b (attempt 2)"


def test_nor_does_it_fill_the_memory() -> None:
    story = Story("a", "b", queue_limit_bytes=0, max_body_bytes=10)
    story.at(1000.0, request(1, size_bytes=10), request(2))
    assert story.at(1000.1, empty("a")) == []
    assert story.at(1000.2, request(3, size_bytes=10), empty("a")) == ["3 -> a (attempt 1)"]
    assert story.at(1000.3, request(4, size_bytes=1), empty("a")) == [
        "4 -> a (attempt 1)",
        "4 <- 503 queue_full after 1 attempt; a empty",
    ]
    assert story.core.queue.size_bytes == 20


# --- queue_timeout -----------------------------------------------------------------------------


def test_the_wait_for_a_first_worker_can_be_bounded() -> None:
    story = Story("a", queue_timeout_s=2.0)
    story.at(1000.0, request(1))
    story.at(1000.5, request(2))
    assert story.at(1002.499) == []
    assert story.at(1002.5) == ["2 <- 503 queue_timeout"]
    assert story.at(1003.0, answer("a")) == ["1 <- 200 from a"]


def test_a_forwarded_request_is_not_caught_by_its_queue_timeout() -> None:
    story = Story("a", queue_timeout_s=2.0)
    story.at(1000.0, request(1), request(2))
    assert story.at(1001.0, answer("a"))[-1] == "2 -> a (attempt 1)"
    assert story.at(1005.0) == []


def test_a_request_that_left_the_queue_for_good_has_no_queue_timeout() -> None:
    story = Story("a", queue_timeout_s=2.0)
    story.at(1000.0, request(1), request(2, timeout_s=1.0), request(3, "other"))
    assert story.at(1001.0, leaves("other")) == ["3 forgotten", "2 <- 504 deadline"]
    assert story.at(1009.0) == []


def test_the_wait_for_a_second_worker_has_no_queue_timeout() -> None:
    story = Story("a", "b", queue_timeout_s=2.0)
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, empty("a")) == []
    assert story.at(1009.0) == []


def test_a_change_of_the_pool_does_not_prolong_the_queue_timeout() -> None:
    story = Story("a", "-b", queue_timeout_s=2.0)
    story.at(1000.0, request(1), request(2))
    story.at(1001.0, dies("b"), *comes_up("b"), request(3))
    story.at(1001.5, dies("b"))
    assert story.at(1003.0, answer("a"))[-1] == "3 <- 503 queue_timeout"


# --- the queue itself --------------------------------------------------------------------------


def test_the_queue_knows_who_is_in_it() -> None:
    queue, one = Queue(), Request(request(1, size_bytes=7), 1000.0, 1030.0, 10.0)
    assert (len(queue), one.id in queue, queue.size_bytes) == (0, False, 0)
    queue.add(one, None)
    assert (len(queue), one.id in queue, queue.size_bytes, list(queue)) == (1, True, 7, [one])
    queue.remove(one)
    assert (len(queue), one.id in queue, queue.size_bytes, list(queue)) == (0, False, 0, [])


def test_taking_all_gives_them_in_order_and_leaves_nothing() -> None:
    queue = Queue()
    waiting = [Request(request(n, priority=n % 3), 1000.0, 1030.0, 10.0) for n in range(6)]
    for one in waiting:
        queue.add(one, None)
    assert [one.id for one in queue.take_all()] == [0, 3, 1, 4, 2, 5]
    assert (len(queue), queue.size_bytes, queue.take_all()) == (0, 0, [])
