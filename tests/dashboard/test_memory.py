"""What the dashboard remembers, and that it forgets the rest."""

import copy
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
    clock.now += 1
    point = memory.note_status(answered(30))
    assert point is not None
    assert point.answers_per_s == 20


def test_a_balancer_that_does_not_answer_is_a_gap(memory: Memory, clock: Clock) -> None:
    memory.note_status(answered(0))
    clock.now += 1
    for number in (10, 30):
        assert memory.note_status(answered(number)) is not None
        clock.now += 1
    assert memory.note_status({**answered(0), "totals": {}, "pools": []}) is None
    assert [point["answers_per_s"] for point in memory.points] == [10.0, 20.0]


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


@pytest.mark.parametrize("field", ["time", "source", "text"])
def test_a_line_is_news_if_its_time_its_source_or_its_text_is(memory: Memory, field: str) -> None:
    memory.note_event(event(1))
    memory.note_replay()
    assert memory.note_event(event(1) | {field: "another"}) is not None


def test_empty_replies_do_not_wash_away_what_happened_to_a_worker(memory: Memory) -> None:
    memory.note_event(event(0, worker="w-1", event="died"))
    for number in range(1, 100):
        memory.note_event(event(number, worker="w-1", event="try_failed", why="empty"))
    memory.note_event(event(100, worker="w-1", event="try_failed", why="timeout"))
    told = memory.worker("w-1") or {}
    assert [one["text"] for one in told["events"]] == ["line 0", "line 100"]
    assert memory.feed[-2]["text"] == "line 99"


def test_a_worker_to_which_nothing_happened_is_told_of_and_one_that_is_gone(
    memory: Memory,
) -> None:
    memory.note_status(answered(0))
    quiet = memory.worker("slow-1") or {}
    assert (quiet["worker"]["name"], quiet["events"], quiet["stack"]) == ("slow-1", [], "")
    memory.note_event(event(1, worker="gone-1"))
    gone = memory.worker("gone-1") or {}
    assert (gone["worker"], len(gone["events"]), gone["stack"]) == (None, 1, "")


def test_a_stack_is_harmless_that_is_the_text_of_an_event_or_in_the_status(memory: Memory) -> None:
    memory.note_event(event(1, worker="w-1", event="stack") | {"text": "hangs\x1b[2J\n  line 3"})
    assert (memory.worker("w-1") or {})["stack"] == "hangs\\u001b[2J\n  line 3"
    memory.note_status(status("memory", worker("w-1", stack="still\x1b[2J")))
    assert (memory.worker("w-1") or {})["stack"] == "still\\u001b[2J"


def test_all_that_a_status_says_is_shown_but_stacks_and_what_nobody_decided_to_show(
    memory: Memory,
) -> None:
    found = status("memory", worker("slow-1", stack="a stack"), worker("quick-1"))
    expected = copy.deepcopy(found)
    del expected["op"]
    for row in expected["workers"]:
        del row["stack"]
    for part in (found["cluster"], found["queue"], found["totals"], *found["workers"]):
        part["body"] = "secret"
    memory.note_status(found)
    assert memory.status == expected


def test_of_an_event_all_is_shown_that_was_decided_to_be(memory: Memory) -> None:
    words = dict.fromkeys(("level", "event", "worker", "request", "why", "reason", "by"), "word")
    told = event(1, **words, **dict.fromkeys(("status", "ms", "attempts", "pid"), 1))
    del told["op"]
    assert memory.note_event({**told, "body": "secret", "op": "event"}) == told


def test_of_a_text_without_end_16_kib_are_kept(memory: Memory) -> None:
    shown = memory.note_event(event(1, worker="w-1", stack="x" * 100_000) | {"text": "y" * 100_000})
    assert shown is not None
    assert shown["text"] == "y" * 16 * 1024
    assert (memory.worker("w-1") or {})["stack"] == "x" * 16 * 1024


def test_workers_of_the_past_are_forgotten_in_the_end(memory: Memory) -> None:
    for number in range(6000):
        memory.note_event(event(number, worker=f"w-{number}"))
    assert memory.worker("w-0") is None
    assert memory.worker("w-5999") is not None
