"""The line that moves while a load runs, on a terminal only."""

import os
from typing import TextIO

from balancer.bench.tally import Tally
from balancer.bench.text import bar, number

BAR_COLUMNS = 20
DRAW_EVERY_S = 0.2
_CLEAR = "\r\x1b[K"


class Progress:
    """Draws over itself and leaves nothing behind; silent where ``stream`` is no terminal."""

    def __init__(self, stream: TextIO, duration_s: float) -> None:
        self._stream = stream
        self._duration_s = duration_s
        self._is_shown = stream.isatty()
        self._drawn_at_s = 0.0
        self._answered_then = 0

    def draw(self, now_s: float, tally: Tally) -> None:
        since_s = now_s - self._drawn_at_s
        if self._is_shown and since_s >= DRAW_EVERY_S:
            rate_per_s = (tally.answered - self._answered_then) / since_s
            self._drawn_at_s, self._answered_then = now_s, tally.answered
            line = progress_line(now_s, self._duration_s, tally, rate_per_s)
            self._write(_CLEAR + line[: self._columns() - 1])

    def clear(self) -> None:
        if self._is_shown:
            self._write(_CLEAR)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def progress_line(now_s: float, duration_s: float, tally: Tally, rate_per_s: float) -> str:
    """What is done, how fast, and what went wrong, errors before the end of a narrow terminal."""
    done_s = min(now_s, duration_s)
    parts = [
        f"▕{bar(done_s, duration_s, BAR_COLUMNS):<{BAR_COLUMNS}}▏{done_s:.1f}/{duration_s:g} s",
        f"{number(tally.answered)} answers",
        f"{number(round(rate_per_s))}/s",
        f"{number(tally.failed.count)} failed",
    ]
    if tally.kills:
        parts.append(f"{number(tally.kills)} killed")
    if now_s > duration_s and tally.open_now:
        parts.append(f"waiting for {number(tally.open_now)}")
    return "  ".join(parts)
