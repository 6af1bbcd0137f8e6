"""What the dashboard remembers, and that it forgets the rest."""

from typing import Any

import pytest

from balancer.dashboard.memory import Memory
from tests.shell.fake_cluster import status, worker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def memory(clock: Clock) -> Memory:
    return Memory(clock, clock)


def answered(number: int) -> dict[str, Any]:
    found = status("memory", worker("slow-1"))
    found["totals"].update(requests=number, answered=number, by_status={"200": number})
    return found


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {"op": "event", "time": str(number), "source": "x", "text": f"line {number}", **fields}


def test_points_are_a_second_apart_however_often_it_is_asked(memory: Memory, clock: Clock) -> None:
    for number in range(50):
        memory.note_status(answered(number * 2))
        clock.now += 0.2
    assert 8 <= len(memory.points) <= 10
    assert all(point["answers_per_s"] == pytest.approx(10) for point in memory.points)


def test_a_point_is_told_once(memory: Memory, clock: Clock) -> None:
    assert memory.note_status(answered(0)) is None
    clock.now += 0.2
    assert memory.note_status(answered(1)) is None
    clock.now += 0.8
    point = memory.note_status(answered(10))
    assert point is not None
    assert point.answers_per_s == 10


def test_a_balancer_that_does_not_answer_is_a_gap(memory: Memory, clock: Clock) -> None:
    memory.note_status(answered(0))
    clock.now += 1
    assert memory.note_status({**answered(0), "totals": {}, "pools": []}) is None
    assert memory.points == []


def test_an_old_status_is_none(memory: Memory, clock: Clock) -> None:
    memory.note_status(answered(0))
    clock.now += 2.9
    assert memory.status is not None
    clock.now += 0.2
    assert memory.status is None
    assert memory.last_known is not None
    memory.note_status(answered(0))
    memory.note_silence()
    assert memory.status is None


def test_the_feed_has_a_limit(memory: Memory) -> None:
    for number in range(1200):
        memory.note_event(event(number, worker=f"w-{number % 3}"))
    assert [one["text"] for one in memory.feed] == [f"line {n}" for n in range(700, 1200)]
    told = memory.worker("w-0")
    assert told is not None
    assert len(told["events"]) == 50


def test_what_is_told_again_is_no_news(memory: Memory) -> None:
    for number in range(3):
        assert memory.note_event(event(number)) is not None
    assert memory.note_event(event(2)) is not None, "two lines may be alike"
    memory.note_replay()
    assert [memory.note_event(event(number)) is None for number in range(5)] == [
        *(True, True, True),
        *(False, False),
    ]


def test_stacks_come_with_the_status_and_with_events_and_stay(memory: Memory) -> None:
    found = answered(0)
    found["workers"][0]["stack"] = "from the status"
    memory.note_status(found)
    memory.note_status(answered(0))
    assert (memory.worker("slow-1") or {})["stack"] == "from the status"
    memory.note_event(event(1, worker="slow-1", event="hung", stack="from an event"))
    assert (memory.worker("slow-1") or {})["stack"] == "from an event"
    assert memory.worker("nobody") is None


def test_workers_of_the_past_are_forgotten_in_the_end(memory: Memory) -> None:
    for number in range(6000):
        memory.note_event(event(number, worker=f"w-{number}"))
    assert memory.worker("w-0") is None
    assert memory.worker("w-5999") is not None
