"""The loop of a bench against a balancer that answers late, not at all, or is not there."""

import threading
from time import monotonic

from balancer.bench.load import Load
from balancer.bench.plan import Plan
from balancer.bench.schedule import Schedule, schedule_of
from balancer.bench.tally import Tally
from balancer.wire.requests import encode_payload
from tests.shell.fake_balancer import (
    Answer,
    Asked,
    FakeBalancer,
    Later,
    answered,
    balancing,
    free_port,
    silence,
)


class Bench:
    """A load that has run, or is about to."""

    def __init__(
        self,
        address: str,
        duration_s: float = 0.5,
        timeout_s: float = 5.0,
        concurrency: int = 8,
        rate_per_s: float | None = None,
    ) -> None:
        plan = Plan(encode_payload("hello"), duration_s, timeout_s, concurrency, rate_per_s)
        self.schedule: Schedule = schedule_of(plan)
        self.tally = Tally(duration_s)
        self.ticks: list[float] = []
        self.load = Load(address, plan, self.schedule, self.tally, monotonic())

    def run(self) -> float:
        return self.load.run(self.ticks.append)


def slowly(asked: Asked) -> Answer:
    return Later(0.05, answered(asked.payload))


def test_a_closed_loop_keeps_so_many_open_and_counts_what_the_balancer_saw() -> None:
    with balancing(slowly) as up:
        bench = Bench(up.address, concurrency=4)
        took_s = bench.run()
    tally = bench.tally
    assert up.most_open == 4
    assert {asked.payload for asked in up.asked} == {"hello"}
    assert tally.sent == tally.answered == tally.ok.count == len(up.asked)
    assert 4 * 5 <= tally.sent <= 4 * 11
    assert 0.5 <= took_s < 1.0
    assert tally.ok.percentiles_s((0.001,))[0] >= 0.05


def test_an_open_loop_sends_on_time_whatever_is_open() -> None:
    with balancing(slowly) as up:
        bench = Bench(up.address, rate_per_s=200.0)
        bench.run()
    assert bench.tally.sent == len(up.asked) == 100
    assert 5 <= up.most_open <= 60  # 200 a second that take 50 ms are 10
    assert 0.4 < up.asked[-1].at - up.asked[0].at < 0.7


def test_a_sender_that_is_held_up_counts_from_the_schedule() -> None:
    """Here by its own tick; the latencies must show all of it."""
    with balancing() as up:
        bench = Bench(up.address, rate_per_s=100.0)
        held_up_s = 0.2

        def hold_up(now_s: float) -> None:
            if now_s > 0.15 and not bench.ticks:
                bench.ticks.append(now_s)
                threading.Event().wait(held_up_s)

        bench.load.run(hold_up)
    [p70, p99] = bench.tally.ok.percentiles_s((0.7, 0.99))
    assert bench.tally.sent == len(up.asked) == 50
    assert p70 > 0.03  # those due in the 200 ms are 20 of 50
    assert p99 > 0.15


def test_the_time_of_a_request_ends_and_is_counted_as_no_answer() -> None:
    with balancing(silence) as up:
        bench = Bench(up.address, duration_s=0.3, timeout_s=0.2, concurrency=3)
        took_s = bench.run()
    tally = bench.tally
    assert tally.answered == 0
    assert tally.unanswered == {"deadline": tally.sent}
    assert tally.sent >= 3
    assert tally.failed.max_s >= 0.2
    assert took_s < 1.5
    assert not bench.load.is_nobody_there


def test_nobody_there_ends_it_with_the_time_of_the_first_request() -> None:
    bench = Bench(f"tcp://127.0.0.1:{free_port()}", duration_s=30.0, timeout_s=0.3)
    assert bench.run() < 3.0
    assert bench.load.is_nobody_there


def test_a_balancer_that_comes_back_is_sent_again_what_it_owes() -> None:
    up = FakeBalancer(silence)
    bench = Bench(up.address, duration_s=1.0, concurrency=4)
    running = threading.Thread(target=bench.run)
    running.start()
    up.wait_for(4)
    up.stop()
    with balancing(port=up.port):
        running.join(10.0)
    assert bench.tally.sent == bench.tally.ok.count > 4


def test_a_load_that_is_stopped_counts_what_was_open() -> None:
    with balancing(silence) as up:
        bench = Bench(up.address, duration_s=60.0, concurrency=5)
        running = threading.Thread(target=bench.run)
        running.start()
        up.wait_for(5)
        bench.load.stop()
        running.join(1.0)
        assert not running.is_alive()
    assert bench.tally.unanswered == {"interrupted": 5}


def test_it_ticks_while_it_waits_for_answers() -> None:
    with balancing(silence) as up:
        bench = Bench(up.address, duration_s=0.1, timeout_s=0.6, concurrency=1)
        bench.run()
    assert 3 <= len(bench.ticks) <= 9
