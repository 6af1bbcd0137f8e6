"""A request that hung a worker or killed two gives way for a while: it must not take them all."""

from tests.core.story import Story, answer, comes_up, dies, request


def test_the_first_death_moves_at_once_and_ahead_of_all() -> None:
    story = Story("a", "b")
    story.at(1000.0, request(1), request(2), request(3))
    assert story.at(1000.1, dies("a")) == []
    assert story.at(1000.2, answer("b"))[-1] == "1 -> b (attempt 2)"


def test_after_one_timeout_it_moves_at_once_where_somebody_is_idle() -> None:
    story = Story("a", "b", try_timeout_s=1.0)
    story.at(1000.0, request(1))
    assert story.at(1001.0) == ["1 -> b (attempt 2)"]


def test_after_a_timeout_it_waits_behind_all_others() -> None:
    story = Story("a", "b", try_timeout_s=1.0, hang_kill_after_s=9.0)
    story.at(1000.0, request(1))
    story.at(1000.5, request(2), request(3), request(4, priority=2))
    assert story.at(1001.0) == []
    assert story.at(1001.1, answer("b")) == ["2 <- 200 from b", "3 -> b (attempt 1)"]
    assert story.at(1001.2, answer("b"))[-1] == "4 -> b (attempt 1)"
    assert story.at(1001.3, answer("b"))[-1] == "1 -> b (attempt 2)"


def test_two_suspects_go_one_after_the_other() -> None:
    story = Story(*"abcd", try_timeout_s=1.0, hang_kill_after_s=5.0)
    story.at(1000.0, request(1), request(2))
    assert story.at(1001.0) == ["1 -> c (attempt 2)"]
    assert story.at(1001.5, dies("a"), *comes_up("a#2"), dies("b"), *comes_up("b#2")) == []
    assert story.at(1001.6, answer("c"))[-1] == "2 -> c (attempt 2)"


def test_after_two_deaths_it_waits_until_both_are_back() -> None:
    story = Story("a", "b", "c")
    story.at(1000.0, request(1), dies("a"), dies("b"))
    assert story.at(1000.1, *comes_up("a#2")) == []
    assert story.at(1000.2, *comes_up("b#2")) == ["1 -> c (attempt 3)"]


def test_it_waits_while_another_is_busy_for_unusually_long() -> None:
    story = Story(*"abcd", try_timeout_s=1.0, hang_kill_after_s=0.2, revive_grace_s=9.0)
    story.at(1000.0, request(1), request(2))
    story.at(1000.01, answer("b"))
    assert story.at(1000.5, request(3)) == ["3 -> b (attempt 1)"]
    assert story.at(1001.0) == []
    assert story.at(1001.1, answer("b")) == ["3 <- 200 from b", "1 -> b (attempt 2)"]


def test_it_waits_no_longer_than_hangs_are_killed_and_workers_come_back() -> None:
    story = Story("a", "b", "c", "-d", hang_kill_after_s=2.0, revive_grace_s=1.0)
    story.at(1000.0, request(1), dies("a"), dies("b"))
    assert story.at(1002.999) == []
    assert story.at(1003.0) == ["1 -> c (attempt 3)"]


def test_it_waits_only_as_long_as_there_is_time_for_a_whole_try() -> None:
    story = Story("a", "b", "c", try_timeout_s=1.0, deadline_s=2.0)
    story.at(1000.0, request(1), dies("a"))
    assert story.at(1000.5, dies("b")) == []
    assert story.at(1001.0) == ["1 -> c (attempt 3)"]


def test_the_end_of_one_suspect_lets_the_next_go_to_whomever_it_has_not_tried() -> None:
    story = Story(*"abc", try_timeout_s=1.0, hang_kill_after_s=0.25)
    story.at(1000.0, request(1))
    story.at(1000.5, request(2))
    assert story.at(1001.0) == []
    assert story.at(1001.2, *comes_up("a#2")) == ["1 -> c (attempt 2)"]
    assert story.at(1001.75, *comes_up("b#2")) == []
    assert story.at(1001.8, answer("c")) == [
        "1 <- 200 from c after 2 attempts; a timeout",
        "2 -> c (attempt 2)",
    ]


def test_for_a_moment_it_leaves_a_busy_pool_its_last_idle_worker() -> None:
    story = Story("a", "b", "c", try_timeout_s=1.0, hang_kill_after_s=0.5)
    story.at(1000.0, request(1))
    story.at(1000.9, request(2))
    assert story.at(1001.0) == []
    assert story.at(1001.1, request(3)) == ["3 -> c (attempt 1)"]
    assert story.at(1001.2, answer("c")) == ["3 <- 200 from c"]
    assert story.at(1001.25, request(4)) == ["4 -> c (attempt 1)"]
    assert story.at(1001.3, answer("c")) == ["4 <- 200 from c", "1 -> c (attempt 2)"]


def test_after_its_patience_it_comes_before_the_untried_again() -> None:
    story = Story("a", "b", try_timeout_s=1.0, hang_kill_after_s=0.5, revive_grace_s=0.5)
    story.at(1000.0, request(1))
    story.at(1000.5, request(2), request(3), request(4))
    story.at(1001.0)
    assert story.at(1001.4, answer("b"))[-1] == "3 -> b (attempt 1)"
    story.at(1002.0)
    assert story.at(1002.1, answer("b"))[-1] == "1 -> b (attempt 2)"


def test_a_request_that_only_runs_out_of_its_own_time_costs_no_suspect_its_turn() -> None:
    story = Story("a", "b", "-c", try_timeout_s=1.0, hang_kill_after_s=0.5, revive_grace_s=0.5)
    story.at(1000.0, request(1), dies("a"), dies("b"), *comes_up("a#2"), *comes_up("b#2"))
    assert story.at(1000.5, request(2, timeout_s=0.25)) == ["2 -> a#2 (attempt 1)"]
    assert story.at(1000.75)[0].startswith("2 <- 504 deadline")
    assert story.at(1001.0) == ["1 -> b#2 (attempt 3)"]
