"""The only writer of the log: lines from every process, one at a time, never waited for."""

import json
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any

from balancer.lifeline import own_descriptors
from balancer.printable import printable_block
from workers.feed import Feed

LINES_MAX = 10_000
LINE_CHARACTERS_MAX = 8192


class Console:
    """Writes to stderr from a thread of its own: a terminal or pipe that nobody reads must not
    stop the launcher. What does not fit is dropped, and counted in the next line that does.

    Nothing is written before ``release``: a start that fails for one clear reason says only that.
    """

    def __init__(self, log_format: str, descriptor: int | None = None) -> None:
        """Writes to stderr, or to the ``descriptor``."""
        self.feed = Feed()
        """Of all lines that have a field ``event``."""
        self._descriptor = _stderr() if descriptor is None else descriptor
        self._format = as_json if log_format == "json" else _as_text
        if log_format == "text" and _shows_colour(self._descriptor):
            self._format = _as_coloured_text
        self._lines: deque[str] = deque()
        self._dropped = 0
        self._wake = threading.Condition()
        self._is_held = True
        self._is_closing = False
        self._has_started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()
        self._has_started.wait()

    def write(self, source: str, text: str, level: str = "info", **fields: Any) -> None:
        """Log one line, or several if the text has several."""
        if "event" in fields:
            self.publish(source, text, level, **fields)
        line = self._format(source, text, level, fields)
        with self._wake:
            if len(self._lines) >= LINES_MAX:
                self._dropped += 1
                return
            if self._dropped:
                lost = f"{self._dropped} lines dropped: nobody reads this log"
                self._lines.append(self._format("cluster", lost, "warning", {}))
                self._dropped = 0
            self._lines.append(line)
            self._wake.notify()

    def publish(self, source: str, text: str, level: str = "info", **fields: Any) -> None:
        """Tell only those who watch."""
        self.feed.publish(_record(source, text, level, fields))

    def release(self) -> None:
        """Write what was held back, and from now on everything at once."""
        with self._wake:
            self._is_held = False
            self._wake.notify()

    def close(self, timeout_s: float) -> None:
        """Write what is left, unless it was never released, waiting at most so long."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        own_descriptors()
        # In the background of a terminal with `stty tostop` a write would bring us this signal,
        # which asks for a worker less, again and again; whoever blocks it may write (tty_ioctl(4)).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        self._has_started.set()
        self._write_lines()

    def _write_lines(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_work)
                if self._is_held or not self._lines:
                    return
                text = "".join(self._lines)
                self._lines.clear()
            try:
                _write_all(self._descriptor, text.encode(errors="backslashreplace"))
            except OSError:
                return  # nobody can read it any more

    def _has_work(self) -> bool:
        return self._is_closing or (bool(self._lines) and not self._is_held)


def _stderr() -> int:
    """Who starts us without one, as ``2>&-`` does, wants no log."""
    return os.open(os.devnull, os.O_WRONLY) if sys.stderr is None else sys.stderr.fileno()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # whoever shares it with us made it so; somebody may read on
            select.select([], [descriptor], [])


def _as_text(source: str, text: str, level: str, fields: dict[str, Any]) -> str:
    now = datetime.now().strftime("%H:%M:%S.%f")[:-3]
    lines = text.splitlines() or [""]
    return "".join(f"{now} {source:<11} {shortened(line)}\n" for line in lines)


_COLOURS = {"warning": "33", "error": "31"}
"""Yellow and red, by SGR (ECMA-48); what is in order keeps the terminal's own."""


def _as_coloured_text(source: str, text: str, level: str, fields: dict[str, Any]) -> str:
    plain = _as_text(source, text, level, fields)
    colour = _COLOURS.get(level)
    if colour is None:
        return plain
    return "".join(f"\x1b[{colour}m{line}\x1b[0m\n" for line in plain.splitlines())


def _shows_colour(descriptor: int) -> bool:
    """Only a terminal does, and only if its user has not said otherwise (https://no-color.org)."""
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return is_wanted and os.isatty(descriptor)


def as_json(source: str, text: str, level: str, fields: dict[str, Any]) -> str:
    return json.dumps(_record(source, text, level, fields)) + "\n"


def _record(source: str, text: str, level: str, fields: dict[str, Any]) -> dict[str, Any]:
    now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
    return {"time": now, "level": level, "source": source, "text": text, **fields}


def shortened(text: str) -> str:
    """A line as it goes to the log, whoever wrote it."""
    if len(text) > LINE_CHARACTERS_MAX:
        text = text[:LINE_CHARACTERS_MAX] + "…"
    return printable_block(text)
