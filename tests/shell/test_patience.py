"""Who has news, and who may wait; what is unregistered leaves nothing behind."""

import socket
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing
from selectors import EVENT_READ, EVENT_WRITE

import pytest

from balancer.patience import PatientSelector
from tests.shell.peers import descriptors

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Ends]]:
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(3)]
        for pair in made:
            for end in pair:
                stack.enter_context(end)
        yield made


def test_all_with_news_are_told_in_one_go_and_the_urgent_ones_alone(pairs: list[Ends]) -> None:
    with closing(PatientSelector()) as selector:
        for number, (near, _) in enumerate(pairs):
            register = selector.register if number else selector.register_patient
            register(near, EVENT_READ, number)
            assert (selector.ready(0), selector.ready_urgent(0)) == ([], [])
            assert not selector.nap(0)
        pairs[0][1].send(b"x")
        assert (selector.ready(0), selector.ready_urgent(0)) == ([0], [])
        assert not selector.nap(0)
        for _, far in pairs[1:]:
            far.send(b"x")
        assert (sorted(selector.ready(0)), sorted(selector.ready_urgent(0))) == ([0, 1, 2], [1, 2])
        assert selector.nap(0)
        assert sorted(key.data for key, _ in selector.select(0)) == [0, 1, 2]


@pytest.mark.parametrize("method", ["register", "register_patient"])
def test_what_is_registered_may_change_and_leaves_nothing_behind(
    pairs: list[Ends], method: str
) -> None:
    def note() -> None:
        pass

    near, _ = pairs[0]
    with closing(PatientSelector()) as selector:
        getattr(selector, method)(near, EVENT_READ, note)
        assert selector.ready(0) == []
        selector.modify(near, EVENT_WRITE, "writable")
        assert selector.ready(0) == ["writable"]
        selector.modify(near, EVENT_READ, note)
        selector.unregister(near)
        assert (selector.ready(0), selector.ready_urgent(0)) == ([], [])
        kept = weakref.ref(note)
        del note
        assert kept() is None


def test_it_takes_no_descriptor_with_it() -> None:
    before = descriptors()
    PatientSelector().close()
    assert descriptors() == before
