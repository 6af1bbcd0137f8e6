"""Who travels together, and that nobody pays for the company he was in."""

from typing import Any

import pytest

from balancer.core.events import (
    Batching,
    Event,
    Forward,
    ForwardBatch,
    Outcome,
    Reason,
    RequestsArrived,
)
from tests.core.story import (
    START,
    Story,
    answer,
    connects,
    dies,
    garbled,
    ready,
    replies,
    request,
    undelivered,
)

FAST_S = 0.0001
BOTH = (Batching.EACH, Batching.WHOLE)
A, E, G, X = Outcome.ANSWER, Outcome.EMPTY, Outcome.GARBLED, Outcome.EXPIRED


def busy(*workers: str, batching: Batching = Batching.EACH, **limits: Any) -> Story:
    """Workers known to be fast, each with one of the requests 101, 102 … in hand."""
    story = Story(*workers, batching=batching, **{"batch_max": 8, **limits})
    story.know(FAST_S)
    story.at(story.now, *(request(101 + number) for number in range(len(workers))))
    return story


def follows(story: Story, *events: Event) -> list[str]:
    """What the events bring within a moment."""
    return story.at(story.now + FAST_S, *events)


@pytest.mark.parametrize("batching", BOTH)
def test_a_worker_that_becomes_free_gets_those_that_wait_in_one_message(batching: Batching) -> None:
    story = busy("a", batching=batching)
    follows(story, request(1), request(2), request(3))
    assert follows(story, answer("a")) == ["101 <- 200 from a", "1, 2, 3 -> a together"]
    (batch,) = (action for action in story.actions if isinstance(action, ForwardBatch))
    assert [one.attempt for one in batch.tries] == [1, 1, 1]
    assert follows(story, replies("a", A, A, A)) == [
        "1 <- 200 from a",
        "2 <- 200 from a",
        "3 <- 200 from a",
    ]
    assert story.core.open_requests == 0


def test_one_at_a_time_is_the_default() -> None:
    story = busy("a", batch_max=1)
    follows(story, request(1), request(2))
    assert follows(story, answer("a")) == ["101 <- 200 from a", "1 -> a (attempt 1)"]


def test_a_worker_that_knows_no_batches_gets_none() -> None:
    story = busy("a", batching=Batching.NONE)
    follows(story, request(1), request(2))
    assert follows(story, answer("a")) == ["101 <- 200 from a", "1 -> a (attempt 1)"]


def test_a_batch_is_no_longer_than_its_limit() -> None:
    story = busy("a", batch_max=2)
    follows(story, *(request(number) for number in (1, 2, 3)))
    assert follows(story, answer("a"))[1:] == ["1, 2 -> a together"]


def asked(story: Story) -> list[bool]:
    """Whether the workers of the lone tries of the latest ``at`` are to tell their time."""
    return [action.wants_time for action in story.actions if isinstance(action, Forward)]


def test_a_worker_far_away_tells_that_its_work_fits_into_batches() -> None:
    """By our clock each takes two budgets. Nobody would ever know but for the worker's own word."""
    story = Story("a", batching=Batching.EACH, batch_max=8, batch_budget_s=0.001)
    numbers = iter(range(1, 1000))
    story.at(story.now, *(request(next(numbers)) for _ in range(8)))
    assert asked(story) == [True]
    for _ in range(3):
        story.at(story.now + 0.002, answer("a", took_s=0.00001))
        if not asked(story):
            break
    (batch,) = (action for action in story.actions if isinstance(action, ForwardBatch))
    assert len(batch.tries) > 2


def test_no_worker_is_believed_that_it_took_longer_than_it_was_waited_for() -> None:
    """The clock of one of another hand may be wrong, and would keep its whole pool from batches."""
    story = busy("a")
    follows(story, answer("a", took_s=60.0), *(request(number) for number in (1, 2, 3, 4)))
    assert follows(story, answer("a"))[-1] == "2, 3, 4 -> a together"


def test_a_worker_that_is_truly_slow_is_asked_now_and_then_and_gets_no_batch() -> None:
    story = Story("a", batching=Batching.EACH, batch_max=8, batch_budget_s=0.001)
    story.at(story.now, *(request(number) for number in range(1, 102)))
    times_asked = 0
    for _ in range(100):
        [is_asked] = asked(story)
        times_asked += is_asked
        story.at(story.now + 0.003, answer("a", took_s=0.002 if is_asked else None))
    assert 3 <= times_asked <= 5


def test_who_turns_quick_after_long_has_batches_soon() -> None:
    story = Story("a", batching=Batching.EACH, batch_max=8, batch_budget_s=0.001)
    for number in range(300):
        quick = number >= 100
        story.at(story.now, request(number))
        took_s = (0.00001 if quick else 0.002) if asked(story) == [True] else None
        story.at(story.now + 0.003, answer("a", took_s=took_s))
    assert story.core.pools.order[0].service.fit(0.001) > 1


def test_a_lone_reply_that_nobody_asked_for_its_time_says_nothing() -> None:
    """On a loaded machine the way there and back takes many times as long as the work."""
    story = Story("a", batching=Batching.EACH, batch_max=8)
    for number in range(100):
        story.at(story.now, request(number))
        story.at(story.now + 0.002, answer("a", took_s=0.00001 if asked(story) == [True] else None))
    assert story.core.pools.order[0].service.mean_s == pytest.approx(0.00001)


def test_who_was_asked_and_tells_nothing_took_all_that_time() -> None:
    """An error tells no time: a pool that turns slow and fails is slow for all that."""
    story = busy("a", "b")
    story.at(story.now + FAST_S, answer("a", took_s=0.00001), answer("b", took_s=0.00001))
    for number in range(0, 2000, 4):
        arrived = [request(1000 + number + place) for place in range(4)]
        story.at(story.now, RequestsArrived(tuple(arrived)))
        while story.core.open_requests:
            held = {m.slot: len(m.held.requests) for m in story.core.pools.members() if m.held}
            errors = [replies(s, *[A] * n) if n > 1 else answer(s) for s, n in held.items()]
            story.at(story.now + 0.1, *errors)
    assert story.core.pools.order[0].service.fit(0.001) == 1


def test_the_way_that_takes_longer_than_the_work_is_not_unusual() -> None:
    """A suspect's next try does not wait for workers that are as busy as ever."""
    story = Story(*"abcdefgh", batching=Batching.EACH, batch_max=8, try_timeout_s=1.0)
    numbers = iter(range(1000, 9000))
    for _ in range(100):
        story.at(story.now, request(next(numbers)))
        [is_asked] = asked(story)
        [worker] = [m.slot for m in story.core.pools.members() if m.held]
        story.at(story.now + 0.01, answer(worker, took_s=0.00001 if is_asked else None))
    began_at = story.now
    story.at(began_at, request(1))
    suspect = story.core.requests()[0]
    while suspect.attempts < 2:
        held = [(m.slot, m.held) for m in story.core.pools.members() if m.held]
        ended = [
            s for s, h in held if suspect.id not in h.requests and story.now > h.started_at + 0.0095
        ]
        answers = [answer(slot, took_s=0.00001) for slot in ended]
        story.at(story.now + 0.0025, *answers, request(next(numbers)))
        assert story.now < began_at + 1.1


@pytest.mark.parametrize(
    ("batching", "batch_max"), [(Batching.EACH, 1), (Batching.WHOLE, 8), (Batching.NONE, 8)]
)
def test_nobody_else_is_asked_for_its_time(batching: Batching, batch_max: int) -> None:
    story = Story("a", batching=batching, batch_max=batch_max)
    story.at(story.now, request(1))
    assert asked(story) == [False]


def test_a_batch_is_no_longer_than_its_budget_says() -> None:
    story = busy("a", batch_budget_s=3.5 * FAST_S)
    follows(story, *(request(number) for number in range(1, 9)))
    assert follows(story, answer("a"))[1:] == ["1, 2, 3 -> a together"]


def test_who_takes_a_batch_whole_has_no_budget() -> None:
    story = busy("a", batching=Batching.WHOLE, batch_budget_s=FAST_S)
    follows(story, *(request(number) for number in range(1, 9)))
    assert follows(story, answer("a"))[1:] == ["1, 2, 3, 4, 5, 6, 7, 8 -> a together"]


def test_a_model_leaves_nothing_to_those_who_may_be_busy_for_long() -> None:
    story = busy("a", "b", batching=Batching.WHOLE)
    follows(story, *(request(number) for number in (1, 2, 3, 4)))
    assert follows(story, answer("a"))[1:] == ["1, 2, 3, 4 -> a together"]


def test_other_workers_get_their_share() -> None:
    story = busy("a", "b")
    follows(story, *(request(number) for number in (1, 2, 3, 4, 5)))
    assert follows(story, answer("a"))[1:] == ["1, 2, 3 -> a together"]
    assert follows(story, answer("b"))[1:] == ["4 -> b (attempt 1)"]


def test_who_has_no_time_left_for_a_try_does_not_go_along() -> None:
    story = busy("a")
    in_time, late = request(2), request(3, timeout_s=0.00115)
    follows(story, request(1), in_time, late)
    assert follows(story, answer("a"))[1:] == ["1, 2, 3 -> a together"]
    story = busy("a")
    follows(story, request(1), in_time, late)
    follows(story)
    assert follows(story, answer("a"))[1:] == ["1, 2 -> a together"]


def test_a_batch_weighs_no_more_than_one_request_may() -> None:
    story = busy("a", max_body_bytes=100)
    follows(story, *(request(number, size_bytes=40) for number in (1, 2, 3)))
    assert follows(story, answer("a"))[1:] == ["1, 2 -> a together"]


def test_once_goes_alone() -> None:
    story = busy("a")
    follows(story, request(1), request(2, once=True), request(3), request(4))
    assert follows(story, answer("a"))[1:] == ["1 -> a (attempt 1)"]
    assert follows(story, answer("a"))[1:] == ["2 -> a (attempt 1)"]
    assert follows(story, answer("a"))[1:] == ["3, 4 -> a together"]


def test_only_those_of_the_same_patience_go_together() -> None:
    story = busy("a")
    follows(story, request(1), request(2), request(3, try_timeout_s=1.0))
    assert follows(story, answer("a"))[1:] == ["1, 2 -> a together"]


# --- a batch that fails ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "why", "next_at_a"),
    [
        (dies("a"), "died", []),
        (garbled("a"), "garbled", ["3, 4 -> a together"]),
        (replies("a", A), "garbled", ["3, 4 -> a together"]),
    ],
)
def test_after_a_batch_that_failed_each_goes_alone_and_is_to_blame_for_nothing(
    end: Event, why: str, next_at_a: list[str]
) -> None:
    story = busy("a", "b", strikes=1, retry_budget=0.0, retry_budget_per_worker=0)
    follows(story, *(request(number) for number in (1, 2, 3, 4)))
    follows(story, answer("a"))
    assert follows(story, end) == next_at_a
    assert [(tried.request, tried.why) for tried in story.failed_tries()] == [(1, why), (2, why)]
    # The tried come before the untried, and the next failure is certainly theirs.
    assert follows(story, answer("b"))[1:] == ["1 -> b (attempt 2)"]
    assert follows(story, answer("b")) == [
        f"1 <- 200 from b after 2 attempts; a {why}",
        "2 -> b (attempt 2)",
    ]
    assert follows(story, dies("b")) == [
        "2 <- 500 poisoned after 2 attempts; " + f"a {why}, b died; may have run"
    ]


def test_undelivered_is_nobody_s_fault_and_they_may_go_together_again() -> None:
    story = busy("a", "b")
    follows(story, *(request(number) for number in (1, 2, 3, 4)))
    follows(story, answer("a"))
    follows(story, undelivered("a"))
    assert follows(story, answer("b"))[1:] == ["1, 2, 3, 4 -> b together"]


def test_each_reply_of_a_batch_is_for_its_own_request() -> None:
    story = busy("a", "b")
    follows(story, *(request(number) for number in range(1, 9)))
    assert follows(story, answer("a"))[1:] == ["1, 2, 3, 4 -> a together"]
    assert follows(story, replies("a", A, E, X, A)) == [
        "1 <- 200 from a",
        "4 <- 200 from a",
        "5, 6, 7 -> a together",
    ]
    found = [(tried.request, tried.why) for tried in story.failed_tries()]
    assert found == [(2, "empty"), (3, "undelivered")]


def test_a_batch_that_hangs_is_left_and_its_worker_killed() -> None:
    story = busy("a", try_timeout_s=1.0, hang_kill_after_s=0.5)
    follows(story, request(1), request(2))
    follows(story, answer("a"))
    begun_at = story.now
    assert story.at(begun_at + 1.0) == []
    assert [tried.why for tried in story.failed_tries()] == ["timeout", "timeout"]
    assert story.at(begun_at + 1.5) == ["kill a for 1, 2"]
    # In its new process even the only worker may have them again: one of them may be innocent.
    found = story.at(story.now, connects("a#2"), ready("a#2", Batching.EACH))
    assert found == ["1 -> a#2 (attempt 2)"]


def test_the_late_replies_of_a_batch_are_answers_and_its_worker_is_not_asked_again() -> None:
    story = busy("a", try_timeout_s=1.0)
    follows(story, request(1), request(2))
    follows(story, answer("a"))
    story.at(story.now + 1.0)
    assert follows(story, replies("a", A, E)) == [
        "1 <- 200 from a after 1 attempt; a timeout",
        "reply of a to 2 dropped",
        "2 <- 503 exhausted after 1 attempt; a timeout; may have run",
    ]


def test_who_has_less_time_gets_its_own_answer_while_the_batch_goes_on() -> None:
    story = busy("a", try_timeout_s=10.0)
    follows(story, request(1, timeout_s=1.0), request(2))
    follows(story, answer("a"))
    assert story.at(story.now + 1.0) == [
        "1 <- 504 deadline after 1 attempt; a timeout; may have run"
    ]
    assert follows(story, replies("a", A, A)) == ["reply of a to 1 dropped", "2 <- 200 from a"]


def test_one_that_kills_every_worker_does_so_once_in_company_and_three_times_alone() -> None:
    story = busy("a", strikes=3, retry_budget=1.0)
    follows(story, request(1), request(2))
    follows(story, answer("a"))
    follows(story, dies("a"))
    kills = 1
    while story.core.open_requests and kills < 9:
        name = f"a#{kills + 1}"
        sent = story.at(story.now, connects(name), ready(name))
        if sent[0].startswith("2 "):
            sent = story.at(story.now, answer(name))[1:]
        assert sent[0].startswith("1 ")
        kills += 1
        story.at(story.now, dies(name))
    assert kills == 4
    assert story.refusal().reason is Reason.POISONED


def test_a_failed_batch_finds_room_in_a_full_queue() -> None:
    story = busy("a", queue_limit=4)
    follows(story, *(request(number) for number in (1, 2, 3, 4)))
    follows(story, answer("a"))
    follows(story, *(request(number) for number in (5, 6, 7, 8)))
    assert follows(story, dies("a")) == []
    assert len(story.core.queue) == 8


# --- filling -----------------------------------------------------------------------------------


def test_a_request_waits_for_company_but_not_for_long() -> None:
    story = Story("a", batching=Batching.WHOLE, batch_max=3, batch_wait_s=0.5)
    assert story.at(START, request(1)) == []
    assert story.at(START + 0.25, request(2)) == []
    assert story.at(START + 0.5) == ["1, 2 -> a together"]
    assert story.core.next_deadline() != START + 0.75  # its wait is over, too


def test_a_full_batch_waits_no_more_and_goes_to_one_worker() -> None:
    story = Story("a", "b", batching=Batching.WHOLE, batch_max=2, batch_wait_s=0.5)
    assert story.at(START, request(1)) == []
    assert story.at(START, request(2), request(3)) == ["1, 2 -> a together"]
    assert story.at(START + 0.5) == ["3 -> b (attempt 1)"]


def test_who_must_go_alone_does_not_wait_for_those_who_wait_for_company() -> None:
    story = Story("a", batching=Batching.WHOLE, batch_max=3, batch_wait_s=0.5)
    story.at(START, request(1))
    assert story.at(START, request(2, once=True)) == ["2 -> a (attempt 1)"]
    story.at(START, request(3, once=True))
    assert story.at(START, answer("a")) == ["2 <- 200 from a", "3 -> a (attempt 1)"]


@pytest.mark.parametrize("batching", [Batching.NONE, Batching.EACH])
def test_only_for_a_batch_that_is_taken_whole_anybody_waits(batching: Batching) -> None:
    story = Story("a", batching=batching, batch_max=3, batch_wait_s=0.5)
    assert story.at(START, request(1)) == ["1 -> a (attempt 1)"]


def test_who_waits_for_company_goes_elsewhere_if_its_worker_dies() -> None:
    story = Story("a", batching=Batching.WHOLE, batch_max=3, batch_wait_s=0.5)
    story.at(START, request(1))
    assert story.at(START + 0.1, dies("a"), connects("a#2"), ready("a#2")) == [
        "1 -> a#2 (attempt 1)"
    ]


def test_nobody_waits_for_company_until_no_time_is_left() -> None:
    story = Story("a", batching=Batching.WHOLE, batch_max=3, batch_wait_s=4.0)
    story.at(START, request(1, timeout_s=1.0))
    assert story.at(START + 0.5) == ["1 -> a (attempt 1)"]


def test_nobody_who_waits_for_company_is_refused_for_want_of_a_worker() -> None:
    story = Story("a", batching=Batching.WHOLE, batch_max=3, batch_wait_s=4.0, queue_timeout_s=1.0)
    story.at(START, request(1))
    assert story.at(START + 0.5) == ["1 -> a (attempt 1)"]


def test_who_cannot_finish_makes_room_for_those_behind() -> None:
    story = busy("a", try_start_min_s=0.5, batch_budget_s=9.0)
    story.at(story.now, request(1, timeout_s=0.6), request(2), request(3))
    assert story.at(story.now + 0.2, answer("a"))[1:] == [
        "1 <- 504 deadline",
        "2, 3 -> a together",
    ]


def test_a_suspect_that_gives_way_does_not_hold_up_those_who_wait_for_company() -> None:
    story = Story(
        *"abcde", batching=Batching.WHOLE, batch_max=3, batch_wait_s=0.5, try_timeout_s=2.0
    )
    story.at(START, request(1), request(2))
    assert story.at(START + 0.5) == ["1, 2 -> a together"]
    assert story.at(START + 2.5) == ["1 -> b (attempt 2)", "2 -> c (attempt 2)"]
    assert story.at(START + 7.5)[-1] == "1 -> d (attempt 3)"  # 2 waits for how that ends
    story.at(START + 8.0, request(3))
    assert story.at(START + 8.5) == ["3 -> e (attempt 1)"]


def test_who_is_left_behind_by_a_batch_waits_no_longer_than_its_own_time() -> None:
    story = Story("a", "b", batching=Batching.WHOLE, batch_max=2, batch_wait_s=1.0)
    story.at(START, request(1, try_timeout_s=5.0))
    assert story.at(START, request(2, timeout_s=1.0)) == ["1 -> a (attempt 1)"]
    assert story.at(START + 0.5) == ["2 -> b (attempt 1)"]


def test_when_the_first_has_waited_long_enough_all_go_in_the_order_of_the_line() -> None:
    story = Story("a", batching=Batching.WHOLE, batch_max=3, batch_wait_s=1.0)
    story.at(START, request(1))
    assert story.at(START + 0.5, request(2, priority=0)) == []
    assert story.at(START + 1.0) == ["2, 1 -> a together"]


def test_garbage_anywhere_in_a_batch_counts_against_its_worker() -> None:
    story = busy("a", "b", ejection_tries=1)
    follows(story, request(1), request(2), request(3), request(4))
    assert follows(story, answer("a"))[1:] == ["1, 2 -> a together"]
    assert follows(story, replies("a", A, G))[0] == "a ejected for 5 s"
