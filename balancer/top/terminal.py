"""The terminal while it is ours: keys come at once, and what is drawn is never waited for."""

import contextlib
import os
import select
import termios
import time

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[?2004h\x1b[H\x1b[2J"
"""Another screen, no cursor, no line that runs over into the next, and pastes are marked."""
_LEAVE = "\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"
LEAVE_TIMEOUT_S = 1.0


class Terminal:
    """``enter`` and ``leave`` may come in turns; ``leave`` gives it back as it was found."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        self.input_fd = input_fd
        self.output_fd = _opened_anew(output_fd)
        self._found = termios.tcgetattr(input_fd)
        self._is_ours = False
        self._unwritten = b""
        self._shown: list[str] = []

    @property
    def is_behind(self) -> bool:
        """Whether it has not taken yet what was drawn; ``flush`` once it can take more."""
        return bool(self._unwritten)

    def size(self) -> tuple[int, int]:
        """Columns and lines; a terminal that does not know says 0, or nothing if it is gone."""
        columns = lines = 0
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(self.output_fd)
        return columns or 80, lines or 24

    def enter(self) -> None:
        ours = termios.tcgetattr(self.input_fd)
        # No waiting for the end of a line, no echo; Ctrl-C and Ctrl-Z stay signals.
        ours[3] &= ~(termios.ICANON | termios.ECHO)
        ours[6][termios.VMIN], ours[6][termios.VTIME] = 1, 0
        self._is_ours = True
        termios.tcsetattr(self.input_fd, termios.TCSANOW, ours)
        self._shown = []
        self._write(_ENTER)

    def leave(self) -> None:
        """Idempotent. A terminal that takes nothing, or is gone, is not waited for."""
        if not self._is_ours:
            return
        self._is_ours = False
        with contextlib.suppress(OSError, termios.error):
            self._write(_LEAVE)
            give_up_at = time.monotonic() + LEAVE_TIMEOUT_S
            while self._unwritten and _is_writable(self.output_fd, give_up_at):
                self.flush()
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.input_fd, termios.TCSANOW, self._found)

    def forget_shown(self) -> None:
        """Draw every line the next time: the size has changed, and what it shows is anybody's."""
        self._shown = []

    def draw(self, lines: list[str]) -> None:
        """Show these lines of its whole width; only what has changed is written."""
        if len(lines) != len(self._shown):
            self._shown = [""] * len(lines)
            self._write("\x1b[2J")
        changed = [
            f"\x1b[{number};1H{line}"
            for number, (line, shown) in enumerate(zip(lines, self._shown, strict=True), 1)
            if line != shown
        ]
        self._shown = lines
        if changed:
            # Terminals that know these two show all of it at once.
            self._write(f"\x1b[?2026h{''.join(changed)}\x1b[?2026l")

    def flush(self) -> None:
        """Write what it takes. If it is gone, whoever reads from it will notice."""
        try:
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self.output_fd, self._unwritten) :]
        except BlockingIOError:
            pass
        except OSError:
            self._unwritten = b""

    def _write(self, text: str) -> None:
        self._unwritten += text.encode(errors="replace")
        self.flush()


def _opened_anew(terminal_fd: int) -> int:
    """Not to block is a property of what was opened: the shell's own must not get it."""
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        return os.open(os.ttyname(terminal_fd), flags)
    except OSError:  # it has no name here, as in some containers
        return os.open("/dev/tty", flags)


def _is_writable(fd: int, give_up_at: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(max(0.0, give_up_at - time.monotonic()) * 1000))
