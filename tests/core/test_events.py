"""The vocabulary: every word has its meaning, and facts cannot be changed."""

from typing import Any, get_args

import pytest

from balancer.core.events import STATUS, Action, Event, Reason, Refuse, RequestId, WorkerId


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
