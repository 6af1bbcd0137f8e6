"""When a dead process is started again, and when nobody tries any more."""

import pytest

from workers.restart import (
    DELAY_MAX_S,
    FAILED_STARTS_WINDOW_S,
    FIRST_DELAY_S,
    JITTER,
    READY_LONG_ENOUGH_S,
    RestartPolicy,
)

NOW = 1_000.0
LONG = READY_LONG_ENOUGH_S
SHORT = READY_LONG_ENOUGH_S - 0.001


def died(
    policy: RestartPolicy,
    ready_for_s: float | None,
    *,
    at: float = NOW,
    held_request: bool = False,
    jitter: float = 0.0,
) -> float | None:
    return policy.delay_s(at, ready_for_s=ready_for_s, held_request=held_request, jitter=jitter)


@pytest.mark.parametrize(
    ("ready_for_s", "held_request", "delay_s"),
    [
        (LONG, False, 0.0),
        (3600.0, False, 0.0),
        (0.0, True, 0.0),
        (SHORT, True, 0.0),
        (SHORT, False, FIRST_DELAY_S),
        (0.0, False, FIRST_DELAY_S),
        (None, False, FIRST_DELAY_S),
    ],
)
def test_the_first_death(ready_for_s: float | None, held_request: bool, delay_s: float) -> None:
    """At once where the process has proved itself, or where its request is to blame."""
    assert died(RestartPolicy(), ready_for_s, held_request=held_request) == delay_s


def test_quick_deaths_double_the_delay_up_to_a_cap() -> None:
    policy = RestartPolicy()
    delays_s = [died(policy, SHORT) for _ in range(20)]
    assert delays_s[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert delays_s[-1] == DELAY_MAX_S
    assert sorted(delays_s, key=lambda delay_s: delay_s or 0) == delays_s


def test_a_long_life_makes_a_fresh_start() -> None:
    policy = RestartPolicy()
    for _ in range(5):
        died(policy, SHORT)
    assert died(policy, LONG) == 0.0
    assert died(policy, SHORT) == FIRST_DELAY_S


def test_requests_that_kill_do_not_slow_the_slot_down() -> None:
    policy = RestartPolicy()
    assert [died(policy, 0.01, held_request=True) for _ in range(50)] == [0.0] * 50


@pytest.mark.parametrize("jitter", [-1.0, -0.5, 0.0, 1.0])
def test_jitter_spreads_the_delays(jitter: float) -> None:
    delay_s = died(RestartPolicy(), SHORT, jitter=jitter)
    assert delay_s == pytest.approx(FIRST_DELAY_S * (1 + JITTER * jitter))
    assert delay_s == pytest.approx(FIRST_DELAY_S, rel=0.2)


def test_after_the_fifth_failed_start_within_a_minute_nobody_tries_any_more() -> None:
    policy = RestartPolicy()
    delays_s = [died(policy, None, at=at) for at in (NOW, NOW + 15, NOW + 30, NOW + 45, NOW + 59)]
    assert [delay_s is None for delay_s in delays_s] == [False, False, False, False, True]


def test_failed_starts_that_are_long_ago_do_not_count() -> None:
    policy = RestartPolicy()
    for n in range(20):
        assert died(policy, None, at=NOW + n * FAILED_STARTS_WINDOW_S / 4) is not None


def test_deaths_after_a_start_are_no_failed_starts() -> None:
    policy = RestartPolicy()
    assert None not in [died(policy, SHORT, at=NOW + n) for n in range(20)]
