"""A selector that can wait for some of its descriptors alone, while the others can wait."""

import math
import os
import select
import selectors
import sys
from collections.abc import Mapping
from typing import Any


class PatientSelector(selectors.BaseSelector):
    """Every descriptor is in one selector, those that cannot wait are in a second one, too: to
    leave the others aside costs no system call."""

    def __init__(self) -> None:
        self._all = selectors.DefaultSelector()
        self._urgent = selectors.DefaultSelector()
        # It is a descriptor itself: to ask that one costs less than half of asking who it is.
        self._alarm = select.poll()
        self._alarm.register(self._urgent, select.POLLIN)
        self._data: dict[int, Any] = {}
        if sys.platform == "linux":
            self._of_all = select.epoll.fromfd(os.dup(self._all.fileno()))
            self._of_urgent = select.epoll.fromfd(os.dup(self._urgent.fileno()))

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._urgent.register(fileobj, events, data)
        return self.register_patient(fileobj, events, data)

    def register_patient(self, fileobj: Any, events: int, data: Any) -> selectors.SelectorKey:
        """It can wait: neither ``nap`` nor ``ready_urgent`` looks at it."""
        key = self._all.register(fileobj, events, data)
        self._data[key.fd] = data
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        if fileobj in self._urgent.get_map():
            self._urgent.unregister(fileobj)
        key = self._all.unregister(fileobj)
        del self._data[key.fd]
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if fileobj in self._urgent.get_map():
            self._urgent.modify(fileobj, events, data)
        key = self._all.modify(fileobj, events, data)
        self._data[key.fd] = data
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._all.select(timeout)

    def ready(self, timeout_s: float | None) -> list[Any]:
        """The data of those with news, which ``select`` tells with a key and a pair for each."""
        if sys.platform == "linux":
            data = self._data
            return [data[fd] for fd, _ in self._of_all.poll(timeout_s, len(data) or 1)]
        return [key.data for key, _ in self._all.select(timeout_s)]

    def ready_urgent(self, timeout_s: float) -> list[Any]:
        """As ``ready``, of those that cannot wait."""
        if sys.platform == "linux":
            data = self._data
            return [data[fd] for fd, _ in self._of_urgent.poll(timeout_s, len(data) or 1)]
        return [key.data for key, _ in self._urgent.select(timeout_s)]

    def nap(self, timeout_s: float) -> bool:
        """Whether there is news of one that cannot wait; ``ready`` tells of whom."""
        return bool(self._alarm.poll(math.ceil(timeout_s * 1000)))

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._all.get_map()

    def close(self) -> None:
        if sys.platform == "linux":
            self._of_all.close()
            self._of_urgent.close()
        self._urgent.close()
        self._all.close()
