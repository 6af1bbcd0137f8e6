"""The vocabulary: every word has its meaning, and facts cannot be changed."""

from typing import Any, get_args

import pytest

from balancer.core.events import (
    STATUS,
    Action,
    Answer,
    DrainTimedOut,
    Ejected,
    Event,
    Outcome,
    Readmitted,
    Reason,
    Refuse,
    Released,
    RequestId,
    WorkerId,
    WorkerReply,
)


def test_every_reason_has_its_status() -> None:
    assert set(STATUS) == set(Reason)
    by_status: dict[int, set[str]] = {}
    for reason, status in STATUS.items():
        by_status.setdefault(status, set()).add(reason.value)
    assert by_status == {
        400: {"malformed"},
        409: {"duplicate"},
        413: {"too_large"},
        429: {"client_limit"},
        500: {"poisoned"},
        503: {
            "exhausted",
            "no_workers",
            "queue_full",
            "queue_timeout",
            "retry_budget",
            "draining",
        },
        504: {"deadline"},
    }


@pytest.mark.parametrize("fact", [*get_args(Event), *get_args(Action)])
def test_what_happened_and_what_to_do_are_small_values(fact: Any) -> None:
    assert "__slots__" in vars(fact)
    assert fact.__hash__ is not None


def test_changing_a_fact_is_an_error_to_the_type_checker() -> None:
    refusal = Refuse(RequestId(1), Reason.DEADLINE)
    # mypy says so where this comment is not needed.
    refusal.attempts = 2  # type: ignore[misc]


def test_a_restarted_worker_is_somebody_else() -> None:
    assert WorkerId("a", 1) != WorkerId("a", 2)


def test_facts_are_the_same_if_what_they_say_is() -> None:
    answer = Answer(RequestId(1), A, WorkerReply(Outcome.ANSWER), 1, (), arrived_at=1.0)
    later = Answer(RequestId(1), A, WorkerReply(Outcome.ANSWER), 1, (), arrived_at=2.0)
    assert answer == later, "whoever watches alone needs the dates"
    assert hash(answer) == hash(later)
    assert answer != Answer(RequestId(2), A, WorkerReply(Outcome.ANSWER), 1, ())
    different: list[Action] = [Released(A), Readmitted(A)]
    assert different[0] != different[1], "they say it of different things"
    assert {DrainTimedOut(), DrainTimedOut()} == {DrainTimedOut()}
    assert repr(Ejected(A, duration_s=5.0)) == f"Ejected(worker={A!r}, duration_s=5.0)"


A = WorkerId("a", 1)
