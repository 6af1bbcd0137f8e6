"""The launcher's loop: descriptors, dates and signals."""

import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from workers.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    handler = signal.getsignal(signal.SIGUSR2)
    loop = Loop()
    yield loop
    loop.close()
    signal.signal(signal.SIGUSR2, handler)


def turn_until(loop: Loop, condition: Callable[[], object], timeout_s: float = 5.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        loop.turn()


def test_timers_come_in_the_order_of_their_dates(loop: Loop) -> None:
    heard: list[str] = []
    loop.after(0.03, lambda: heard.append("third"))
    loop.after(0.01, lambda: heard.append("first"))
    loop.after(0.01, lambda: heard.append("second"))
    turn_until(loop, lambda: len(heard) == 3)
    assert heard == ["first", "second", "third"]


def test_a_timer_is_not_early(loop: Loop) -> None:
    heard_at: list[float] = []
    set_at = time.monotonic()
    loop.after(0.05, lambda: heard_at.append(time.monotonic()))
    turn_until(loop, lambda: heard_at)
    assert heard_at[0] - set_at >= 0.05


def test_a_cancelled_timer_is_silent_and_nobody_waits_for_it(loop: Loop) -> None:
    heard: list[str] = []
    timer = loop.after(0.01, lambda: heard.append("cancelled"))
    timer.cancel()
    timer.cancel()
    loop.after(0.03, lambda: heard.append("the next"))
    turn_until(loop, lambda: heard)
    assert heard == ["the next"]


def test_a_timer_may_cancel_one_that_is_due_as_well(loop: Loop) -> None:
    heard: list[str] = []
    second = loop.after(0.01, lambda: heard.append("second"))

    def first() -> None:
        heard.append("first")
        second.cancel()

    loop.after(0.0, first)
    while time.monotonic() < second.when:
        pass  # until both are due
    loop.turn()
    assert heard == ["first"]


def test_a_signal_is_heard_on_the_loop(loop: Loop) -> None:
    heard: list[str] = []
    loop.on_signal(signal.SIGUSR2, lambda: heard.append("signal"))
    os.kill(os.getpid(), signal.SIGUSR2)
    assert heard == [], "not in the middle of anything"
    turn_until(loop, lambda: heard)


def test_a_signal_wakes_a_loop_that_waits(loop: Loop) -> None:
    heard: list[str] = []
    loop.on_signal(signal.SIGUSR2, lambda: heard.append("signal"))
    loop.on_signal(signal.SIGALRM, lambda: heard.append("alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    started_at = time.monotonic()
    turn_until(loop, lambda: heard)
    assert heard == ["alarm"]
    assert time.monotonic() - started_at < 2.0


def test_many_signals_of_one_kind_are_heard_at_least_once(loop: Loop) -> None:
    heard: list[str] = []
    loop.on_signal(signal.SIGUSR2, lambda: heard.append("signal"))
    for _ in range(1000):
        os.kill(os.getpid(), signal.SIGUSR2)
    turn_until(loop, lambda: heard)
    assert 1 <= len(heard) <= 1000


def test_a_descriptor_calls_its_callback(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        heard: list[bytes] = []
        loop.selector.register(ours, selectors.EVENT_READ, lambda: heard.append(ours.recv(10)))
        theirs.send(b"hello")
        turn_until(loop, lambda: heard)
        assert heard == [b"hello"]
        loop.selector.unregister(ours)


def test_what_another_callback_has_closed_is_left_alone(loop: Loop) -> None:
    """Both are readable in the same turn, and the first to be called closes the other."""
    pairs = [socket.socketpair() for _ in range(2)]
    heard: list[int] = []

    def close_other(own: int) -> None:
        heard.append(own)
        other = pairs[1 - own][0]
        loop.selector.unregister(other)
        other.close()

    for own in range(2):
        loop.selector.register(
            pairs[own][0], selectors.EVENT_READ, lambda own=own: close_other(own)
        )
        pairs[own][1].send(b"x")
    loop.turn()
    assert len(heard) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_descriptor_that_comes_back_in_the_same_turn_is_somebody_elses(loop: Loop) -> None:
    """Closed and opened anew under the same number: the news was not for the new one."""
    pairs = [socket.socketpair() for _ in range(2)]
    heard: list[str] = []
    fresh: list[tuple[socket.socket, socket.socket]] = []

    def replace_other(own: int) -> None:
        heard.append("old")
        other = pairs[1 - own][0]
        number = other.fileno()
        loop.selector.unregister(other)
        other.close()
        fresh.append(socket.socketpair())
        assert number in (fresh[0][0].fileno(), fresh[0][1].fileno())
        same = fresh[0][0] if fresh[0][0].fileno() == number else fresh[0][1]
        loop.selector.register(same, selectors.EVENT_READ, lambda: heard.append("new"))

    for own in range(2):
        loop.selector.register(
            pairs[own][0], selectors.EVENT_READ, lambda own=own: replace_other(own)
        )
        pairs[own][1].send(b"x")
    loop.turn()
    assert heard == ["old"]
    for pair in [*pairs, *fresh]:
        for end in pair:
            end.close()
