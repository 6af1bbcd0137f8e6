"""Processes that are replaced or retired: they get nothing new, finish what they hold, and end."""

from collections.abc import Callable

from workers.reports import Report
from workers.worker_process import WorkerProcess


class Leaving:
    """Owns a process from when another fills its slot. ``on_ended`` tells of each that is gone."""

    def __init__(self, log: Callable[[str, str], None], on_gone: Callable[[], None]) -> None:
        self.processes: list[WorkerProcess] = []
        self._log = log
        self._on_gone = on_gone

    def take(self, process: WorkerProcess) -> None:
        """Let it go: at once if it has no link, else when the balancer has taken that from it."""
        process.owner = self
        self.processes.append(process)
        if not process.is_linked:
            process.stop()

    def on_link_lost(self, process: WorkerProcess) -> None:
        """Nobody can have anything of it any more."""
        process.stop()

    def on_ended(self, process: WorkerProcess) -> None:
        self.processes.remove(process)
        if process.kill_reason or not process.is_stopping:
            self._log(f"{process.story}; it was leaving", "warning")
        self._on_gone()

    def on_booted(self, process: WorkerProcess) -> None:
        pass  # too late

    def on_boot_failure(self, process: WorkerProcess, report: Report) -> None:
        pass

    def on_worn(self, process: WorkerProcess) -> None:
        pass
