"""The loop of top: what comes from the cluster, the keyboard and the system, and what is drawn."""

import os
import selectors
import signal
import sys
import time
from io import StringIO

from rich.console import Console, ConsoleDimensions

from balancer.top.contact import Contact
from balancer.top.interruptions import ENDS, Interruptions, suspend
from balancer.top.keys import Decoder
from balancer.top.model import Model
from balancer.top.screen import render
from balancer.top.terminal import Terminal

ESCAPE_S = 0.05
"""A terminal sends the rest of a key within that."""
DRAW_EVERY_S = 0.05
"""Not more often, however many events come."""
AGE_EVERY = 1.25
"""Nor more seldom than so many intervals."""
_HUNG_UP = 128 + signal.SIGHUP


def run(name: str, interval_s: float) -> int:
    """Show the cluster until the person quits; returns the exit code."""
    interruptions = Interruptions()
    terminal = Terminal(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        terminal.enter()
        return View(name, interval_s, terminal, interruptions).run()
    finally:
        terminal.leave()
        interruptions.close()


class View:
    def __init__(
        self, name: str, interval_s: float, terminal: Terminal, interruptions: Interruptions
    ) -> None:
        self._terminal = terminal
        self._interruptions = interruptions
        self._selector = selectors.DefaultSelector()
        self._model = Model(name, interval_s)
        self._contact = Contact(self._model, self._selector, time.monotonic)
        self._keys = Decoder()
        self._console = Console(
            file=StringIO(), force_terminal=True, legacy_windows=False, highlight=False
        )
        self._exit_code: int | None = None
        self._ask_at = self._draw_at = self._age_at = self._escape_at = 0.0
        self._is_stale = True
        """Something has happened that is not drawn yet."""

    def run(self) -> int:
        """Until somebody wants it to end."""
        self._selector.register(self._terminal.input_fd, selectors.EVENT_READ, self._on_input)
        self._selector.register(self._interruptions, selectors.EVENT_READ, self._on_signals)
        while self._exit_code is None:
            self._do_what_is_due()
            for key, _ in self._wait():
                key.data()
                self._is_stale = True
        self._contact.close()
        self._selector.close()
        return self._exit_code

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        if self._keys.is_unfinished and now >= self._escape_at:
            self._press(self._keys.give_up_waiting())
        if now >= self._ask_at:
            self._ask_at = now + self._model.interval_s
            self._contact.ask()
        # Ages grow although nothing happens. Where the cluster answers, its answer comes before.
        self._is_stale |= now >= self._age_at
        if self._is_stale and now >= self._draw_at and not self._terminal.is_behind:
            self._draw_at, self._is_stale = now + DRAW_EVERY_S, False
            self._age_at = now + AGE_EVERY * self._model.interval_s
            self._draw()

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        """For whatever comes first: something to read, a terminal that can take more, a date."""
        dates = [self._ask_at]
        if self._keys.is_unfinished:
            dates.append(self._escape_at)
        if not self._terminal.is_behind:
            dates.append(self._draw_at if self._is_stale else self._age_at)
        patience_s = max(0.0, min(dates) - time.monotonic())
        if not self._terminal.is_behind:
            return self._selector.select(patience_s)
        output_fd, flush = self._terminal.output_fd, self._terminal.flush
        self._selector.register(output_fd, selectors.EVENT_WRITE, flush)
        try:
            return self._selector.select(patience_s)
        finally:
            self._selector.unregister(output_fd)

    def _on_input(self) -> None:
        try:
            data = os.read(self._terminal.input_fd, 4096)
        except OSError:
            data = b""
        if not data:
            self._exit_code = _HUNG_UP
        self._escape_at = time.monotonic() + ESCAPE_S
        self._press(self._keys.feed(data))

    def _press(self, keys: list[str]) -> None:
        for key in keys:
            order = self._model.note_key(time.monotonic(), key)
            if order is not None:
                self._contact.give(order)
        if self._model.has_quit:
            self._exit_code = 0
        self._draw_at = 0.0

    def _on_signals(self) -> None:
        for number in self._interruptions.read():
            if number in ENDS:
                self._exit_code = 128 + number
            elif number == signal.SIGTSTP:
                self._terminal.leave()
                suspend()
                self._terminal.enter()
            elif number == signal.SIGCONT:
                self._terminal.enter()
            elif number == signal.SIGWINCH:
                self._terminal.forget_shown()
        self._draw_at = 0.0

    def _draw(self) -> None:
        width, height = self._terminal.size()
        self._console.size = ConsoleDimensions(width, height)
        with self._console.capture() as capture:
            self._console.print(render(self._model, width, height, time.monotonic()))
        self._terminal.draw(capture.get().split("\n")[:height])
