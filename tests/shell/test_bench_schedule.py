"""When a bench sends: as told by the answers, or at fixed times whatever happens."""

import math

from balancer.bench.plan import Plan
from balancer.bench.schedule import BURST_MAX, ClosedLoop, OpenLoop, schedule_of


def test_a_closed_loop_fills_up_what_has_ended() -> None:
    loop = ClosedLoop(concurrency=3, duration_s=10.0)
    assert loop.due(0.5, open_now=0) == (0.5, 0.5, 0.5)
    assert loop.due(0.6, open_now=2) == (0.6,)
    assert loop.due(0.6, open_now=3) == ()
    assert loop.wakes_at_s() == math.inf


def test_a_closed_loop_sends_all_of_many_at_once() -> None:
    assert len(ClosedLoop(1000, 10.0).due(0.0, open_now=0)) == 1000


def test_a_closed_loop_ends_on_time() -> None:
    loop = ClosedLoop(concurrency=3, duration_s=10.0)
    assert not loop.is_over(9.999)
    assert loop.is_over(10.0)
    assert loop.due(10.0, open_now=0) == ()


def test_an_open_loop_sends_at_its_times_whatever_is_open() -> None:
    loop = OpenLoop(rate_per_s=10.0, duration_s=0.4)
    assert list(loop.due(0.0, open_now=0)) == [0.0]
    assert loop.wakes_at_s() == 0.1
    assert list(loop.due(0.05, open_now=1)) == []
    assert list(loop.due(0.1, open_now=1000)) == [0.1]
    assert list(loop.due(0.3, open_now=1000)) == [0.2, 0.3]
    assert loop.is_over(0.3)
    assert (loop.planned, loop.sent, loop.wakes_at_s()) == (4, 4, math.inf)


def test_an_open_loop_sends_as_many_as_the_rate_times_the_duration() -> None:
    assert OpenLoop(100.0, 2.0).planned == 200
    assert OpenLoop(0.1, 30.0).planned == 3  # 0.1 x 30 is a little more than 3
    assert OpenLoop(1.0, 2.5).planned == 3
    assert OpenLoop(0.5, 0.1).planned == 1


def test_requests_that_are_sent_late_keep_the_date_that_they_were_due_at() -> None:
    loop = OpenLoop(rate_per_s=100.0, duration_s=2.0)
    dates = loop.due(0.505, open_now=0)
    assert list(dates) == [number / 100 for number in range(51)]
    assert loop.behind_max_s == 0.505
    assert loop.late == 50  # all but the last, which is only 5 ms late


def test_what_is_due_is_sent_in_portions() -> None:
    loop = OpenLoop(rate_per_s=1000.0, duration_s=2.0)
    assert len(loop.due(1.0, open_now=0)) == BURST_MAX
    assert loop.wakes_at_s() < 1.0
    assert loop.due(1.0, open_now=0)[0] == BURST_MAX / 1000


def test_who_is_far_behind_at_the_end_does_not_send_the_rest_and_says_so() -> None:
    loop = OpenLoop(rate_per_s=1000.0, duration_s=1.0)
    loop.due(0.9, open_now=0)
    assert not loop.is_over(1.1)
    assert len(loop.due(1.1, open_now=0)) == BURST_MAX
    assert loop.is_over(1.25)
    assert list(loop.due(1.25, open_now=0)) == []
    assert loop.unsent_by(1.25) == 1000 - 2 * BURST_MAX


def test_what_is_only_just_due_is_not_missing() -> None:
    loop = OpenLoop(rate_per_s=1000.0, duration_s=1.0)
    loop.due(0.0, open_now=0)
    assert loop.unsent_by(0.005) == 0
    assert loop.unsent_by(0.1) > 80


def test_a_rate_makes_an_open_loop() -> None:
    plan = Plan(b"", duration_s=1.0, timeout_s=1.0)
    assert isinstance(schedule_of(plan), ClosedLoop)
    plan = Plan(b"", duration_s=1.0, timeout_s=1.0, rate_per_s=5.0)
    assert isinstance(schedule_of(plan), OpenLoop)
