"""A selector that can wait for some of its descriptors alone, while the others can wait."""

import math
import os
import select
import selectors
import sys
from collections.abc import Callable, Mapping
from typing import Any


class PatientSelector(selectors.BaseSelector):
    """Every descriptor is in one selector, with a callback as its key's data; those that cannot
    wait are in a second one, too: to leave the others aside costs no system call."""

    def __init__(self) -> None:
        self._all = selectors.DefaultSelector()
        self._urgent = selectors.DefaultSelector()
        # It is a descriptor itself: to ask that one costs less than half of asking who it is.
        self._alarm = select.poll()
        self._alarm.register(self._urgent, select.POLLIN)
        self._callbacks: dict[int, Callable[[], object]] = {}
        if sys.platform == "linux":
            self._of_all = select.epoll.fromfd(os.dup(self._all.fileno()))
            self._of_urgent = select.epoll.fromfd(os.dup(self._urgent.fileno()))

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._urgent.register(fileobj, events, data)
        return self.register_patient(fileobj, events, data)

    def register_patient(self, fileobj: Any, events: int, data: Any) -> selectors.SelectorKey:
        """It can wait: ``nap`` does not look at it, nor who asks for the urgent ones only."""
        key = self._all.register(fileobj, events, data)
        self._callbacks[key.fd] = data
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        if fileobj in self._urgent.get_map():
            self._urgent.unregister(fileobj)
        key = self._all.unregister(fileobj)
        del self._callbacks[key.fd]
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if fileobj in self._urgent.get_map():
            self._urgent.modify(fileobj, events, data)
        key = self._all.modify(fileobj, events, data)
        self._callbacks[key.fd] = data
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._all.select(timeout)

    def call_back(self, timeout_s: float | None, *, urgent_only: bool = False) -> bool:
        """Wait for news, and call back each of those that have some, or of those among them that
        cannot wait; whether there were any. ``select`` would make a key and a pair for each."""
        callbacks = self._callbacks
        if sys.platform == "linux":
            epoll = self._of_urgent if urgent_only else self._of_all
            news = epoll.poll(timeout_s, len(callbacks) or 1)
        else:
            selector = self._urgent if urgent_only else self._all
            news = [(key.fd, events) for key, events in selector.select(timeout_s)]
        for descriptor, _ in news:
            callback = callbacks.get(descriptor)
            if callback is not None:  # not unregistered by one before it
                callback()
        return bool(news)

    def nap(self, timeout_s: float) -> bool:
        """Whether there is news of one that cannot wait; ``call_back`` tells of whom."""
        return bool(self._alarm.poll(math.ceil(timeout_s * 1000)))

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._all.get_map()

    def close(self) -> None:
        if sys.platform == "linux":
            self._of_all.close()
            self._of_urgent.close()
        self._urgent.close()
        self._all.close()
