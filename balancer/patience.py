"""A selector that can wait for some of its descriptors alone, while the others can wait."""

import math
import selectors
from collections.abc import Mapping
from select import POLLIN, poll
from typing import Any


class PatientSelector(selectors.BaseSelector):
    """Every descriptor is in one selector, those that cannot wait are in a second one, too: to
    leave the others aside costs no system call."""

    def __init__(self) -> None:
        self._all = selectors.DefaultSelector()
        self._urgent = selectors.DefaultSelector()
        # It is a descriptor itself: to ask that one costs less than half of asking who it is.
        self._alarm = poll()
        self._alarm.register(self._urgent, POLLIN)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._urgent.register(fileobj, events, data)
        return self._all.register(fileobj, events, data)

    def register_patient(self, fileobj: Any, events: int, data: Any) -> None:
        """It can wait: ``nap`` does not look at it."""
        self._all.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        if fileobj in self._urgent.get_map():
            self._urgent.unregister(fileobj)
        return self._all.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if fileobj in self._urgent.get_map():
            self._urgent.modify(fileobj, events, data)
        return self._all.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return self._all.select(timeout)

    def nap(self, timeout_s: float) -> bool:
        """Whether there is news of one that cannot wait; ``select`` tells of whom."""
        return bool(self._alarm.poll(math.ceil(timeout_s * 1000)))

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._all.get_map()

    def close(self) -> None:
        self._urgent.close()
        self._all.close()
