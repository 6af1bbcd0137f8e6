"""What becomes of a slot whose process has ended: when the next one starts, or that none does."""

import random
import time

from workers.ending import Ending
from workers.restart import READY_LONG_ENOUGH_S, RestartPolicy
from workers.worker_process import WorkerProcess


class Recovery:
    """One slot's deaths, and its patience with them."""

    def __init__(self) -> None:
        self.restarts = 0
        self.last_death = ""
        self.died_at = 0.0
        self.ending = Ending.STARTUP
        """Of the last death, what restarts are counted by."""
        self.stack = ""
        """Of the last process, if it hung, until another one is in rotation."""
        self._policy = RestartPolicy()
        self._ready_for_s: float | None = None
        self._held_request = False

    def note_end(self, process: WorkerProcess) -> None:
        """A process has ended of itself, or was killed."""
        self.last_death, self.ending = process.kill_reason or process.cause, process.end
        self.died_at, booted_at = process.died_at, process.booted_at
        self.stack = "\n".join(process.stack)
        self._ready_for_s = None if booted_at is None else process.died_at - booted_at
        self._held_request = process.held_request is not None
        if process.end is Ending.BY_HAND:
            # Whoever kills it by hand wants another: it is no sign that it cannot start or stay.
            self._ready_for_s = READY_LONG_ENOUGH_S

    def note_no_process(self, trouble: str) -> None:
        """The system had none for it."""
        self.last_death, self.ending, self.died_at = trouble, Ending.STARTUP, time.monotonic()
        self._ready_for_s, self._held_request = None, False

    def delay_s(self) -> float | None:
        """How long to wait until the next start, which is counted; None to give the slot up."""
        delay_s = self._policy.delay_s(
            self.died_at,
            ready_for_s=self._ready_for_s,
            held_request=self._held_request,
            jitter=random.uniform(-1, 1),
        )
        self.restarts += delay_s is not None
        return delay_s

    def begin_anew(self) -> None:
        """Another process fills the slot, of which nothing bad is known yet."""
        self._policy = RestartPolicy()
