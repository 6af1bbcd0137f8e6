"""The launcher's loop: descriptors, dates and signals, each with the callback it brings."""

import heapq
import selectors
import signal
import socket
import time
from collections.abc import Callable
from itertools import count


class Timer:
    """A date in the loop; ``cancel`` it as often as you like."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """Selector keys carry their callback as data. One thread, the main one: signals arrive here."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._signal_handlers: dict[int, Callable[[], None]] = {}
        self._signals, wake_up = socket.socketpair()
        self._signals.setblocking(False)
        wake_up.setblocking(False)
        signal.set_wakeup_fd(wake_up.fileno(), warn_on_full_buffer=False)
        self._wake_up = wake_up
        self.selector.register(self._signals, selectors.EVENT_READ, self._read_signals)

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call back on the loop, not in the middle of whatever the signal interrupts."""
        self._signal_handlers[number] = callback
        signal.signal(number, lambda *_: None)

    def after(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(time.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, (timer.when, next(self._numbers), timer))
        return timer

    def turn(self) -> None:
        """Wait for the next thing to happen and see to it."""
        for key, _ in self.selector.select(self._patience_s()):
            if self._is_registered(key):
                key.data()
        while self._timers and self._timers[0][0] <= time.monotonic():
            timer = heapq.heappop(self._timers)[2]
            if timer.callback is not None:
                timer.callback()

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self.selector.close()
        self._signals.close()
        self._wake_up.close()

    def _is_registered(self, key: selectors.SelectorKey) -> bool:
        """Whether it still is: what was seen to earlier in this turn may have closed it."""
        registered = self.selector.get_map().get(key.fd)
        return registered is not None and registered.fileobj is key.fileobj

    def _patience_s(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _read_signals(self) -> None:
        for number in dict.fromkeys(self._signals.recv(4096)):
            if number in self._signal_handlers:
                self._signal_handlers[number]()
