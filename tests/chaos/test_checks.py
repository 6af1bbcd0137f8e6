"""The checker on small histories: each check finds what it is for, and nothing else does."""

import pytest

from tests.chaos.checks import CHECKS
from tests.chaos.tale import Tale


@pytest.fixture
def tale() -> Tale:
    return Tale()


def test_an_answered_request_is_no_violation(tale: Tale) -> None:
    tale.asked()
    tale.ran()
    tale.replied()
    assert tale.found() == []


def test_a_request_that_died_once_and_was_answered_by_the_next_is_no_violation(tale: Tale) -> None:
    tale.asked()
    tale.ran(begin=0.1, end=None, worker="w1")
    tale.ran(begin=0.3, end=0.4, worker="w2")
    tale.replied(at=0.5)
    assert tale.found() == []


# --- C1 one outcome -----------------------------------------------------------------------------


def test_two_replies_are_found(tale: Tale) -> None:
    tale.asked()
    tale.ran()
    tale.replied()
    tale.replied()
    assert tale.found() == ["C1"]


def test_a_reply_to_nobodys_request_is_found(tale: Tale) -> None:
    tale.replied("unknown", body=None)
    assert tale.found() == ["C1"]


def test_a_request_without_any_outcome_is_found_unless_its_client_was_killed(tale: Tale) -> None:
    tale.asked()
    tale.ran()
    assert tale.found() == ["C1"]
    tale.client_was_killed()
    assert tale.found() == []


def test_a_reply_after_its_client_gave_up_is_one_reply(tale: Tale) -> None:
    tale.asked(shell="dealer", kind="hurried", timeout_s=0.2)
    tale.replied(status=None, at=0.5)
    tale.replied(status=504, reason="deadline", at=0.6)
    assert tale.found() == []


# --- C2 its own body, C5 answers were made ------------------------------------------------------


def test_the_body_of_another_request_is_found(tale: Tale) -> None:
    for op, begin in (("a", 0.1), ("b", 0.2)):
        tale.asked(op)
        tale.ran(op, begin=begin, end=begin + 0.05, answer=f"answer to {op}")
    tale.replied("a", body="answer to b")
    tale.replied("b", body="answer to b")
    assert tale.found() == ["C2"]


def test_an_answer_that_nobody_has_made_is_found(tale: Tale) -> None:
    tale.asked()
    tale.replied()
    assert tale.found() == ["C5"]


def test_an_answer_that_came_before_its_execution_has_ended_is_found(tale: Tale) -> None:
    tale.asked()
    tale.ran(end=None)
    tale.replied()
    assert tale.found() == ["C5"]


# --- C3 one at a time ---------------------------------------------------------------------------


def test_an_answer_that_came_while_its_execution_went_on_is_found(tale: Tale) -> None:
    tale.asked()
    tale.ran(begin=0.1, end=0.5)
    tale.replied(at=0.3)
    assert tale.found() == ["C5"]


def test_executions_of_one_worker_that_overlap_are_found(tale: Tale) -> None:
    for op, begin, end in (("a", 0.1, 0.2), ("b", 0.19, 0.25)):
        tale.asked(op)
        tale.ran(op, begin=begin, end=end)
        tale.replied(op)
    assert tale.found() == ["C3"]


def test_a_worker_that_goes_on_without_having_ended_is_found(tale: Tale) -> None:
    for op, begin, end in (("a", 0.1, None), ("b", 0.3, 0.4)):
        tale.asked(op)
        tale.ran(op, begin=begin, end=end)
        tale.replied(op, 500, "poisoned") if end is None else tale.replied(op, at=0.5)
    assert "C3" in tale.found()


def test_executions_of_two_workers_may_overlap(tale: Tale) -> None:
    for op, worker in (("a", "w1"), ("b", "w2")):
        tale.asked(op)
        tale.ran(op, worker=worker)
        tale.replied(op)
    assert tale.found() == []


# --- C4 once, C6 never run is true --------------------------------------------------------------


def test_a_second_execution_of_what_is_marked_once_is_found(tale: Tale) -> None:
    tale.asked(once=True)
    tale.ran(begin=0.1, end=None, worker="w1")
    tale.ran(begin=0.3, end=0.4, worker="w2")
    tale.replied(at=0.5)
    assert tale.found() == ["C4"]


def test_once_may_go_on_after_it_was_declined(tale: Tale) -> None:
    tale.asked(once=True)
    tale.ran(begin=0.1, end=0.15, worker="w1", is_empty=True)
    tale.ran(begin=0.2, end=0.25, worker="w2")
    tale.replied(at=0.5)
    assert tale.found() == []


def test_a_killed_clients_once_request_runs_at_most_once(tale: Tale) -> None:
    tale.asked(once=True)
    tale.client_was_killed()
    tale.ran(begin=0.1, worker="w1")
    assert tale.found() == []
    tale.ran(begin=0.3, end=0.4, worker="w2")
    assert tale.found() == ["C4"]


def test_a_refusal_that_wrongly_says_it_did_not_run_is_found(tale: Tale) -> None:
    tale.asked(once=True)
    tale.broke("kill", 0.15, 0.15)
    tale.ran(end=None)
    tale.replied("a", 503, "exhausted", may_have_run=False)
    assert tale.found() == ["C6"]


@pytest.mark.parametrize(
    ("status", "reason"), [(409, "duplicate"), (429, "client_limit"), (500, "poisoned")]
)
def test_so_is_any_other_refusal_that_wrongly_says_so(tale: Tale, status: int, reason: str) -> None:
    tale.asked()
    tale.ran(end=None)
    tale.replied("a", status, reason, may_have_run=True)
    assert tale.found() == ["C9"]
    tale.history.outcomes.clear()
    tale.replied("a", status, reason, may_have_run=False)
    assert tale.found() == ["C6", "C9"]


def test_a_refusal_that_says_it_may_have_run_may_be_right_or_wrong(tale: Tale) -> None:
    tale.broke("kill", 0.15, 0.15)
    for op in ("ran", "did not"):
        tale.asked(op, once=True)
        tale.replied(op, 503, "exhausted", may_have_run=True)
    tale.ran("ran", end=None)
    assert tale.found() == []


def test_a_declined_request_did_not_run(tale: Tale) -> None:
    tale.asked(kind="nobody")
    tale.ran(is_empty=True)
    tale.replied("a", 503, "exhausted", tried=(("w1", "empty"), ("w2", "empty")))
    assert tale.found() == []


# --- C7 in time, C8 not begun late --------------------------------------------------------------


def test_an_outcome_long_after_the_deadline_is_found(tale: Tale) -> None:
    tale.asked(kind="hurried", timeout_s=0.2)
    tale.ran()
    tale.replied(at=0.6)
    assert tale.found() == []
    tale.asked(kind="hurried", timeout_s=0.05)
    assert tale.found() == ["C7"]


def test_a_frozen_balancer_excuses_late_replies_to_whoever_does_not_look_at_the_clock(
    tale: Tale,
) -> None:
    tale.broke("stop-balancer", 0.1, 1.5)
    for op, shell in (("own", "async"), ("plain", "dealer")):
        tale.asked(op, kind="hurried", timeout_s=0.2, shell=shell)
        tale.replied(op, 504, "deadline", at=1.6)
    assert tale.found() == ["C7"]


def test_what_a_thawed_balancer_leaves_lying_is_found(tale: Tale) -> None:
    tale.broke("stop-balancer", 0.1, 1.5)
    tale.asked(kind="hurried", timeout_s=0.2, shell="dealer")
    tale.replied("a", 504, "deadline", at=2.1)
    assert tale.found() == ["C7"]


def test_what_begins_after_its_deadline_is_found(tale: Tale) -> None:
    tale.asked(kind="hurried", timeout_s=0.2)
    tale.replied("a", 504, "deadline", at=0.25, may_have_run=True)
    tale.ran(begin=0.4, end=0.5)
    assert set(tale.found()) == {"C8"}


def test_what_begins_after_it_was_answered_is_found(tale: Tale) -> None:
    tale.asked()
    tale.ran(begin=0.1, end=0.2, worker="w1")
    tale.replied(at=0.3)
    tale.ran(begin=2.0, end=2.1, worker="w2")
    assert tale.found() == ["C8"]


def test_a_resent_request_may_begin_after_it_was_answered(tale: Tale) -> None:
    tale.asked()
    tale.broke("kill-balancer", 0.1, 0.2)
    tale.ran(begin=0.1, end=0.2, worker="w1")
    tale.replied(at=0.3)
    tale.ran(begin=0.5, end=0.6, worker="w2")
    assert tale.found() == []


# --- C9 failed for a reason ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("echo", 503, "exhausted"),
        ("echo", 504, "deadline"),
        ("echo", 500, "poisoned"),
        ("echo", 503, "no_workers"),
        ("echo", None, ""),
        ("nobody", 200, ""),
        ("crash", 504, "deadline"),
        ("raise", 503, "exhausted"),
    ],
)
def test_a_failure_while_nothing_is_broken_is_found(
    tale: Tale, kind: str, status: int | None, reason: str
) -> None:
    tale.asked(kind=kind)
    tale.ran(begin=0.1, end=0.2)
    tale.replied("a", status, reason, may_have_run=True)
    assert tale.found() == ["C9"]


def test_a_dead_worker_is_an_excuse_for_what_is_marked_once_and_for_nothing_else(
    tale: Tale,
) -> None:
    tale.broke("kill", 0.2, 0.2)
    for op, once in (("often", False), ("once", True)):
        tale.asked(op, once=once)
        tale.replied(op, 503, "exhausted", may_have_run=True)
    assert tale.found() == ["C9"]


@pytest.mark.parametrize(
    ("kind", "begins", "strikes", "found"),
    [
        ("kill", (0, 1, 2), 3, []),
        ("stop", (0, 1, 2), 3, []),
        ("kill", (0, 1), 3, ["C9"]),
        ("kill", (0, 1, 2), 4, ["C9"]),
        ("kill", (0, 1, 2), 2, ["C9"]),
        ("kill", (-0.3, -0.2, -0.1), 3, ["C9"]),
        ("kill", (1, 1, 1), 3, ["C9"]),
        ("latency", (0, 1, 2), 3, ["C9"]),
    ],
)
def test_an_innocent_one_is_called_poisonous_only_where_each_of_its_workers_was_taken_by_another(
    tale: Tale, kind: str, begins: tuple[float, ...], strikes: int, found: list[str]
) -> None:
    tale.asked(via_proxy=True)
    tried = (("work-1", "died"),) * strikes
    tale.replied("a", 500, "poisoned", at=3, may_have_run=True, tried=tried)
    tale.ran(end=None)
    for begin in begins:
        tale.broke(kind, begin, begin)
    assert tale.found() == found


@pytest.mark.parametrize("shell", ["sync", "req", "dealer"])
@pytest.mark.parametrize("fault", ["kill", "stop", "crash", "hang", "kill-balancer"])
def test_nobody_is_refused_for_a_dead_worker_whose_request_may_be_tried_again(
    tale: Tale, fault: str, shell: str
) -> None:
    tale.broke(fault, 0.1, 0.2)
    tale.asked(shell=shell)
    tale.replied("a", 503, "exhausted", may_have_run=True)
    assert tale.found() == ["C9"]
    tale.asked(shell=shell, once=True)
    assert tale.found() == []


@pytest.mark.parametrize("fault", ["kill", "kill-balancer"])
def test_a_hurried_client_may_miss_its_reply_only_where_something_held_it_up(
    tale: Tale, fault: str
) -> None:
    tale.asked(kind="hurried", timeout_s=0.1, shell="dealer")
    tale.broke(fault, 0.05, 0.1)
    tale.replied("a", None, at=0.6)
    assert tale.found() == (["C9"] if fault == "kill" else [])


@pytest.mark.parametrize(("at", "expected"), [(0.2, ["C9"]), (0.26, []), (0.35, [])])
def test_a_deadline_that_had_not_come_is_found(tale: Tale, at: float, expected: list[str]) -> None:
    tale.asked(kind="hurried", timeout_s=0.3)
    tale.replied("a", 504, "deadline", at=at)
    assert tale.found() == expected


@pytest.mark.parametrize("kind", ["crash", "hang", "nobody"])
def test_whoever_gives_up_after_one_worker_is_found_unless_it_is_once(
    tale: Tale, kind: str
) -> None:
    for op, once, workers in (("one", False, 1), ("once", True, 1), ("two", False, 2)):
        tale.asked(op, kind=kind, once=once)
        tried = tuple((f"work-{number}", "died") for number in range(workers))
        tale.replied(op, 503, "exhausted", may_have_run=True, tried=tried)
    assert tale.found() == ["C9"]
    tale.broke("drain", 0.2, 0.3)
    assert tale.found() == []


def test_only_one_of_many_bad_requests_may_run_out_of_time(tale: Tale) -> None:
    for op, kind in (("bad", "hang"), ("good", "echo")):
        tale.asked(op, kind=kind)
        tale.replied(op, 504, "deadline", at=10.0, may_have_run=True)
    tale.broke("hang", 0.0, 10.0)  # itself
    tale.broke("hang", 1.0, 9.0)
    assert tale.found() == ["C9", "C9"]
    tale.broke("stop", 2.0, 3.0)
    assert tale.found() == ["C9"]


def test_an_excuse_ends_some_time_after_the_fault(tale: Tale) -> None:
    tale.broke("drain", 0.0, 1.0)
    for op, at in (("during", 0.5), ("after", 30.0)):
        tale.asked(op, at=at)
        tale.replied(op, 503, "draining", at=at + 0.1)
    assert tale.found() == ["C9"]


def test_what_ails_the_proxy_is_no_excuse_for_a_direct_connection(tale: Tale) -> None:
    tale.broke("reset", 0.2, 0.2)
    for op, via_proxy in (("direct", False), ("proxied", True)):
        tale.asked(op, once=True, via_proxy=via_proxy)
        tale.replied(op, 503, "connection_lost", may_have_run=True)
    assert tale.found() == ["C9"]


def test_our_client_gives_a_call_up_after_three_lost_connections_and_not_before(
    tale: Tale,
) -> None:
    tale.asked(via_proxy=True)
    tale.replied("a", 503, "connection_lost", at=1.0, may_have_run=True)
    tale.broke("reset", 0.1, 0.1)
    tale.broke("reset", 0.4, 0.4)
    assert tale.found() == ["C9"]
    tale.broke("reset", 0.8, 0.8)
    assert tale.found() == []


def test_a_call_whose_time_is_over_while_there_is_no_connection_may_say_so(tale: Tale) -> None:
    tale.broke("kill-launcher", 0.1, 0.6)
    for op, timeout_s in (("over", 0.5), ("not over", 5.0)):
        tale.asked(op, kind="hurried", timeout_s=timeout_s)
        tale.replied(op, 503, "unreachable", at=0.55)
    assert tale.found() == ["C9"]


def test_what_most_workers_decline_may_find_nobody_while_the_cluster_drains(tale: Tale) -> None:
    for begin in (0.0, 100.0):
        tale.asked(f"at {begin}", kind="empty", at=begin)
        tale.replied(f"at {begin}", 503, "exhausted", at=begin + 0.5)
    tale.broke("drain", 0.2, 1.0)
    assert tale.found() == ["C9"]


def test_what_most_workers_decline_may_find_nobody_who_is_back_in_time(tale: Tale) -> None:
    for begin, took_s in ((0.0, 3.1), (10.0, 2.9), (100.0, 3.1)):
        tale.asked(f"at {begin}", kind="empty", at=begin)
        tale.replied(f"at {begin}", 503, "exhausted", at=begin + took_s)
    tale.broke("kill", 0.2, 0.2)
    tale.broke("kill", 10.2, 10.2)
    assert tale.found() == ["C9", "C9"]  # it did not wait; nobody was killed


@pytest.mark.parametrize("fault", ["descriptors", "stop-balancer"])
def test_who_is_in_a_hurry_may_not_be_let_in(tale: Tale, fault: str) -> None:
    for op, kind, at in (
        ("hurried", "hurried", 0.0),
        ("echo", "echo", 0.0),
        ("late", "hurried", 9.0),
    ):
        tale.asked(op, kind=kind, at=at, timeout_s=0.2)
        tale.replied(op, 503, "unreachable", at=at + 0.25)
    tale.broke(fault, 0.0, 0.3)
    assert tale.found() == ["C9", "C9"]


# --- C10 poison ---------------------------------------------------------------------------------


def test_a_request_that_takes_a_fourth_worker_is_found(tale: Tale) -> None:
    tale.asked(kind="crash")
    tale.replied("a", 500, "poisoned", at=0.9, may_have_run=True)
    for number in range(3):
        tale.ran(begin=0.1 * number, end=None, worker=f"w{number}")
    assert tale.found() == []
    tale.ran(begin=0.4, end=None, worker="w4")
    assert tale.found() == ["C10"]
    tale.history.has_batches = True  # the first may have had it among others
    assert tale.found() == []
    tale.ran(begin=0.5, end=None, worker="w5")
    assert tale.found() == ["C10"]


def test_a_request_that_is_called_poisonous_too_soon_is_found(tale: Tale) -> None:
    tale.asked(kind="crash")
    tale.ran(end=None, worker="w1")
    tale.ran(end=None, worker="w2")
    died = ("work-1", "died")
    tale.replied("a", 500, "poisoned", may_have_run=True, tried=(died, died))
    assert tale.found() == ["C10"]
    tale.history.outcomes.clear()  # the third was killed by somebody else, before it began
    tale.replied("a", 500, "poisoned", may_have_run=True, tried=(died, died, died))
    assert tale.found() == []


def test_every_check_of_the_histories_has_been_seen_to_bite() -> None:
    assert [name.split()[0] for name in CHECKS] == [f"C{number}" for number in range(1, 11)]


@pytest.mark.parametrize(("hung", "found"), [(1, ["C9"]), (2, [])])
def test_what_hung_two_workers_may_run_out_of_time(tale: Tale, hung: int, found: list[str]) -> None:
    tale.asked(kind="hang", timeout_s=5.0)
    for number in range(hung):
        tale.ran(begin=0.1 + number, worker=f"w{number}")
    tried = tuple((f"w{number}", "timeout") for number in range(hung))
    tale.replied("a", 504, "deadline", at=5.0, may_have_run=True, tried=tried)
    assert tale.found() == found
