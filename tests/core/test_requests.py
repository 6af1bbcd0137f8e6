"""The life of a request: handed on after every failure, over in time, and ended exactly once."""

import sys

import pytest

from balancer.core.events import (
    ClientId,
    DrainStarted,
    Event,
    Forget,
    Forward,
    Reason,
    Refuse,
    ReplyDropped,
    RequestArrived,
    RequestId,
    RequestUnreadable,
    Why,
    WorkerId,
)
from tests.core.story import (
    Story,
    answer,
    dies,
    empty,
    expired,
    garbled,
    leaves,
    request,
    undelivered,
)

# --- one request, one answer -------------------------------------------------------------------


def test_a_free_worker_gets_the_request_and_its_answer_ends_it() -> None:
    story = Story("a")
    assert story.at(1000.0, request(1)) == ["1 -> a (attempt 1)"]
    assert story.core.open_requests == 1
    assert story.at(1000.5, answer("a", value=b"\x2a")) == ["1 <- 200 from a"]
    assert story.answer().reply.value == b"\x2a"
    assert story.core.open_requests == 0


def test_a_worker_is_told_how_much_time_is_left_and_when_not_to_begin() -> None:
    story = Story("a", deadline_s=30.0, try_timeout_s=10.0)
    story.at(1000.0, request(1))
    assert story.actions == [Forward(WorkerId("a", 1), RequestId(1), 1, 30.0, 1010.0)]
    story.at(1000.0, request(2, timeout_s=4.0))
    story.at(1001.0, answer("a"))
    assert story.actions[-1] == Forward(WorkerId("a", 1), RequestId(2), 1, 3.0, 1004.0)


def test_whoever_watches_is_told_when_it_arrived_and_when_the_answering_try_began() -> None:
    story = Story("a", "b", try_timeout_s=1.0, hang_kill_after_s=9.0)
    story.at(1000.0, request(1))
    story.at(1001.0)
    (failed,) = story.failed_tries()
    assert (failed.arrived_at, failed.took_s) == (1000.0, 1.0)
    assert story.at(1001.5, answer("a")) == ["1 <- 200 from a after 2 attempts; a timeout"]
    answered = story.answer()
    assert (answered.arrived_at, answered.started_at) == (1000.0, 1000.0), "not that of the second"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (leaves(), Forget),
        (DrainStarted(0.0), Refuse),
        (request(2, size_bytes=1 << 40), Refuse),
        (RequestUnreadable(RequestId(2), ClientId(b"client"), "no good"), Refuse),
    ],
)
def test_whoever_watches_is_told_when_a_request_arrived_that_gets_no_answer(
    event: Event, kind: type[Refuse | Forget]
) -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    story.at(1000.5, event)
    (end,) = (action for action in story.actions if isinstance(action, kind))
    assert end.arrived_at == (1000.5 if end.request == 2 else 1000.0)


def test_whoever_watches_is_told_when_a_dropped_reply_was_begun() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    story.at(1000.5, leaves())
    story.at(1000.75, answer("a"))
    (dropped,) = story.actions
    assert isinstance(dropped, ReplyDropped)
    assert dropped.started_at == 1000.0


def test_an_error_of_the_handler_is_an_answer_and_never_retried() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    assert story.at(1000.1, answer("a", status=500)) == ["1 <- 500 from a"]


def test_a_request_gets_its_worker_only_when_that_worker_is_free() -> None:
    story = Story("a", "b")
    assert story.at(1000.0, request(1), request(2), request(3)) == [
        "1 -> a (attempt 1)",
        "2 -> b (attempt 1)",
    ]
    assert len(story.core.queue) == 1
    assert story.at(1000.5, answer("b")) == ["2 <- 200 from b", "3 -> b (attempt 1)"]


# --- every way in which a try fails ------------------------------------------------------------

FAILURES: dict[str, Event] = {
    "undelivered": undelivered("a"),
    "empty": empty("a"),
    "garbled": garbled("a"),
    "died": dies("a"),
}


@pytest.mark.parametrize("why", FAILURES)
def test_a_failed_try_moves_to_the_next_worker_at_once(why: str) -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    assert story.at(1000.25, FAILURES[why]) == ["1 -> b (attempt 2)"]
    (failed,) = story.failed_tries()
    found = (failed.worker, failed.request, failed.attempt, failed.why, failed.took_s)
    assert found == (WorkerId("a", 1), 1, 1, Why(why), 0.25)
    assert story.at(1000.5, answer("b")) == [f"1 <- 200 from b after 2 attempts; a {why}"]


def test_a_silent_worker_costs_one_try_timeout() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    story.at(1000.0, request(1))
    assert story.at(1000.999) == []
    assert story.at(1001.0) == ["1 -> b (attempt 2)"]
    assert story.at(1001.5, answer("b")) == ["1 <- 200 from b after 2 attempts; a timeout"]


def test_a_client_may_ask_for_a_shorter_try() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    story.at(1000.0, request(1, try_timeout_s=0.25))
    assert story.at(1000.25) == ["1 -> b (attempt 2)"]


@pytest.mark.parametrize("why", ["undelivered", "empty"])
def test_what_certainly_did_not_run_is_sent_again_even_if_it_may_run_once(why: str) -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1, once=True))
    assert story.at(1000.1, FAILURES[why]) == ["1 -> b (attempt 2)"]


@pytest.mark.parametrize("why", ["garbled", "died"])
def test_what_may_have_run_is_not_sent_again_if_it_may_run_once(why: str) -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1, once=True))
    assert story.at(1000.1, FAILURES[why]) == [
        f"1 <- 503 exhausted after 1 attempt; a {why}; may have run"
    ]


def test_a_silent_worker_ends_a_request_that_may_run_once() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    story.at(1000.0, request(1, once=True))
    assert story.at(1001.0) == ["1 <- 503 exhausted after 1 attempt; a timeout; may have run"]
    assert story.at(1001.5, answer("a")) == ["reply of a to 1 dropped"]


@pytest.mark.parametrize("once", [False, True])
def test_a_worker_that_refused_as_too_late_did_not_run_it(once: bool) -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1, once=once))
    assert story.at(1000.1, expired("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, expired("b")) == [
        "1 <- 503 exhausted after 2 attempts; a undelivered, b undelivered"
    ]


@pytest.mark.parametrize("why", ["empty", "garbled"])
def test_the_worker_that_failed_without_dying_is_free_for_others(why: str) -> None:
    story = Story("a")
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, FAILURES[why])[-1] == "2 -> a (attempt 1)"


# --- the deadline ------------------------------------------------------------------------------


def test_the_deadline_includes_the_time_in_the_queue() -> None:
    story = Story("a", deadline_s=3.0)
    story.at(1000.0, request(1, timeout_s=30.0))
    story.at(1000.5, request(2))
    assert story.at(1003.0, answer("a"))[-1] == "2 -> a (attempt 1)"
    assert story.at(1003.499) == []
    assert story.at(1003.5) == ["2 <- 504 deadline after 1 attempt; a timeout; may have run"]


def test_a_request_that_expires_in_the_queue_was_never_executed() -> None:
    story = Story("a", deadline_s=1.0, try_timeout_s=5.0)
    story.at(1000.0, request(1, timeout_s=30.0), request(2))
    assert story.at(1001.0) == ["2 <- 504 deadline"]
    assert not story.refusal().may_have_run
    assert len(story.core.queue) == 0
    assert story.at(1001.5, answer("a")) == ["1 <- 200 from a"]


def test_the_deadline_counts_as_a_failed_try_for_whoever_held_the_request() -> None:
    story = Story("a", "b", try_timeout_s=2.0)
    story.at(1000.0, request(1, timeout_s=3.0))
    story.at(1002.0)
    assert story.at(1003.0) == [
        "1 <- 504 deadline after 2 attempts; a timeout, b timeout; may have run"
    ]
    (failed,) = story.failed_tries()
    assert (failed.worker.slot, failed.attempt, failed.took_s) == ("b", 2, 1.0)
    assert [each.took_s for each in story.refusal().tried] == [2.0, 1.0]


def test_a_reply_after_the_deadline_is_dropped_and_frees_its_worker() -> None:
    story = Story("a", deadline_s=1.0)
    story.at(1000.0, request(1))
    story.at(1001.0)
    story.at(1001.5, request(2))
    assert story.at(1002.0, answer("a")) == ["reply of a to 1 dropped", "2 -> a (attempt 1)"]


def test_when_both_are_due_the_deadline_comes_before_the_timeout() -> None:
    story = Story("a", "b", deadline_s=1.0, try_timeout_s=1.0)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 <- 504 deadline after 1 attempt; a timeout; may have run"]
    assert len(story.failed_tries()) == 1


def test_a_failed_try_with_no_time_left_for_another_ends_at_the_deadline() -> None:
    story = Story("a", "b", deadline_s=1.0, try_start_min_s=0.25)
    story.at(1000.0, request(1))
    assert story.at(1000.875, empty("a")) == ["1 <- 504 deadline after 1 attempt; a empty"]


def test_the_next_deadline_is_the_nearest_date_and_none_when_all_is_quiet() -> None:
    story = Story("a", deadline_s=30.0, try_timeout_s=10.0)
    assert story.core.next_deadline() is None
    story.at(1000.0, request(1))
    assert story.core.next_deadline() == 1010.0
    story.at(1000.5, answer("a"))
    # The worker's timer is left to see that there is nothing it waits for.
    assert story.at(1010.0) == []
    assert story.core.next_deadline() is None


def test_a_timer_of_an_earlier_try_is_none_of_the_next() -> None:
    story = Story("a", deadline_s=30.0, try_timeout_s=10.0)
    story.at(1000.0, request(1))
    story.at(1004.0, answer("a"), request(2))
    assert story.at(1013.5) == []
    story.at(1014.0)
    assert [tried.took_s for tried in story.failed_tries()] == [10.0]


def test_a_shorter_try_has_an_earlier_timer() -> None:
    story = Story("a", "b", deadline_s=30.0, try_timeout_s=10.0)
    story.at(1000.0, request(1))
    story.at(1001.0, answer("a"), request(2), request(3, try_timeout_s=2.0))
    story.at(1003.0)
    assert [tried.request for tried in story.failed_tries()] == [3]


# --- the client leaves -------------------------------------------------------------------------


def test_queued_requests_of_a_client_that_left_are_dropped() -> None:
    story = Story("a")
    story.at(1000.0, request(1, "one"), request(2, "two"), request(3, "two"), request(4, "one"))
    assert story.at(1000.1, leaves("two")) == ["2 forgotten", "3 forgotten"]
    assert story.at(1000.2, answer("a"))[-1] == "4 -> a (attempt 1)"


def test_the_reply_to_a_client_that_left_is_dropped_and_frees_its_worker() -> None:
    story = Story("a")
    story.at(1000.0, request(1, "one"), request(2, "two"))
    assert story.at(1000.1, leaves("one")) == ["1 forgotten"]
    assert story.at(1000.2, answer("a")) == ["reply of a to 1 dropped", "2 -> a (attempt 1)"]


def test_a_request_whose_client_left_is_not_tried_again() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    story.at(1000.1, leaves())
    assert story.at(1000.2, dies("a")) == []
    assert story.at(1100.0) == []


def test_a_client_that_leaves_twice_or_was_never_here_is_no_news() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    assert story.at(1000.1, leaves("nobody")) == []
    assert story.at(1000.2, leaves()) == ["1 forgotten"]
    assert story.at(1000.3, leaves()) == []


def test_nothing_is_kept_of_a_client_whose_requests_are_over() -> None:
    story, client = Story("a"), ClientId(bytes(range(40)))
    references = sys.getrefcount(client)
    for number in range(10):
        story.at(1000.0 + number, RequestArrived(RequestId(number), client), answer("a"))
    story.at(1100.0)
    assert sys.getrefcount(client) == references


# --- at the door -------------------------------------------------------------------------------


def test_an_unreadable_message_gets_its_answer_with_the_reason() -> None:
    story = Story("a")
    unreadable = RequestUnreadable(RequestId(1), request(1).client, "header: not a map")
    assert story.at(1000.0, unreadable) == ["1 <- 400 malformed"]
    assert story.refusal().detail == "header: not a map"
    assert story.core.open_requests == 0


def test_an_oversized_request_is_told_so_even_while_draining() -> None:
    story = Story("a", max_body_bytes=10)
    story.at(1000.0, DrainStarted(1.0))
    assert story.at(1000.0, request(1, size_bytes=11)) == ["1 <- 413 too_large"]


def test_a_refused_newcomer_learns_when_a_worker_could_be_free() -> None:
    story = Story("a", "b", queue_limit=1, client_limit=4)
    story.at(1000.0, request(1, "one"), request(2, "one"))
    story.at(1002.0, answer("a"), answer("b"))
    story.at(1002.0, *(request(number, "one") for number in (3, 4, 5)))
    story.at(1002.0, request(6, "two"))
    assert (story.refusal().reason, story.refusal().retry_after_s) == (Reason.QUEUE_FULL, 2.0)


def test_the_estimate_follows_the_workers_slowly() -> None:
    story = Story("a", client_limit=1)
    story.at(1000.0, request(1))
    story.at(1001.0, answer("a"))
    story.at(1001.0, request(2))
    story.at(1003.0, answer("a"))
    story.at(1003.0, request(3), request(4))
    assert story.refusal().reason is Reason.CLIENT_LIMIT
    assert story.refusal().retry_after_s == pytest.approx(1.0 + (2.0 - 1.0) / 64)


def test_before_the_first_reply_there_is_no_estimate() -> None:
    story = Story("a", client_limit=1)
    story.at(1000.0, request(1), request(2))
    assert story.refusal().retry_after_s is None


def test_with_nobody_up_the_grace_is_the_estimate() -> None:
    story = Story("-a", revive_grace_s=1.5)
    story.at(1000.0, request(1))
    story.at(1001.5)
    assert (story.refusal().reason, story.refusal().retry_after_s) == (Reason.NO_WORKERS, 1.5)


def test_an_exhausted_request_need_not_come_back() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    story.at(1000.5, empty("a"))
    assert story.refusal().retry_after_s is None
