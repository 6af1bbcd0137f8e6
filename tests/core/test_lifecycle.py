"""One request: its table of phases, whom it may still ask, and when it is poison."""

from collections.abc import Callable

import pytest

from balancer.core.events import Event, RequestId, Why, WorkerId
from balancer.core.lifecycle import TRANSITIONS, Phase, Request, Signal
from tests.core.story import (
    Story,
    answer,
    comes_up,
    dies,
    empty,
    expired,
    garbled,
    request,
    undelivered,
    worker_id,
)

# --- the table ---------------------------------------------------------------------------------


def test_every_phase_can_be_reached_from_the_queue() -> None:
    reached = {Phase.QUEUED}
    for _ in Phase:
        reached |= {end for (start, _), end in TRANSITIONS.items() if start in reached}
    assert reached == set(Phase)


def test_every_signal_moves_something() -> None:
    assert {signal for _, signal in TRANSITIONS} == set(Signal)


def test_nothing_leads_out_of_an_end() -> None:
    ends = {Phase.ANSWERED, Phase.REFUSED, Phase.DROPPED}
    assert not ends & {start for start, _ in TRANSITIONS}


def new_request(*, once: bool = False) -> Request:
    return Request(request(1, once=once), now=1000.0, deadline=1030.0, try_timeout_s=10.0)


def test_an_illegal_move_crashes() -> None:
    with pytest.raises(KeyError):
        new_request().move(Signal.TRY_FAILED)
    over = new_request()
    over.move(Signal.REFUSED)
    with pytest.raises(KeyError):
        over.move(Signal.ANSWERED)


@pytest.mark.parametrize(
    ("why", "strikes", "may_have_run", "excluded", "is_final"),
    [
        (Why.UNDELIVERED, 0, False, set(), False),
        (Why.EMPTY, 0, False, {"a"}, False),
        (Why.GARBLED, 0, True, {"a"}, True),
        (Why.TIMEOUT, 1, True, {"a"}, True),
        (Why.DIED, 1, True, set(), True),
    ],
)
def test_what_a_failed_try_means_for_a_request_that_may_run_once(
    why: Why, strikes: int, may_have_run: bool, excluded: set[str], is_final: bool
) -> None:
    one = new_request(once=True)
    one.forwarded_to(WorkerId("a", 1), 1.0, False)
    one.note_failed_try(WorkerId("a", 1), why, 0.5)
    found = (one.strikes, one.may_have_run, set(one.excluded), one.is_final)
    assert found == (strikes, may_have_run, excluded, is_final)
    assert one.worker is None


def test_an_ordinary_request_is_never_final() -> None:
    one = new_request()
    for why in Why:
        one.note_failed_try(WorkerId("a", 1), why, 0.5)
    assert not one.is_final
    assert [failed.why for failed in one.tried] == list(Why)
    assert one.id == RequestId(1)


# --- exclusion is exact ------------------------------------------------------------------------


@pytest.mark.parametrize(("reply", "word"), [(empty, "empty"), (garbled, "garbled")])
def test_a_worker_that_gave_no_answer_is_not_asked_again_even_restarted(
    reply: Callable[[str], Event], word: str
) -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    assert story.at(1000.1, reply("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, dies("a"), *comes_up("a#2")) == []
    ran = "; may have run" if reply is garbled else ""
    assert story.at(1000.3, reply("b")) == [
        f"1 <- 503 exhausted after 2 attempts; a {word}, b {word}{ran}"
    ]


def test_a_worker_that_timed_out_is_not_asked_again_even_restarted() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 -> b (attempt 2)"]
    assert story.at(1001.5, dies("a"), *comes_up("a#2")) == []
    assert story.at(1002.0) == [
        "1 <- 503 exhausted after 2 attempts; a timeout, b timeout; may have run"
    ]


def test_after_a_death_the_new_incarnation_may_be_asked() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    assert story.at(1000.1, dies("a")) == []
    assert story.at(1000.5, *comes_up("a#2")) == ["1 -> a#2 (attempt 2)"]
    assert story.at(1000.6, answer("a#2")) == ["1 <- 200 from a#2 after 2 attempts; a died"]


def test_after_an_undelivered_try_the_new_incarnation_may_be_asked() -> None:
    story = Story("a")
    story.at(1000.0, request(1, once=True))
    assert story.at(1000.0, undelivered("a")) == []
    assert story.at(1000.5, *comes_up("a#2")) == ["1 -> a#2 (attempt 2)"]


def test_a_worker_that_refused_as_too_late_is_not_asked_again() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    assert story.at(1000.1, expired("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, expired("b")) == [
        "1 <- 503 exhausted after 2 attempts; a undelivered, b undelivered"
    ]


def test_what_one_request_excludes_is_open_to_the_next() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1))
    story.at(1000.1, empty("a"))
    assert story.at(1000.2, request(2)) == ["2 -> a (attempt 1)"]


# --- poison ------------------------------------------------------------------------------------


def test_a_request_that_killed_three_workers_is_stopped() -> None:
    story = Story("a", "b", "c", "d")
    story.at(1000.0, request(1))
    assert story.at(1000.1, dies("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, dies("b")) == []
    assert story.at(1000.2, *comes_up("a#2"), *comes_up("b#2")) == ["1 -> c (attempt 3)"]
    assert story.at(1000.3, dies("c")) == [
        "1 <- 500 poisoned after 3 attempts; a died, b died, c died; may have run"
    ]
    assert story.at(1000.4, request(2)) == ["2 -> d (attempt 1)"]


def test_a_request_that_hung_three_workers_is_stopped() -> None:
    story = Story("a", "b", "c", "d", try_timeout_s=1.0, hang_kill_after_s=0.5)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 -> b (attempt 2)"]
    assert story.at(1002.0, *comes_up("a#2")) == ["kill a for 1"]
    assert story.at(1002.5, *comes_up("b#2")) == ["1 -> c (attempt 3)"]
    assert story.at(1003.5) == [
        "1 <- 500 poisoned after 3 attempts; a timeout, b timeout, c timeout; may have run"
    ]


def test_deaths_and_timeouts_count_together_and_other_failures_do_not() -> None:
    story = Story("a", "b", "c", "d", "e", "f", try_timeout_s=1.0, hang_kill_after_s=9.0)
    story.at(1000.0, request(1))
    assert story.at(1000.1, dies("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, empty("b")) == ["1 -> c (attempt 3)"]
    assert story.at(1000.3, garbled("c")) == ["1 -> d (attempt 4)"]
    assert story.at(1001.3, *comes_up("a#2")) == []
    assert story.at(1001.4, dies("d"), *comes_up("d#2")) == ["1 -> e (attempt 5)"]
    assert story.at(1001.5, dies("e")) == [
        "1 <- 500 poisoned after 5 attempts; "
        "a died, b empty, c garbled, d timeout, e died; may have run"
    ]


def test_a_restarted_worker_is_killed_by_poison_no_more_often_than_others() -> None:
    story = Story("a")
    story.at(1000.0, request(1))
    story.at(1000.1, dies("a"), *comes_up("a#2"))
    assert story.at(1000.2, dies("a#2"), *comes_up("a#3")) == ["1 -> a#3 (attempt 3)"]
    assert story.at(1000.3, dies("a#3")) == [
        "1 <- 500 poisoned after 3 attempts; a died, a died, a died; may have run"
    ]


def test_poison_with_nobody_left_to_ask_is_called_exhausted() -> None:
    story = Story("a", "b", "c", try_timeout_s=1.0, hang_kill_after_s=9.0)
    story.at(1000.0, request(1))
    assert story.at(1013.0)[-1] == (
        "1 <- 503 exhausted after 3 attempts; a timeout, b timeout, c timeout; may have run"
    )


def test_the_number_of_strikes_can_be_set() -> None:
    story = Story("a", "b", strikes=1)
    story.at(1000.0, request(1))
    assert story.at(1000.1, dies("a")) == [
        "1 <- 500 poisoned after 1 attempt; a died; may have run"
    ]


def test_a_worker_is_named_by_its_slot_in_what_the_client_reads() -> None:
    story = Story("a")
    story.at(1000.0, dies("a"), *comes_up("a#2"), request(1))
    story.at(1000.25, empty("a#2"))
    (failed,) = story.refusal().tried
    assert (failed.worker, failed.why, failed.took_s) == ("a", Why.EMPTY, 0.25)
    (noted,) = story.failed_tries()
    assert (noted.worker, noted.attempt, noted.took_s) == (worker_id("a#2"), 1, 0.25)
