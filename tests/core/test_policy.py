"""Whom to ask next: the sweep, waiting for somebody to come back, and the budget of retries."""

from balancer.core.events import Batching, Outcome, SlotAdded
from balancer.core.lifecycle import Request
from balancer.core.limits import Limits
from balancer.core.policy import GiveUp, RetryBudget, Stranded, choose
from balancer.core.pool import Member, Pool
from tests.core.story import (
    Story,
    answer,
    comes_up,
    connects,
    dies,
    empty,
    garbled,
    replies,
    request,
    undelivered,
)

# --- choose: try, wait or give up --------------------------------------------------------------


def choice_in(story: Story, *excluded: str, is_final: bool = False) -> str:
    one = Request(request(9), now=1000.0, deadline=1030.0, try_timeout_s=10.0)
    one.excluded = frozenset(excluded)
    one.is_final = is_final
    match choose(one, story.core.pools):
        case Member() as member:
            return f"try {member.slot}"
        case Stranded(is_alive):
            return "wait for the overdue" if is_alive else "wait for the dead"
        case Pool() as pool:
            return f"wait for {pool.name}"
        case GiveUp():
            return "give up"


def budget_of(share: float, per_worker: int, window_s: int) -> RetryBudget:
    return RetryBudget(
        Limits(
            retry_budget=share, retry_budget_per_worker=per_worker, retry_budget_window_s=window_s
        )
    )


def test_an_idle_worker_is_tried_and_a_busy_one_waited_for() -> None:
    story = Story("a")
    assert choice_in(story) == "try a"
    story.at(1000.0, request(1))
    assert choice_in(story) == "wait for echo"
    assert choice_in(story, "a") == "give up"


def test_who_is_down_or_connecting_or_overdue_may_come_back() -> None:
    story = Story("-a", "-b", try_timeout_s=1.0)
    assert choice_in(story) == "wait for the dead"
    assert choice_in(story, "a", "b") == "give up"
    story.at(1000.0, connects("a"))
    assert choice_in(story) == "wait for the overdue"
    assert choice_in(story, "a") == "wait for the dead"
    story.at(1000.0, *comes_up("b"), request(1))
    story.at(1001.0)
    assert choice_in(story, "a") == "wait for the overdue"


def test_who_is_away_is_worked_out_once_for_all_that_ask() -> None:
    """With hundreds of workers down and a long queue, all would be looked at for each request."""
    story = Story("-a", "-b")
    (pool,) = story.core.pools
    away = pool.away()
    assert [member.slot for member in away.down] == ["a", "b"]
    story.at(1000.0, request(1), request(2))
    assert pool.away() is away
    story.at(1000.0, connects("a"))
    assert [member.slot for member in pool.away().unheard] == ["a"]


def test_of_the_ejected_the_first_pool_s_is_the_last_resort() -> None:
    story = Story(pools={"x": "a b", "y": "c d"}, ejection_tries=1)
    for number, bad, other in ((1, "a", "b"), (2, "c", "d")):
        assert story.at(1000.0, request(number, once=True)) == [f"{number} -> {bad} (attempt 1)"]
        assert f"{bad} ejected for 5 s" in story.at(1000.0, garbled(bad))
        story.at(1000.0, dies(other))
    assert choice_in(story) == "try a"
    assert choice_in(story, "c") == "try a"
    assert choice_in(story, "a") == "try c"


def test_a_final_request_is_given_up_whoever_is_idle() -> None:
    assert choice_in(Story("a"), is_final=True) == "give up"


def test_with_no_slot_at_all_there_is_nobody_to_wait_for() -> None:
    story = Story()
    assert choice_in(story) == "give up"
    assert story.at(1000.0, request(1)) == ["1 <- 503 no_workers"]


# --- the sweep ---------------------------------------------------------------------------------


def test_pools_are_swept_in_their_order() -> None:
    story = Story(pools={"x": "a b", "y": "c", "z": "d"})
    assert story.at(1000.0, request(1)) == ["1 -> a (attempt 1)"]
    assert story.at(1000.1, empty("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, empty("b")) == ["1 -> c (attempt 3)"]
    assert story.at(1000.3, empty("c")) == ["1 -> d (attempt 4)"]
    assert story.at(1000.4, empty("d")) == [
        "1 <- 503 exhausted after 4 attempts; a empty, b empty, c empty, d empty"
    ]


def test_within_a_pool_who_became_free_last_comes_first_and_who_is_new_comes_last() -> None:
    story = Story("a", "b", "c", "-d")
    story.at(1000.0, request(1), request(2))
    story.at(1000.1, answer("a"))
    story.at(1000.2, answer("b"), *comes_up("d"))
    assert story.at(1000.3, *(request(number) for number in (3, 4, 5, 6))) == [
        "3 -> b (attempt 1)",
        "4 -> a (attempt 1)",
        "5 -> c (attempt 1)",
        "6 -> d (attempt 1)",
    ]


def test_a_busy_pool_is_waited_for_although_a_later_one_is_idle() -> None:
    story = Story(pools={"x": "a", "y": "b"})
    assert story.at(1000.0, request(1), request(2)) == ["1 -> a (attempt 1)"]
    assert story.at(1000.5, answer("a")) == ["1 <- 200 from a", "2 -> a (attempt 1)"]


def test_a_pool_is_not_waited_for_by_a_request_that_has_tried_it() -> None:
    story = Story(pools={"x": "a", "y": "b"})
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, empty("a")) == ["1 -> b (attempt 2)", "2 -> a (attempt 1)"]


def test_the_untried_worker_of_a_busy_pool_is_waited_for() -> None:
    story = Story(pools={"x": "a b", "y": "c"})
    story.at(1000.0, request(1), request(2))
    assert story.at(1000.1, empty("a")) == []
    assert story.at(1000.2, answer("b")) == ["2 <- 200 from b", "1 -> b (attempt 2)"]


def test_a_pool_with_nobody_up_is_passed_over() -> None:
    story = Story(pools={"x": "-a", "y": "b"})
    assert story.at(1000.0, request(1)) == ["1 -> b (attempt 1)"]


def test_a_pool_whose_worker_hangs_is_passed_over_by_those_who_waited_for_it() -> None:
    story = Story(pools={"x": "a", "y": "b"}, try_timeout_s=1.0)
    assert story.at(1000.0, request(1, once=True), request(2)) == ["1 -> a (attempt 1)"]
    assert story.at(1001.0)[-1] == "2 -> b (attempt 1)"


def test_a_pool_that_was_passed_over_is_asked_if_it_comes_back_in_time() -> None:
    story = Story(pools={"x": "-a", "y": "b"}, revive_grace_s=1.0)
    story.at(1000.0, request(1))
    assert story.at(1000.1, empty("b")) == []
    assert story.at(1001.0, *comes_up("a")) == ["1 -> a (attempt 2)"]


def test_a_pool_that_comes_back_too_late_is_not_asked() -> None:
    story = Story(pools={"x": "-a", "y": "b"}, revive_grace_s=1.0)
    story.at(1000.0, request(1))
    story.at(1000.25, empty("b"))
    assert story.at(1001.249) == []
    assert story.at(1001.25) == ["1 <- 503 exhausted after 1 attempt; b empty"]
    assert story.at(1001.5, *comes_up("a")) == []


def test_requests_that_wait_for_a_later_pool_go_to_an_earlier_one_that_comes_up() -> None:
    story = Story(pools={"x": "-a", "y": "b"})
    assert story.at(1000.0, request(1), request(2)) == ["1 -> b (attempt 1)"]
    assert story.at(1000.5, *comes_up("a")) == ["2 -> a (attempt 1)"]


def test_an_empty_reply_can_rule_out_the_whole_pool() -> None:
    story = Story(pools={"x": "a b", "y": "c"}, on_empty_next_pool=True)
    story.at(1000.0, request(1))
    assert story.at(1000.1, empty("a")) == ["1 -> c (attempt 2)"]
    assert story.at(1000.2, empty("c")) == [
        "1 <- 503 exhausted after 2 attempts; a empty, c empty",
    ]


def test_a_worker_that_joins_a_pool_which_is_ruled_out_is_not_asked_either() -> None:
    story = Story(pools={"x": "a", "y": "c"}, on_empty_next_pool=True)
    story.at(1000.0, request(1))
    story.at(1000.1, empty("a"), SlotAdded("b", "x"), *comes_up("b"))
    assert story.at(1000.2, empty("c")) == [
        "1 <- 503 exhausted after 2 attempts; a empty, c empty",
    ]


def test_a_death_never_rules_out_the_pool() -> None:
    story = Story(pools={"x": "a b", "y": "c"}, on_empty_next_pool=True)
    story.at(1000.0, request(1))
    assert story.at(1000.1, dies("a")) == ["1 -> b (attempt 2)"]


# --- waiting for somebody to come back ---------------------------------------------------------


def test_with_everybody_down_a_request_waits_for_the_grace_and_no_longer() -> None:
    story = Story("-a", revive_grace_s=1.0)
    assert story.at(1000.0, request(1)) == []
    assert story.at(1000.999) == []
    assert story.at(1001.0) == ["1 <- 503 no_workers"]


def test_whoever_connects_ends_the_grace() -> None:
    story = Story("-a", revive_grace_s=1.0)
    story.at(1000.0, request(1))
    assert story.at(1000.9, connects("a")) == []
    assert story.at(1005.0) == []


def test_a_new_grace_starts_when_the_hope_dies() -> None:
    story = Story("-a", revive_grace_s=1.0)
    story.at(1000.0, request(1))
    story.at(1000.9, connects("a"))
    assert story.at(1005.0, dies("a")) == []
    assert story.at(1005.999) == []
    assert story.at(1006.0) == ["1 <- 503 no_workers"]


def test_the_death_of_another_does_not_prolong_the_grace() -> None:
    story = Story("a", "-b", revive_grace_s=1.0)
    story.at(1000.0, request(1))
    story.at(1000.0, empty("a"))
    assert story.at(1000.9, dies("a")) == []
    assert story.at(1001.0) == ["1 <- 503 exhausted after 1 attempt; a empty"]


def test_no_grace_runs_while_an_untried_worker_is_overdue() -> None:
    story = Story("a", "-b", try_timeout_s=1.0, hang_kill_after_s=9.0, revive_grace_s=0.5)
    story.at(1000.0, request(1, once=True))
    story.at(1001.0, request(2))
    assert story.at(1003.0) == []
    assert story.at(1003.5, dies("a")) == []
    assert story.at(1003.999) == []
    assert story.at(1004.0) == ["2 <- 503 no_workers"]


def test_a_forwarded_request_is_not_caught_by_its_old_grace() -> None:
    story = Story("-a", revive_grace_s=1.0)
    story.at(1000.0, request(1))
    assert story.at(1000.5, *comes_up("a")) == ["1 -> a (attempt 1)"]
    assert story.at(1002.0) == []
    assert story.at(1002.0, undelivered("a")) == []
    assert story.at(1002.999) == []
    assert story.at(1003.0) == ["1 <- 503 exhausted after 1 attempt; a undelivered"]


# --- the retry budget --------------------------------------------------------------------------


def test_the_budget_is_a_share_of_first_tries_plus_some_for_each_worker() -> None:
    budget = budget_of(0.2, 1, 10)
    for _ in range(10):
        budget.note_first_tries(1000.0, 1)
    assert [budget.spend(1000.5, 1) for _ in range(4)] == [True, True, True, False]


def test_without_first_tries_each_worker_brings_its_own() -> None:
    budget = budget_of(0.2, 2, 10)
    assert [budget.spend(1000.0, 2) for _ in range(5)] == [True] * 4 + [False]


def test_the_window_of_the_budget_slides() -> None:
    budget = budget_of(0.0, 1, 10)
    assert budget.spend(1000.0, 1)
    assert not budget.spend(1009.9, 1)
    assert budget.spend(1010.0, 1)


def test_first_tries_leave_the_window_too() -> None:
    budget = budget_of(1.0, 0, 10)
    budget.note_first_tries(1000.0, 1)
    assert not budget.spend(1010.0, 1)
    budget.note_first_tries(1011.0, 1)
    assert budget.spend(1020.9, 1)


def test_of_a_batch_each_first_try_counts_and_no_other() -> None:
    story = Story(
        pools={"x": "a", "y": "b"},
        batching=Batching.EACH,
        batch_max=4,
        retry_budget=1.0,
        retry_budget_per_worker=0,
    )
    story.at(story.now, request(91), *(request(number) for number in (1, 2, 3)))
    story.at(story.now + 0.0001, answer("a", took_s=0.00001))
    assert story.core.retry_budget(story.now) == (0, 4.0)
    story.at(story.now + 0.0001, replies("a", *[Outcome.EMPTY] * 3))
    assert story.at(story.now + 0.0001, answer("b", took_s=0.00001))[-1] == "2, 3 -> b together"
    assert story.core.retry_budget(story.now) == (0, 4.0)


def test_the_first_death_of_a_request_is_retried_whatever_the_budget_says() -> None:
    story = Story("a", "b", "c", retry_budget=0.0, retry_budget_per_worker=0)
    story.at(1000.0, request(1))
    assert story.at(1000.1, dies("a")) == ["1 -> b (attempt 2)"]


def test_above_the_budget_a_second_death_is_not_retried() -> None:
    story = Story("a", "b", "c", retry_budget=0.0, retry_budget_per_worker=0)
    story.at(1000.0, request(1))
    story.at(1000.1, dies("a"))
    assert story.at(1000.2, dies("b")) == [
        "1 <- 503 retry_budget after 2 attempts; a died, b died; may have run"
    ]


def test_above_the_budget_a_death_after_a_timeout_is_not_retried() -> None:
    story = Story("a", "b", "c", try_timeout_s=1.0, retry_budget=1.0, retry_budget_per_worker=0)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 -> b (attempt 2)"]
    assert story.at(1001.1, dies("b"))[0].startswith("1 <- 503 retry_budget")


def test_above_the_budget_a_timeout_is_not_retried() -> None:
    story = Story("a", "b", try_timeout_s=1.0, retry_budget=0.0, retry_budget_per_worker=0)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == [
        "1 <- 503 retry_budget after 1 attempt; a timeout; may have run",
    ]


def test_empty_and_undelivered_tries_cost_no_budget() -> None:
    story = Story("a", "b", "c", retry_budget=0.0, retry_budget_per_worker=0)
    story.at(1000.0, request(1))
    assert story.at(1000.1, empty("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, undelivered("b")) == ["1 -> c (attempt 3)"]


def test_only_first_tries_earn_budget() -> None:
    story = Story(*"abcde", strikes=9, retry_budget=1.0, retry_budget_per_worker=0)
    story.at(1000.0, request(1))
    assert story.at(1000.1, empty("a")) == ["1 -> b (attempt 2)"]
    assert story.at(1000.2, dies("b")) == ["1 -> c (attempt 3)"]
    story.at(1000.3, dies("c"))
    assert story.at(1003.3) == ["1 -> d (attempt 4)"]
    assert story.at(1003.4, dies("d"))[0].startswith("1 <- 503 retry_budget")


def test_nobody_left_to_ask_is_not_called_a_lack_of_budget() -> None:
    story = Story("a", try_timeout_s=1.0, retry_budget=0.0, retry_budget_per_worker=0)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 <- 503 exhausted after 1 attempt; a timeout; may have run"]
