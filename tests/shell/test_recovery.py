"""What becomes of a slot whose process has ended, and what is known of its death."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from workers.ending import Ending
from workers.recovery import Recovery
from workers.restart import FAILED_STARTS_MAX
from workers.worker_process import WorkerProcess

NOW = 1000.0
OF_A_QUICK_DEATH_S = pytest.approx(0.1, rel=0.2)


def process(**fields: Any) -> WorkerProcess:
    """One that served for an hour and was then killed while it held nothing."""
    usual = {
        "kill_reason": "",
        "cause": "killed by SIGKILL",
        "end": Ending.SIGNAL,
        "died_at": NOW,
        "booted_at": NOW - 3600,
        "stack": [],
        "held_request": None,
    }
    return cast(WorkerProcess, SimpleNamespace(**usual | fields))


def ended(recovery: Recovery, **fields: Any) -> float | None:
    recovery.note_end(process(**fields))
    return recovery.delay_s()


def test_a_slot_in_which_nobody_died_has_nothing_to_tell() -> None:
    fresh = Recovery()
    assert (fresh.restarts, fresh.last_death, fresh.stack) == (0, "", "")


def test_one_that_has_served_for_long_is_started_again_at_once() -> None:
    recovery = Recovery()
    assert [ended(recovery) for _ in range(3)] == [0.0] * 3
    assert recovery.restarts == 3


def test_one_that_dies_soon_waits_unless_a_request_is_to_blame() -> None:
    recovery = Recovery()
    assert ended(recovery, booted_at=NOW - 0.1, held_request="7f-1") == 0.0
    assert ended(recovery, booted_at=NOW - 0.1) == OF_A_QUICK_DEATH_S


def test_one_that_is_killed_by_hand_comes_back_at_once_however_young_it_was() -> None:
    recovery = Recovery()
    for _ in range(2 * FAILED_STARTS_MAX):
        assert ended(recovery, end=Ending.BY_HAND, booted_at=None) == 0.0


def test_a_slot_that_cannot_start_is_given_up_and_its_last_death_is_no_restart() -> None:
    recovery = Recovery()
    delays_s = [ended(recovery, booted_at=None) for _ in range(FAILED_STARTS_MAX)]
    assert [delay_s is None for delay_s in delays_s] == [False] * (FAILED_STARTS_MAX - 1) + [True]
    assert recovery.restarts == FAILED_STARTS_MAX - 1


def test_a_system_that_has_no_process_is_a_failed_start_whoever_died_before() -> None:
    recovery = Recovery()
    assert ended(recovery, held_request="7f-1") == 0.0
    delays_s = []
    for _ in range(FAILED_STARTS_MAX):
        recovery.note_no_process("no process for it (Cannot allocate memory)")
        delays_s.append(recovery.delay_s())
    assert delays_s[0] == OF_A_QUICK_DEATH_S
    assert delays_s[-1] is None
    assert recovery.last_death == "no process for it (Cannot allocate memory)"
    assert recovery.ending is Ending.STARTUP


def test_slots_that_died_together_do_not_come_back_together() -> None:
    delays_s = [ended(Recovery(), booted_at=None) or 0.0 for _ in range(20)]
    assert min(delays_s) < 0.1 < max(delays_s)


def test_whoever_takes_over_has_no_bad_past() -> None:
    recovery = Recovery()
    for _ in range(FAILED_STARTS_MAX - 1):
        ended(recovery, booted_at=None)
    recovery.begin_anew()
    assert ended(recovery, booted_at=None) == OF_A_QUICK_DEATH_S


def test_a_death_is_told_by_why_it_was_killed_else_by_how_it_ended() -> None:
    recovery = Recovery()
    recovery.note_end(process())
    assert (recovery.last_death, recovery.died_at) == ("killed by SIGKILL", NOW)
    assert (recovery.ending, recovery.stack) == (Ending.SIGNAL, "")
    hung = process(kill_reason="hung on request 7f-1", end=Ending.HUNG, stack=["one", "  two"])
    recovery.note_end(hung)
    assert (recovery.last_death, recovery.ending) == ("hung on request 7f-1", Ending.HUNG)
    assert recovery.stack == "one\n  two"
