"""How long requests take: a mean that follows slowly, and a guess that is on the safe side."""

import pytest

from balancer.core.service_time import ServiceTime


def test_before_the_first_reply_one_request_fits() -> None:
    service = ServiceTime()
    assert service.mean_s == 0.0
    assert service.fit(1.0) == 1


def test_the_first_reply_is_the_mean_and_doubt_is_half_of_it() -> None:
    service = ServiceTime()
    service.note(0.001, 1)
    assert service.mean_s == 0.001
    assert service.fit(0.0089) == 2  # 1 ms, and four deviations of 0.5 ms
    assert service.fit(0.0091) == 3


def test_a_batch_counts_for_its_requests() -> None:
    service = ServiceTime()
    service.note(0.032, 32)
    assert service.mean_s == pytest.approx(0.001)
    service.note(2.0, 1000)  # however large, it counts for no more than all before
    assert service.mean_s == pytest.approx(0.0015)


def test_two_may_show_that_there_is_room_for_more() -> None:
    """A lone reply has come a long way; only a batch tells what its requests took themselves."""
    service = ServiceTime()
    service.note(0.0009, 1)
    assert service.fit(0.001) == 2
    for _ in range(200):
        service.note(0.00004, 2)
    assert service.fit(0.001) > 8
    service = ServiceTime()
    service.note(0.0011, 1)
    assert service.fit(0.001) == 1


def test_work_that_always_takes_the_same_fills_the_budget() -> None:
    service = ServiceTime()
    for _ in range(1000):
        service.note(0.0001, 1)
    assert service.fit(0.00101) == 10


def test_a_few_long_ones_among_many_short_ones_leave_no_room_for_a_second() -> None:
    service = ServiceTime()
    for number in range(2000):
        service.note(0.05 if number % 20 == 0 else 0.0001, 1)
        assert number < 20 or service.fit(0.001) <= 2
