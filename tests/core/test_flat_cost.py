"""What a request costs does not grow with who or what else there is: by the calls it takes."""

import subprocess
import sys
from types import FrameType
from typing import Any

import pytest

from balancer.core.events import Batching, Event, RequestsArrived
from tests.cluster.running import PROJECT
from tests.core.story import Story, answer, request
from tests.plain import needs_plain_python

FEW, MANY = 4, 256


def calls(story: Story, *events: Event) -> int:
    """How many functions the core calls to make up its mind."""
    count = 0

    def note(frame: FrameType, what: str, _: Any) -> None:
        nonlocal count
        count += what == "call" and "/core/" in frame.f_code.co_filename

    sys.setprofile(note)
    try:
        for event in events:
            story.core.step(event, story.now)
    finally:
        sys.setprofile(None)
    return count


def workers(count: int, **limits: Any) -> Story:
    """They know batches, are quick, and have nothing to do."""
    names = [f"w{number}" for number in range(count)]
    story = Story(*names, batching=Batching.EACH, **limits)
    story.know(0.00001)
    return story


TOGETHER = RequestsArrived((request(1), request(2)))


@needs_plain_python
@pytest.mark.parametrize("batch_max", [1, 32])
@pytest.mark.parametrize("arrival", [request(1), TOGETHER], ids=["alone", "together"])
def test_it_does_not_grow_with_workers_that_are_idle(batch_max: int, arrival: Event) -> None:
    few, many = (calls(workers(n, batch_max=batch_max), arrival) for n in (FEW, MANY))
    assert 0 < many <= few


@needs_plain_python
@pytest.mark.parametrize("batch_max", [1, 32])
def test_it_does_not_grow_with_those_that_wait(batch_max: int) -> None:
    """As many go along as may; those behind them are not looked at."""
    costs = []
    for waiting in (100, 1000):
        story = workers(1, batch_max=batch_max)
        for number in range(waiting):
            story.at(story.now, request(number))
        costs.append(calls(story, request(5000)))
        story.at(story.now, answer("w0", took_s=0.0001))
        costs[-1] += calls(story, answer("w0"))
    assert 0 < costs[1] <= costs[0]


@needs_plain_python
def test_where_nobody_is_free_is_found_out_once_for_all_that_come_together() -> None:
    story = workers(1)
    story.at(story.now, request(1))
    many = RequestsArrived(tuple(map(request, range(10, 42))))
    one_by_one = workers(1)
    one_by_one.at(one_by_one.now, request(1))
    assert calls(story, many) < calls(one_by_one, *many.arrivals) - 3 * len(many.arrivals)


BATCHES = """
import sys
from itertools import count
from balancer.core.events import Batching, Outcome
from tests.cluster.running import PROJECT
from tests.core.story import Story, answer, replies, request

story = Story("a", batching=Batching.EACH, batch_max=16)
numbers = count(1)

def play(rounds):
    for size in [2 + number % 15 for number in range(rounds)]:
        story.at(story.now, *[request(next(numbers)) for _ in range(1 + size)])
        story.at(story.now + 0.0001, answer("a", took_s=0.00001))
        story.at(story.now + 0.0001, replies("a", *[Outcome.ANSWER] * size))
        assert not story.core.open_requests
    story.actions.clear()
    return sys.getallocatedblocks()

print(play(300), play(2000))
"""


def test_of_requests_that_are_over_nothing_is_kept() -> None:
    """Nor by Python: a tuple that a generator fills leaves one of another length for others."""
    done = subprocess.run(
        [sys.executable, "-c", BATCHES], cwd=PROJECT, capture_output=True, check=True
    )
    before, after = map(int, done.stdout.split())
    assert after < before + 500
