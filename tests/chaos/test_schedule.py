"""The schedule follows from its seed, and breaks everything often enough."""

from collections import Counter

from tests.chaos.excuses import EXCUSES, EXPECTED
from tests.chaos.faults import FAULTS
from tests.chaos.schedule import RATES_PER_S, plan


def test_the_same_seed_gives_the_same_faults() -> None:
    assert plan(30.0, 1) == plan(30.0, 1)
    assert plan(30.0, 1) != plan(30.0, 2)


def test_five_minutes_hold_1_500_faults_and_twenty_of_each_kind() -> None:
    counts = Counter(due.kind for due in plan(300.0, 1))
    assert counts.total() >= 1500
    assert min(counts.values()) >= 20
    assert set(counts) == set(FAULTS)


def test_a_short_run_has_one_of_each_kind_that_is_asked_for() -> None:
    schedule = plan(1.0, 1, ["kill", "hang"])
    assert [due.kind for due in plan(1.0, 1, ["hang", "kill"])] == [due.kind for due in schedule]
    assert sorted(due.kind for due in schedule) == ["hang", "kill"]
    assert all(0 <= due.at_s <= 1.0 for due in schedule)


def test_every_kind_of_fault_has_a_deed_and_every_excuse_a_fault() -> None:
    assert set(FAULTS) == set(RATES_PER_S)
    assert set(EXCUSES) <= set(FAULTS)
    assert {"crash", "hang", "leak", "garbage", "large", "slow", "raise"} <= set(EXPECTED)
