"""One worker slot: who fills it, who takes over, and what is done when a process ends."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from balancer.control import Message
from workers.ending import Ending
from workers.leaving import Leaving
from workers.loop import Timer
from workers.recovery import Recovery
from workers.reports import Report
from workers.succession import Succession
from workers.surroundings import Surroundings
from workers.worker_process import Owner, WorkerProcess


class Crew(Protocol):
    """Whoever has all the slots, and is told what concerns more than one."""

    def on_boot_failure(
        self, slot: "WorkerSlot", process: WorkerProcess, report: Report
    ) -> None: ...
    def on_failed(self, slot: "WorkerSlot") -> None: ...
    def on_worn(self, slot: "WorkerSlot") -> None: ...
    def on_not_replaced(self, slot: "WorkerSlot", trouble: str) -> None: ...
    def on_calm(self, slot: "WorkerSlot") -> None: ...
    def on_restart(self, ending: Ending) -> None: ...


class WorkerSlot:
    """A place for a worker. Who it is is written on the door; who fills it changes."""

    def __init__(
        self, name: str, pool: str, handler: str, place: int, around: Surroundings, crew: Crew
    ) -> None:
        self.name = name
        self.pool = pool
        self.handler = handler
        """Of the present process, and of those that are started when it dies."""
        self.why = "starting"
        self.incarnation = 0
        """The number of the latest link."""
        self.recovery = Recovery()
        self.has_failed = False
        self.is_given_up = False
        """Nobody fills it unless a successor does, and the balancer does not know of it."""
        self.is_retired = False
        self.is_drained = False
        """Nobody is to fill it until somebody asks for that."""
        self.restart_at: float | None = None
        """When it is started again, while that waits."""
        self.was_ever_ready = False
        self.present: WorkerProcess | None = None
        self.succession = Succession(self)
        self._leaving = Leaving(self.log, self._on_gone)
        self._place = place
        self._around = around
        self._crew = crew
        self._boot_failures = 0
        self._processes = 0
        self._is_stopping = False
        self._timer: Timer | None = None

    def processes(self) -> Iterator[WorkerProcess]:
        """All that were started for it and have not ended, as far as is known."""
        present_and_next = (self.present, self.succession.process)
        yield from (process for process in present_and_next if process is not None)
        yield from self._leaving.processes

    @property
    def is_alive(self) -> bool:
        return any(process.is_alive for process in self.processes())

    @property
    def is_calm(self) -> bool:
        """Nobody is about to take over or to leave."""
        return self.succession.process is None and not self._leaving.processes

    def find(self, incarnation: int) -> WorkerProcess | None:
        """The process with the link of that number, if it still is its latest."""
        return next((p for p in self.processes() if p.incarnation == incarnation), None)

    def reap(self) -> None:
        for process in list(self.processes()):
            process.reap()

    # --- start ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Have a process fill it."""
        self._set_timer(None)
        if self.succession.process is not None:
            return  # which either takes over or, when it fails, has somebody started
        try:
            self.present = self._start_process(self.handler, self)
        except OSError as error:
            trouble = f"no process for it ({error.strerror})"
            self.recovery.note_no_process(trouble)
            self.log(f"{trouble}; {self._restart()}", "warning", event="died")

    def _start_process(self, handler: str, owner: Owner) -> WorkerProcess:
        self._processes += 1
        endpoint = self._around.directory.worker_endpoint(self._place, self._processes)
        return WorkerProcess(self.name, handler, endpoint, self._around, owner)

    def orders_at_start(self) -> Iterator[Message]:
        """What a new balancer must know of it; it is told to dial whoever can be dialed."""
        if self.is_given_up and self.succession.process is None:
            yield {"op": "removed", "slot": self.name}
        for old in self._leaving.processes:
            old.stop()  # what it held was the dead balancer's, and is lost
        for process in (self.present, self.succession.process):
            if process is not None and process.is_booted:
                self.dial(process, beside=process is not self.present)

    def dial(self, process: WorkerProcess, *, beside: bool) -> None:
        """Have the balancer open a link to it, beside that of an older process or not."""
        self.incarnation += 1
        process.dial(self.incarnation, beside=beside)

    def on_booted(self, process: WorkerProcess) -> None:
        self.was_ever_ready = True
        self.why = "connecting"
        self._dial_present()

    def _dial_present(self) -> None:
        """Unless somebody else is about to take over: a newer link puts an end to older ones."""
        process = self.present
        if process is None or not process.is_booted or process.is_linked:
            return
        if not self.succession.is_linked:
            self.dial(process, beside=False)

    def note_ready(self, process: WorkerProcess) -> None:
        """The balancer has had its first sign of life. A frozen one may say so too late."""
        if not process.is_alive or process.is_stopping or process.kill_reason:
            return
        was_in_rotation = process.was_ever_in_rotation
        process.note_in_rotation()
        if process is self.succession.process:
            self._take_over(process)
        elif process is self.present:
            self.why = self.recovery.stack = ""
            self.log(self._arrival(process, was_in_rotation), event="ready", pid=process.pid)

    def _arrival(self, process: WorkerProcess, was_in_rotation: bool) -> str:
        if was_in_rotation:
            return f"linked again (pid {process.pid})"
        recovery = self.recovery
        if recovery.restarts:
            return f"back after {_ms_since(recovery.died_at)} ms (pid {process.pid})"
        return f"ready after {_ms_since(process.started_at)} ms (pid {process.pid})"

    # --- replacement ------------------------------------------------------------------------------

    def fill(self, handler: str, why: str) -> None:
        """Have it filled again that was drained or given up."""
        self.is_drained = self.has_failed = False
        self.replace(handler, why)

    def replace(self, handler: str, why: str) -> None:
        """Start a process beside the present one, if there is one, to take over from it.

        ``on_calm`` follows when that is done; before it ``on_not_replaced`` if it cannot be done.
        """
        assert self.succession.process is None, "somebody gets ready to take over already"
        if self.is_given_up:
            self._tell("add", pool=self.pool)
        try:
            self.succession.begin(self._start_process(handler, self.succession), why)
        except OSError as error:
            trouble = f"no process for it ({error.strerror})"
            self._around.loop.after(0, lambda: self.on_no_successor(trouble))

    def _take_over(self, successor: WorkerProcess) -> None:
        old, self.present, successor.owner = self.present, successor, self
        self.succession.complete()
        self.handler = successor.handler
        self.recovery.begin_anew()
        self.has_failed = self.is_given_up = self.is_drained = False
        self.was_ever_ready = True
        self.why = self.recovery.stack = ""
        what, whom = ("replaced", f" for {old.pid}") if old is not None else ("filled", "")
        took_ms = _ms_since(successor.started_at)
        text = f"{what} after {took_ms} ms (pid {successor.pid}{whom}): {self.succession.why}"
        self.log(text, event="replaced", pid=successor.pid)
        if old is not None:
            self._leaving.take(old)
            self._crew.on_restart(Ending.RECYCLED)
        self._tell_if_calm()
        if successor.worn:
            self._crew.on_worn(self)

    def on_no_successor(self, trouble: str) -> None:
        """Its successor cannot take over: whoever is here goes on."""
        if self._is_stopping or self.is_retired:
            return
        if self.present is not None:
            self._dial_present()
        elif self.is_given_up:
            self.has_failed = True
            self._give_up(trouble)
        else:
            self.start()
        self._crew.on_not_replaced(self, trouble)
        self._tell_if_calm()

    def retire(self) -> None:
        """Let the slot go for good; ``on_calm`` follows when its last process has ended."""
        self.is_retired = True
        self._let_go()

    def drain(self) -> None:
        """Have it filled by nobody until ``replace`` is called; who fills it may finish."""
        self.is_drained = self.is_given_up = True
        self.has_failed = False
        self.why = "drained by hand"
        self._let_go()

    def _let_go(self) -> None:
        self._set_timer(None)
        self._tell("retire", pool=self.pool)
        present, successor = self.present, self.succession.process
        self.present = self.succession.process = None
        if successor is not None:
            successor.is_linked = False  # the balancer drops who is not ready at once
            self._leaving.take(successor)
        if present is not None:
            self._leaving.take(present)
        self._tell_if_calm()

    def _on_gone(self) -> None:
        if self.is_calm and (self.is_drained or self.is_retired):
            event = "retired" if self.is_retired else "drained"
            self.log(f"{event}: it has finished what it did, and ended", event=event)
        self._tell_if_calm()

    def on_worn(self, process: WorkerProcess) -> None:
        self._crew.on_worn(self)

    def _tell_if_calm(self) -> None:
        """Later: not in the middle of what somebody else does with the slots."""
        if self.is_calm:
            self._around.loop.after(0, lambda: self._crew.on_calm(self))

    # --- trouble ----------------------------------------------------------------------------------

    def note_lost(self, process: WorkerProcess, cause: str, request: str | None) -> None:
        if process.is_alive and process is self.present and not self._is_stopping:
            self.why = f"unresponsive: {cause}"
        process.note_lost(request)

    def on_link_lost(self, process: WorkerProcess) -> None:
        self._dial_present()

    def on_boot_failure(self, process: WorkerProcess, report: Report) -> None:
        self._boot_failures += 1
        self._crew.on_boot_failure(self, process, report)

    def on_ended(self, process: WorkerProcess) -> None:
        """It is dead, and what it held is known as far as it will be: start another, or do not."""
        self.present = None
        if self._is_stopping:
            return
        self.recovery.note_end(process)
        next_step = self._restart()
        if self.recovery.stack:
            self.publish(self.recovery.stack, event="stack", request=process.held_request)
        # Its own words on why it could not start are in the log: how it ended then is no news.
        if self.was_ever_ready or self._boot_failures != 1:
            fields = {"event": "died", "pid": process.pid, "request": process.held_request}
            self.log(f"{process.story}; {next_step}", "warning", **fields)

    def _restart(self) -> str:
        """Arrange for what comes next, and say it."""
        cause = self.recovery.last_death
        if self.succession.process is not None:
            self.why = cause
            return "its successor is on its way"
        if not self._around.config.restart:
            self._give_up(f"{cause}; restart is off")
            return "not restarted: restart is off"
        delay_s = self.recovery.delay_s()
        if delay_s is None:
            self.has_failed = True
            self._give_up(f"{cause}; failed to start again and again")
            self._around.loop.after(0, lambda: self._crew.on_failed(self))
            return "it failed to start again and again: given up"
        self.why = cause
        self._crew.on_restart(self.recovery.ending)
        if delay_s == 0:
            self.start()
            return "restarting at once"
        self._set_timer(delay_s, self.start)
        self.restart_at = time.monotonic() + delay_s
        return f"restarting in {delay_s:.1f} s"

    def note_failed(self, why: str) -> None:
        """Nobody fills it, and nobody tries to, until somebody asks for that."""
        self.has_failed = True
        self.why = why

    def _give_up(self, why: str) -> None:
        self.why = why
        self.is_given_up = True
        self._tell("removed")

    # --- stop -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let everybody finish what they do, then make sure."""
        self._is_stopping = True
        self._set_timer(None)
        for process in self.processes():
            process.stop()

    def kill(self) -> None:
        self._is_stopping = True
        for process in self.processes():
            process.kill("stopping")

    # --- small print ----------------------------------------------------------------------------

    def _set_timer(
        self, delay_s: float | None, callback: Callable[[], None] = lambda: None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._around.loop.after(delay_s, callback)
        self.restart_at = None

    def _tell(self, op: str, **fields: Any) -> None:
        self._around.tell_balancer(
            {"op": op, "slot": self.name, "incarnation": self.incarnation, **fields}
        )

    def log(self, text: str, level: str = "info", **fields: Any) -> None:
        self._around.console.write(self.name, text, level, worker=self.name, **fields)

    def publish(self, text: str, **fields: Any) -> None:
        """Tell only those who watch."""
        self._around.console.publish(self.name, text, "warning", worker=self.name, **fields)


def _ms_since(instant: float) -> int:
    return round((time.monotonic() - instant) * 1000)
