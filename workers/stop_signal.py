"""SIGTERM as something to look at and to wait for: it never breaks into user code."""

import contextlib
import os
import signal
from errno import EBADF
from types import FrameType


class StopSignal:
    """Its descriptor is readable when signals have come, SIGTERM or any other that user code
    listens to: ``clear`` it, and look whether the stop ``is_given``.

    What has not been received when the worker sees it is left to the balancer, which asks another
    worker. Taking one more would promise nothing: the next could always come right after it.
    """

    def __init__(self) -> None:
        self.is_given = False
        self._pid = os.getpid()
        self._bell, self._clapper = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._clapper, False)
        # Written to where the signal arrives, so that none is overlooked that comes in the very
        # moment before a wait; Python's own handlers run only after it.
        signal.set_wakeup_fd(self._clapper, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._give)
        # Calls of user code that the signal interrupts are to go on as if nothing had happened.
        signal.siginterrupt(signal.SIGTERM, False)

    def fileno(self) -> int:
        return self._bell

    def clear(self) -> None:
        """Forget the signals that have come; not that the stop was given. OSError if user code
        has closed what is not its own."""
        with contextlib.suppress(BlockingIOError):
            if not os.read(self._bell, 4096):
                raise OSError(EBADF, "the pipe of the signals was closed")

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._bell)
        os.close(self._clapper)

    def _give(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A child that the handler forked: it is to die of this.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self.is_given = True
