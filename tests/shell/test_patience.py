"""Who has news, and who may wait; what is unregistered leaves nothing behind."""

import socket
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
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


class Called(list[str]):
    """Who was called back, in alphabetical order."""

    def by(self, selector: PatientSelector, *, urgent_only: bool = False) -> list[str]:
        self.clear()
        has_news = selector.call_back(0, urgent_only=urgent_only)
        assert has_news == bool(self)
        return sorted(self)


def test_all_with_news_are_called_back_and_the_urgent_ones_alone(pairs: list[Ends]) -> None:
    called = Called()
    with closing(PatientSelector()) as selector:
        for name, (near, _) in zip("abc", pairs, strict=True):
            register = selector.register_patient if name == "a" else selector.register
            register(near, EVENT_READ, partial(called.append, name))
            assert called.by(selector) == called.by(selector, urgent_only=True) == []
            assert not selector.nap(0)
        pairs[0][1].send(b"x")
        assert (called.by(selector), called.by(selector, urgent_only=True)) == (["a"], [])
        assert not selector.nap(0)
        for _, far in pairs[1:]:
            far.send(b"x")
        assert called.by(selector) == ["a", "b", "c"]
        assert called.by(selector, urgent_only=True) == ["b", "c"]
        assert selector.nap(0)
        assert {key.fd for key, _ in selector.select(0)} == {near.fileno() for near, _ in pairs}


def test_who_is_unregistered_meanwhile_is_not_called_back(pairs: list[Ends]) -> None:
    called: list[socket.socket] = []
    with closing(PatientSelector()) as selector:

        def end_all_others(near: socket.socket) -> None:
            called.append(near)
            for other, _ in pairs:
                if other is not near:
                    selector.unregister(other)

        for near, far in pairs:
            selector.register(near, EVENT_READ, partial(end_all_others, near))
            far.send(b"x")
        assert selector.call_back(0)
        assert len(called) == 1


@pytest.mark.parametrize("method", ["register", "register_patient"])
def test_what_is_registered_may_change_and_leaves_nothing_behind(
    pairs: list[Ends], method: str
) -> None:
    called = Called()

    def note() -> None:
        called.append("readable")

    near, _ = pairs[0]
    with closing(PatientSelector()) as selector:
        getattr(selector, method)(near, EVENT_READ, note)
        assert called.by(selector) == []
        selector.modify(near, EVENT_WRITE, partial(called.append, "writable"))
        assert called.by(selector) == ["writable"]
        selector.modify(near, EVENT_READ, note)
        selector.unregister(near)
        assert called.by(selector) == called.by(selector, urgent_only=True) == []
        kept = weakref.ref(note)
        del note
        assert kept() is None


def test_it_takes_no_descriptor_with_it() -> None:
    before = descriptors()
    PatientSelector().close()
    assert descriptors() == before
