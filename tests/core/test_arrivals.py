"""Those that come together: as if one came after the other, but that they may go together."""

from typing import Any

import pytest

from balancer.core.events import Batching, Outcome, RequestId, RequestsArrived
from tests.core.story import START, Story, answer, dies, garbled, replies, request

FAST_S = 0.0001


def together(*numbers: int, **wishes: Any) -> RequestsArrived:
    return RequestsArrived(tuple(request(number, **wishes) for number in numbers))


def idle(*workers: str, service_s: float = FAST_S, **limits: Any) -> Story:
    """Workers known to need so long for a request, with nothing to do; the first is asked first."""
    story = Story(*workers, batching=Batching.EACH, **{"batch_max": 8, **limits})
    story.at(story.now, *(request(101 + number) for number in range(len(workers))))
    story.at(story.now + service_s, *map(answer, reversed(workers)))
    story.know(service_s)
    return story


def test_what_is_done_sooner_than_handed_over_is_not_shared_out() -> None:
    story = idle("a", "b", service_s=0.00002)
    assert story.at(story.now, together(1, 2, 3, 4, 5, 6)) == [
        "1, 2, 3, 4, 5, 6 -> a together",
    ]


def test_a_pair_is_shared_out_however_quick() -> None:
    story = idle("a", "b", service_s=0.00002)
    assert story.at(story.now, together(1, 2)) == ["1 -> a (attempt 1)", "2 -> b (attempt 1)"]


def test_three_are_a_group() -> None:
    story = idle("a", "b", "c", service_s=0.00002)
    assert story.at(story.now, together(1, 2, 3)) == ["1, 2, 3 -> a together"]


def test_two_to_a_hand_over_are_worth_it() -> None:
    story = idle("a", "b", "c")
    assert story.at(story.now, together(1, 2, 3)) == ["1, 2 -> a together", "3 -> b (attempt 1)"]


def test_a_pair_is_shared_out_where_the_first_pool_is_down() -> None:
    story = Story(pools={"first": "-p", "second": "a b c"}, batching=Batching.EACH, batch_max=8)
    story.know(0.00002)
    assert story.at(story.now, together(1, 2)) == ["1 -> a (attempt 1)", "2 -> b (attempt 1)"]


def test_who_is_turned_away_or_goes_alone_is_no_company() -> None:
    story = idle("a", "b", "c", service_s=0.00002, max_body_bytes=10)
    arrivals = (request(1), request(2), request(3, size_bytes=11))
    assert story.at(story.now, RequestsArrived(arrivals)) == [
        "3 <- 413 too_large",
        "1 -> a (attempt 1)",
        "2 -> b (attempt 1)",
    ]
    story = idle("a", "b", "c", service_s=0.00002)
    arrivals = (request(1), request(2), request(3, id="three", once=True))
    assert story.at(story.now, RequestsArrived(arrivals)) == [
        "1 -> a (attempt 1)",
        "2 -> b (attempt 1)",
        "3 -> c (attempt 1)",
    ]


def test_a_group_has_the_last_resort_for_one_of_them() -> None:
    story = idle("a", "b", service_s=0.00002, ejection_tries=1)
    story.at(story.now, request(91))
    story.at(story.now + 0.1, garbled("a"))
    story.at(story.now + 0.1, dies("b"))
    assert story.at(story.now + 0.1, together(1, 2, 3))[0] == "1 -> a (attempt 1)"


def test_a_group_is_not_behind_a_suspect_that_waits_for_others() -> None:
    story = Story(*"abcde", batching=Batching.EACH, batch_max=8, try_timeout_s=2.0)
    story.know(0.00002)
    story.at(START, request(1), request(2))
    for seconds in (2.0, 4.0, 5.0, 9.0, 10.05, 10.5):
        story.at(START + seconds)
    assert RequestId(1) in story.core.queue  # and "e" is idle
    assert story.at(START + 10.6, together(11, 12, 13)) == ["11 -> e (attempt 1)"]


def test_a_pair_goes_together_to_the_last_who_is_free() -> None:
    story = idle("a", "b", service_s=0.00002)
    story.at(story.now, request(91))
    assert story.at(story.now, together(1, 2)) == ["1, 2 -> b together"]


def test_those_that_find_everybody_free_are_shared_out() -> None:
    story = idle("a", "b", service_s=0.0003)
    assert story.at(story.now, together(1, 2, 3, 4, 5)) == [
        "1, 2, 3 -> a together",
        "4 -> b (attempt 1)",
    ]


def test_one_after_the_other_the_first_of_them_would_go_alone() -> None:
    story = idle("a", "b")
    assert story.at(story.now, *(request(number) for number in (1, 2, 3, 4))) == [
        "1 -> a (attempt 1)",
        "2 -> b (attempt 1)",
    ]


@pytest.mark.parametrize("limits", [{"batch_max": 1}, {"batch_wait_s": 1.0}])
def test_where_there_is_no_sharing_they_come_one_after_the_other(limits: dict[str, Any]) -> None:
    story = idle("a", "b", **limits)
    assert story.at(story.now, together(1, 2, 3)) == ["1 -> a (attempt 1)", "2 -> b (attempt 1)"]


def test_the_busy_have_a_share_of_what_is_worth_sharing() -> None:
    """0.1 ms each: two are done sooner than handed over, and three wait for who is busy."""
    story = idle("a", "b", "c")
    story.at(story.now, request(91), request(92))
    assert story.at(story.now, together(1, 2, 3, 4, 5)) == ["1, 2 -> c together"]


def test_the_idle_do_not_share_out_what_is_the_share_of_the_busy() -> None:
    story = idle("a", "b", "c")
    story.at(story.now, request(91))
    assert story.at(story.now, together(1, 2, 3, 4, 5))[0] == "1, 2 -> b together"


def test_what_is_done_sooner_than_handed_over_is_not_shared_with_the_busy() -> None:
    story = idle("a", "b", "c", service_s=0.00002)
    story.at(story.now, request(91), request(92))
    assert story.at(story.now, together(1, 2, 3, 4, 5)) == ["1, 2, 3, 4, 5 -> c together"]


def test_the_most_urgent_of_them_goes_first() -> None:
    story = idle("a", batch_max=2)
    arrivals = (request(1, priority=2), request(2), request(3, priority=0))
    assert story.at(story.now, RequestsArrived(arrivals)) == ["3, 2 -> a together"]


def test_nobody_overtakes_because_there_is_no_room_in_the_queue() -> None:
    story = idle("a", "b", queue_limit=1)
    assert story.at(story.now, together(1, 2, 3, 4)) == [
        "1 -> a (attempt 1)",
        "2 -> b (attempt 1)",
        "4 <- 503 queue_full",
    ]
    assert story.at(story.now + 1, answer("a"))[1:] == ["3 -> a (attempt 1)"]


def test_of_those_that_wait_together_each_needs_room_for_its_bytes() -> None:
    story = Story("a", queue_limit_bytes=100)
    story.at(START, request(1))
    sizes = {2: 60, 3: 50, 4: 40}
    arrivals = tuple(request(number, size_bytes=size) for number, size in sizes.items())
    assert story.at(START, RequestsArrived(arrivals)) == ["3 <- 503 queue_full"]
    assert story.core.queue.size_bytes == 100


def test_where_there_is_no_room_for_all_those_with_room_go_first() -> None:
    story = idle("a", "b", queue_limit_bytes=100)
    sizes = {1: 30, 2: 30, 3: 50, 4: 40}
    arrivals = tuple(request(number, size_bytes=size) for number, size in sizes.items())
    assert story.at(story.now, RequestsArrived(arrivals)) == [
        "1, 2 -> a together",
        "3, 4 -> b together",
    ]
    assert story.core.queue.size_bytes == 0


def test_what_is_left_of_those_that_found_no_room_is_shared_out_anew() -> None:
    story = idle("a", "b", "c", service_s=0.00002, queue_limit=3)
    assert story.at(story.now, together(1, 2, 3, 4, 5)) == [
        "1, 2, 3 -> a together",
        "4 -> b (attempt 1)",
        "5 -> c (attempt 1)",
    ]


def test_each_is_turned_away_for_its_own_reason() -> None:
    story = idle("a", client_limit=2, max_body_bytes=10)
    arrivals = [request(n, client="one") for n in (1, 2, 3)]
    arrivals.append(request(4, size_bytes=11))
    assert story.at(story.now, RequestsArrived(tuple(arrivals))) == [
        "3 <- 429 client_limit",
        "4 <- 413 too_large",
        "1, 2 -> a together",
    ]


def test_who_waits_on_has_its_dates() -> None:
    story = idle("a", service_s=0.01, queue_timeout_s=1.0)
    assert story.at(story.now, together(1, 2)) == ["1 -> a (attempt 1)"]
    assert story.at(story.now + 1.0) == ["2 <- 503 queue_timeout"]


def test_they_wait_for_a_busy_worker_as_ever() -> None:
    story = Story("a", batching=Batching.EACH, batch_max=4)
    story.at(START, request(9))
    assert story.at(START, together(1, 2)) == []
    assert story.at(START + FAST_S, answer("a"))[1:] == ["1, 2 -> a together"]
    assert len(story.at(START + 1, replies("a", Outcome.ANSWER, Outcome.ANSWER))) == 2
