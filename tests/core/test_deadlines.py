"""The heaps of dates: order, cancelling, and that dates of no more use do not pile up."""

import gc
import tracemalloc

from balancer.core.deadlines import Alarm, Deadlines
from balancer.core.events import DeadlinePassed, RequestId, TryTimedOut, WorkerId


def event(number: int) -> DeadlinePassed:
    return DeadlinePassed(RequestId(number))


def test_dates_come_out_in_order_of_time() -> None:
    deadlines = Deadlines(())
    for when in (1003.0, 1001.0, 1002.0):
        deadlines.set(when, event(int(when)))
    assert [deadlines.pop_due(1009.0) for _ in range(4)] == [
        event(1001),
        event(1002),
        event(1003),
        None,
    ]


def test_equal_dates_come_out_in_the_order_in_which_they_were_set() -> None:
    deadlines = Deadlines(())
    for number in range(50):
        deadlines.set(1001.0, event(number))
    assert [deadlines.pop_due(1001.0) for _ in range(50)] == [event(n) for n in range(50)]


def test_a_date_is_due_at_its_very_instant_and_not_before() -> None:
    deadlines = Deadlines(())
    deadlines.set(1001.0, event(1))
    assert deadlines.pop_due(1000.999) is None
    assert deadlines.pop_due(1001.0) == event(1)


def test_the_next_date_skips_the_cancelled_ones() -> None:
    deadlines = Deadlines(())
    assert deadlines.next() is None
    first = deadlines.set(1001.0, event(1))
    deadlines.set(1002.0, event(2))
    assert deadlines.next() == 1001.0
    deadlines.cancel(first)
    assert deadlines.next() == 1002.0
    assert len(deadlines) == 1
    assert deadlines.pop_due(1009.0) == event(2)
    assert deadlines.next() is None
    assert len(deadlines) == 0


def test_cancelling_twice_or_after_the_fact_or_nothing_is_harmless() -> None:
    deadlines = Deadlines(())
    fired, cancelled = deadlines.set(1001.0, event(1)), deadlines.set(1002.0, event(2))
    deadlines.set(1003.0, event(3))
    assert deadlines.pop_due(1001.0) == event(1)
    deadlines.cancel(None)
    deadlines.cancel(fired)
    deadlines.cancel(cancelled)
    deadlines.cancel(cancelled)
    assert len(deadlines) == 1
    assert deadlines.pop_due(1009.0) == event(3)


def test_a_hundred_thousand_cancelled_alarms_leave_nothing_behind() -> None:
    before = alarms_alive()
    deadlines = Deadlines(())
    deadlines.set(2000.0, event(0))
    for number in range(100_000):
        deadlines.cancel(deadlines.set(1030.0 + number, event(number)))
    assert len(deadlines) == 1
    assert alarms_alive() - before < 200
    assert deadlines.pop_due(1_000_000.0) == event(0)
    assert deadlines.next() is None


def alarms_alive() -> int:
    gc.collect()
    return sum(type(thing) is Alarm for thing in gc.get_objects())


def test_tidying_keeps_every_live_date_in_order() -> None:
    deadlines = Deadlines(())
    alarms = [deadlines.set(1000.0 + number % 7, event(number)) for number in range(1000)]
    for number, alarm in enumerate(alarms):
        if number % 10:
            deadlines.cancel(alarm)
    assert len(deadlines) == 100
    live = sorted(range(0, 1000, 10), key=lambda number: (number % 7, number))
    assert [deadlines.pop_due(1009.0) for _ in live] == [event(number) for number in live]


# --- deadlines of requests ------------------------------------------------------------------------


def test_a_deadline_comes_out_if_its_request_is_open_then() -> None:
    open_requests = {RequestId(1), RequestId(2), RequestId(3)}
    deadlines = Deadlines(open_requests)
    for number in open_requests:
        deadlines.set_deadline(number, 1000.0 + number)
    assert deadlines.next() == 1001.0
    open_requests.remove(RequestId(1))
    assert deadlines.next() == 1002.0
    assert [deadlines.pop_due(1009.0) for _ in range(3)] == [event(2), event(3), None]


def test_deadlines_and_alarms_come_out_in_one_order_and_deadlines_first() -> None:
    deadlines = Deadlines({RequestId(1), RequestId(3)})
    tried_in_vain = TryTimedOut(WorkerId("a", 1))
    deadlines.set(1003.0, tried_in_vain)
    deadlines.set(1002.0, tried_in_vain)
    deadlines.set_deadline(RequestId(3), 1003.0)
    deadlines.set_deadline(RequestId(1), 1001.0)
    assert [deadlines.pop_due(1002.5) for _ in range(3)] == [event(1), tried_in_vain, None]
    assert [deadlines.pop_due(1003.0) for _ in range(3)] == [event(3), tried_in_vain, None]


def test_many_open_requests_are_not_looked_through_for_each() -> None:
    class Looks(set[RequestId]):
        count = 0

        def __contains__(self, request: object) -> bool:
            self.count += 1
            return super().__contains__(request)

    open_requests = Looks()
    deadlines = Deadlines(open_requests)
    for number in range(20_000):
        open_requests.add(RequestId(number))
        deadlines.set_deadline(RequestId(number), 1000.0 + number)
    assert open_requests.count < 3 * 20_000


def test_a_hundred_thousand_deadlines_of_the_past_leave_nothing_behind() -> None:
    open_requests = {RequestId(number) for number in range(300)}
    deadlines = Deadlines(open_requests)
    tracemalloc.start()
    try:
        for number in range(300):
            deadlines.set_deadline(RequestId(number), 900_000.0 - number)
        before = tracemalloc.get_traced_memory()[0]
        for number in range(300, 100_300):
            deadlines.set_deadline(RequestId(number), 1000.0 + number)
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()
    expected = [event(number) for number in reversed(range(300))]
    assert [deadlines.pop_due(1_000_000.0) for _ in range(301)] == [*expected, None]
