"""Whoever gets ready beside the process that fills a slot, to take its place."""

import random
import time
from typing import Protocol

from workers.reports import Report
from workers.restart import DELAY_MAX_S, RestartPolicy
from workers.worker_process import WorkerProcess


class Place(Protocol):
    """The slot that it is to fill."""

    def dial(self, process: WorkerProcess, *, beside: bool) -> None: ...
    def on_boot_failure(self, process: WorkerProcess, report: Report) -> None: ...
    def on_no_successor(self, trouble: str) -> None: ...


class Succession:
    """Owns the successor until it is in rotation. Its failures are no failures of the slot, whose
    own process goes on."""

    def __init__(self, place: Place) -> None:
        self.process: WorkerProcess | None = None
        self.why = ""
        """What speaks against the process that is there."""
        self._place = place
        self._policy = RestartPolicy()

    @property
    def is_linked(self) -> bool:
        """The balancer has been told of it: an older process must not be dialed any more."""
        return self.process is not None and self.process.is_linked

    def begin(self, process: WorkerProcess, why: str) -> None:
        self.process, self.why = process, why

    def complete(self) -> None:
        """It has taken over."""
        self.process = None
        self._policy = RestartPolicy()

    def delay_s(self) -> float:
        """How long to wait, after another failure, until the next may try."""
        delay_s = self._policy.delay_s(
            time.monotonic(), ready_for_s=None, held_request=False, jitter=random.uniform(-1, 1)
        )
        return DELAY_MAX_S if delay_s is None else delay_s

    def on_booted(self, process: WorkerProcess) -> None:
        self._place.dial(process, beside=True)
        process.expect_rotation()

    def on_link_lost(self, process: WorkerProcess) -> None:
        self.on_booted(process)

    def on_boot_failure(self, process: WorkerProcess, report: Report) -> None:
        self._place.on_boot_failure(process, report)

    def on_worn(self, process: WorkerProcess) -> None:
        pass  # seen to when it has taken over

    def on_ended(self, process: WorkerProcess) -> None:
        self.process = None
        self._place.on_no_successor(process.boot_error or process.kill_reason or process.cause)
