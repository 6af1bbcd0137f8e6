"""The words for why a worker is not in rotation."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from workers.slot import WorkerSlot
from workers.why import why_not, why_not_endpoint

NOW = 1000.0


def slot(**fields: Any) -> WorkerSlot:
    """What the words are made of, and nothing else of a slot."""
    recovery = SimpleNamespace(restarts=2, last_death="killed by SIGKILL", died_at=NOW - 3)
    usual = SimpleNamespace(
        name="a-1",
        why="killed by SIGKILL",
        restart_at=None,
        recovery=recovery,
        is_given_up=False,
        is_retired=False,
    )
    return cast(WorkerSlot, SimpleNamespace(**vars(usual) | fields))


def test_nothing_is_said_of_one_that_serves() -> None:
    assert [why_not(slot(), state, {}, NOW) for state in ("idle", "busy")] == ["", ""]


def test_one_that_is_overdue_says_since_when_and_on_what() -> None:
    figures = {"state": "overdue", "overdue_s": 1.25, "request": "7f-1, 7f-2"}
    text = "overdue 1.2 s on request 7f-1, 7f-2"
    assert why_not(slot(), "overdue", figures, NOW) == text
    assert why_not_endpoint(figures) == text


def test_an_endpoint_says_what_is_done_about_it() -> None:
    assert why_not_endpoint({}) == "not reached; it is dialed again and again"
    assert why_not_endpoint({"state": "down"}) == why_not_endpoint({})
    assert why_not_endpoint({"state": "connecting"}) == "connecting"
    assert [why_not_endpoint({"state": state}) for state in ("idle", "busy")] == ["", ""]


def test_one_that_is_retired_says_that_it_leaves() -> None:
    text = "leaves its pool when it has finished what it does"
    assert why_not(slot(is_retired=True), "draining", {}, NOW) == text


def test_one_that_nobody_fills_or_that_never_died_says_what_its_slot_knows() -> None:
    given_up = slot(why="killed by SIGKILL: not restarted", is_given_up=True)
    assert why_not(given_up, "down", {}, NOW) == "killed by SIGKILL: not restarted"
    fresh = slot(why="starting")
    fresh.recovery.last_death = ""
    assert why_not(fresh, "starting", {}, NOW) == "starting"


def test_an_ejection_says_how_long_it_lasts() -> None:
    text = "failed one request after another: ejected for another 3.2 s"
    assert why_not(slot(), "ejected", {"back_in_s": 3.2}, NOW) == text
    assert why_not_endpoint({"state": "ejected", "back_in_s": 3.2}) == text


@pytest.mark.parametrize(
    ("restarts", "ordinal"),
    [
        *((1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (10, "10th"), (11, "11th")),
        *((12, "12th"), (13, "13th"), (21, "21st"), (101, "101st"), (111, "111th")),
    ],
)
def test_a_death_says_when_and_which_restart_comes(restarts: int, ordinal: str) -> None:
    dead = slot(restart_at=NOW + 0.4)
    dead.recovery.restarts = restarts
    text = f"killed by SIGKILL 3.0 s ago, {ordinal} restart in 0.4 s"
    assert why_not(dead, "down", {}, NOW) == text


def test_one_that_starts_says_how_far_it_is() -> None:
    assert why_not(slot(), "starting", {}, NOW).endswith("2nd restart under way")
    assert why_not(slot(why=""), "connecting", {}, NOW).endswith("2nd restart under way")
    assert why_not(slot(why="connecting"), "connecting", {}, NOW).endswith(", connecting")


def test_one_that_failed_says_what_tries_again() -> None:
    assert why_not(slot(why="no luck"), "failed", {}, NOW) == "no luck: 'ready a-1' tries once more"
