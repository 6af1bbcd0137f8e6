"""Watching sockets: news that libzmq's descriptor swallows, and connections that come and go."""

import select
import time
from collections.abc import Iterator

import pytest
import zmq

from balancer.monitor import Monitor, has_message
from tests.shell.peers import PATIENCE_S, descriptors

Context = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Context]:
    with zmq.Context() as context:
        yield context


def wait_for(monitor: Monitor, event: int) -> int:
    """Read the monitor until it tells of this event; returns the event's value."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        for told, value in monitor.read():
            if told == event:
                return value
        select.select([monitor.fileno()], [], [], 0.1)
    raise AssertionError(f"event {event} was not told")


def test_a_message_is_seen_although_the_descriptor_is_silent(context: Context) -> None:
    """What a send swallows: the descriptor's news of a message that came before it."""
    with context.socket(zmq.DEALER) as one, context.socket(zmq.DEALER) as other:
        one.bind("inproc://pair")
        other.connect("inproc://pair")
        assert not has_message(one)
        other.send(b"1")
        other.send(b"2")
        one.send(b"a send")
        assert has_message(one)
        assert one.recv(zmq.NOBLOCK) == b"1"
        assert has_message(one)
        assert one.recv(zmq.NOBLOCK) == b"2"
        assert not has_message(one)


def test_connections_are_told_with_their_descriptors(context: Context) -> None:
    with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        monitor = Monitor(context, router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        router.bind("tcp://127.0.0.1:*")
        dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        accepted = wait_for(monitor, zmq.EVENT_ACCEPTED)
        dealer.close(0)
        assert wait_for(monitor, zmq.EVENT_DISCONNECTED) == accepted > 2
        monitor.close()


def test_only_the_events_that_were_asked_for_are_told(context: Context) -> None:
    with context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        monitor = Monitor(context, router, zmq.EVENT_DISCONNECTED)
        router.bind("tcp://127.0.0.1:*")
        dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        dealer.send(b"hello")
        assert router.poll(int(PATIENCE_S * 1000))
        assert list(monitor.read()) == []
        monitor.close()


def test_monitors_come_and_go_without_a_trace(context: Context) -> None:
    """Their addresses never collide, and closing one blocks nobody."""
    with context.socket(zmq.ROUTER) as router:
        router.bind("tcp://127.0.0.1:*")
        address = router.getsockopt_string(zmq.LAST_ENDPOINT)

        def cycle() -> None:
            with context.socket(zmq.DEALER) as dealer:
                monitor = Monitor(context, dealer, zmq.EVENT_ALL)
                dealer.connect(address)
                wait_for(monitor, zmq.EVENT_HANDSHAKE_SUCCEEDED)
                monitor.close()

        cycle()
        before = descriptors()
        for _ in range(100):
            cycle()
        deadline = time.monotonic() + PATIENCE_S
        while descriptors() > before + 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # libzmq closes behind our back
        assert descriptors() <= before + 3
