"""How long requests take: a mean that follows slowly, and a guess that is on the safe side."""

import pytest

from balancer.core.service_time import ServiceTime


def test_before_the_first_reply_one_request_fits() -> None:
    service = ServiceTime()
    assert service.mean_s == 0.0
    assert service.fit(1.0) == 1


def test_the_first_reply_is_the_mean_and_doubt_is_half_of_it() -> None:
    service = ServiceTime()
    service.note(0.001, 1, 0.001)
    assert service.mean_s == 0.001
    assert service.fit(0.0089) == 2  # 1 ms, and four deviations of 0.5 ms
    assert service.fit(0.0091) == 3


def test_a_batch_counts_for_its_requests() -> None:
    service = ServiceTime()
    service.note(0.032, 32, 0.032)
    assert service.mean_s == pytest.approx(0.001)
    service.note(0.004, 2, 0.004)
    assert service.mean_s == pytest.approx(0.001 + 0.001 * 2 / 64)
    service = ServiceTime()
    service.note(0.032, 32, 0.032)
    service.note(2.0, 1000, 2.0)  # however large, it counts for no more than all before
    assert service.mean_s == pytest.approx(0.0015)


def test_two_may_show_that_there_is_room_for_more() -> None:
    """Of a few nobody knows how much they differ."""
    service = ServiceTime()
    service.note(0.0005, 1, 0.0005)
    assert service.fit(0.001) == 2
    for _ in range(200):
        service.note(0.00004, 2, 0.00004)
    assert service.fit(0.001) > 8
    service = ServiceTime()
    service.note(0.00051, 1, 0.00051)
    assert service.fit(0.001) == 1


def test_work_that_always_takes_the_same_fills_the_budget() -> None:
    service = ServiceTime()
    for _ in range(1000):
        service.note(0.0001, 1, 0.0001)
    assert service.fit(0.00101) == 10


def test_a_few_long_ones_among_many_short_ones_leave_no_room_for_a_second() -> None:
    service = ServiceTime()
    for number in range(2000):
        service.note(0.05 if number % 20 == 0 else 0.0001, 1, 0.05 if number % 20 == 0 else 0.0001)
        assert number < 20 or service.fit(0.001) == 1


def test_while_none_is_worth_a_batch_but_the_latest_was_quick_each_is_to_be_told() -> None:
    service = ServiceTime()
    assert [service.is_to_be_told(0.001) for _ in range(3)] == [True] * 3
    service.note(0.02, 1, 0.02)
    service.note(0.00001, 1, 0.00001)
    assert service.fit(0.001) == 1
    assert [service.is_to_be_told(0.001) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize("took_s", [0.00001, 0.003, 0.005])
def test_else_one_in_some_is_to_be_told_and_not_in_step_with_anything(took_s: float) -> None:
    service = ServiceTime()
    service.note(took_s, 1, took_s)
    asked = [number for number in range(800) if service.is_to_be_told(0.001)]
    assert 25 <= len(asked) <= 29
    for period in (2, 3, 4, 5, 7, 8, 10):
        assert {number % period for number in asked} == set(range(period))


def test_what_is_done_sooner_than_handed_over_is_done_at_once() -> None:
    service = ServiceTime()
    assert service.at_once() == 0
    service.note(0.00043, 10, 0.00043)
    assert service.at_once() == 4
    service.note(0.00041, 10, 0.00041)
    assert service.at_once() == 4
    service = ServiceTime()
    service.note(0.00041, 10, 0.00041)
    assert service.at_once() == 5
    service = ServiceTime()
    service.note(0.0003, 1, 0.0003)
    assert service.at_once() == 0


def test_what_goes_on_top_of_every_batch_does_not_keep_batches_small() -> None:
    """Three echoes of 3 us, and 13 for code that was not run lately, look like 7 us each."""
    service = ServiceTime()
    service.note(0.000022, 3, 0.000022)
    assert service.at_once() >= 32
    service.note(0.000022, 3, 0.000022)
    assert service.at_once() >= 32
    service = ServiceTime()
    service.note(0.000003, 1, 0.000003)
    service.note(0.000022, 3, 0.000022)
    assert service.at_once() >= 32
    service = ServiceTime()
    service.note(0.00004, 1, 0.00004)  # nobody knows what was its own: half of it at least
    assert service.at_once() == 10


def test_nothing_is_done_at_once_until_the_slow_ones_are_long_ago() -> None:
    service = ServiceTime()
    service.note(0.00001, 1, 0.00001)
    assert service.at_once() == 40
    service.note(0.02, 1, 0.02)
    for _ in range(9000):
        service.note(0.00001, 1, 0.00001)
        assert service.at_once() == 0
    for _ in range(7000):
        service.note(0.00001, 1, 0.00001)
    assert service.at_once() > 10


def test_batches_of_quick_ones_make_the_slow_ones_forgotten_as_soon() -> None:
    service = ServiceTime()
    service.note(0.02, 1, 0.02)
    for _ in range(16_000 // 32):
        service.note(0.00032, 32, 0.00032)
    assert service.at_once() > 10


def test_usual_is_how_long_they_stay_even_if_they_tell_of_less() -> None:
    """On a loaded machine, or a distant one, the way there and back takes longer than the work."""
    service = ServiceTime()
    for _ in range(3):
        service.note(0.00001, 1, 0.01)
    assert service.usual_s(1) == pytest.approx(0.01)
    service.note(None, 1, 0.0001)
    assert service.usual_s(1) > 0.0095  # one says little
    for _ in range(1000):
        service.note(None, 1, 0.0001)
    assert service.usual_s(1) == pytest.approx(0.00021)


def test_the_way_there_and_back_is_usual_too() -> None:
    service = ServiceTime()
    assert service.usual_s(3) == 0.0
    service.note(0.00001, 1, 0.00001)
    assert service.usual_s(3) == pytest.approx(0.00023)
