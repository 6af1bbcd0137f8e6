"""The signals that a program at a terminal gets, as something that a selector can wait for."""

import contextlib
import os
import signal
from types import FrameType

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CAUGHT = (*ENDS, signal.SIGWINCH, signal.SIGTSTP, signal.SIGCONT)


class Interruptions:
    """While it is open, these signals do nothing but to make ``fileno`` readable."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._wakeup_before = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, _ignore) for number in _CAUGHT}

    def fileno(self) -> int:
        return self._read_end

    def read(self) -> list[int]:
        """The signals that have come."""
        with contextlib.suppress(BlockingIOError):
            return list(os.read(self._read_end, 1024))
        return []

    def close(self) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read_end)
        os.close(self._write_end)


def suspend() -> None:
    """Do what Ctrl-Z does to a program that does not catch it; returns when it is continued, or at
    once if there is no shell that could do that."""
    signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.signal(signal.SIGTSTP, _ignore)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN it lets the number be written to the pipe."""
