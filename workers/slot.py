"""One worker slot: who fills it, who takes over, and what is done when a process ends."""

import random
import time
from collections.abc import Iterator
from typing import Any, Protocol

from balancer.control import Message
from workers.loop import Timer
from workers.reports import Report
from workers.restart import DELAY_MAX_S, RestartPolicy
from workers.worker_process import Surroundings, WorkerProcess

MAX_REQUESTS_SPREAD = 0.2
"""By how much less than ``max_requests`` a process may serve, so that not all are worn at once."""


class Crew(Protocol):
    """Whoever has all the slots, and is told what concerns more than one."""

    def on_boot_failure(
        self, slot: "WorkerSlot", process: WorkerProcess, report: Report
    ) -> None: ...
    def on_failed(self, slot: "WorkerSlot") -> None: ...
    def on_worn(self, slot: "WorkerSlot") -> None: ...
    def on_not_replaced(self, slot: "WorkerSlot", trouble: str) -> None: ...
    def on_calm(self, slot: "WorkerSlot") -> None: ...


class WorkerSlot:
    """A place for a worker. Who it is is written on the door; who fills it changes.

    ``present`` fills it, ``successor`` gets ready beside it to take over, and those in
    ``leaving`` get nothing new, finish what they hold and end.
    """

    def __init__(
        self,
        name: str,
        pool: str,
        handler: str,
        place: int,
        around: Surroundings,
        crew: Crew,
        *,
        is_vacant: bool = False,
    ) -> None:
        """``is_vacant`` if the balancer does not know of it: only ``replace`` can fill it."""
        self.name = name
        self.pool = pool
        self.handler = handler
        """Of the present process, and of those that are started when it dies."""
        self.why = "starting"
        self.incarnation = 0
        """The number of the latest link."""
        self.restarts = 0
        self.has_failed = False
        self.is_given_up = is_vacant
        """Nobody fills it unless a successor does; the balancer does not know of it."""
        self.is_retired = False
        self.was_ever_ready = False
        self.present: WorkerProcess | None = None
        self.successor: WorkerProcess | None = None
        self.leaving: list[WorkerProcess] = []
        self._place = place
        self._around = around
        self._crew = crew
        self._policy = RestartPolicy()
        self._succession = RestartPolicy()
        self._boot_failures = 0
        self._processes = 0
        self._is_stopping = False
        self._replaced_because = ""
        self._died_at = 0.0
        self._timer: Timer | None = None

    def processes(self) -> Iterator[WorkerProcess]:
        """All that were started for it and have not ended, as far as is known."""
        yield from (process for process in (self.present, self.successor) if process is not None)
        yield from self.leaving

    @property
    def is_alive(self) -> bool:
        return any(process.is_alive for process in self.processes())

    @property
    def is_calm(self) -> bool:
        """Nobody is about to take over or to leave."""
        return self.successor is None and not self.leaving

    @property
    def worn(self) -> str:
        """Why its process should be replaced; empty if it should not."""
        return self.present.worn if self.present is not None else ""

    # --- start ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Have a process fill it."""
        self._set_timer(None)
        if self.successor is not None:
            return  # which either takes over or, when it fails, has somebody started
        try:
            self.present = self._process(self.handler)
        except OSError as error:
            self._died_at = time.monotonic()
            trouble = f"no process for it ({error.strerror})"
            self.log(f"{trouble}; {self._restart(trouble, ready_for_s=None)}", "warning")

    def replace(self, handler: str, because: str) -> None:
        """Start a process beside the present one, if there is one, to take over from it.

        ``on_calm`` follows when that is done; before it ``on_not_replaced`` if it cannot be done.
        """
        self._replaced_because = because
        if self.is_given_up:
            self._tell("add", pool=self.pool)
        try:
            self.successor = self._process(handler)
        except OSError as error:
            trouble = f"no process for it ({error.strerror})"
            self._around.loop.after(0, lambda: self._give_up_succession(trouble))

    def _process(self, handler: str) -> WorkerProcess:
        self._processes += 1
        endpoint = self._around.directory.worker_endpoint(self._place, self._processes)
        limit = self._around.config.max_requests
        if limit is not None:
            limit -= int(limit * MAX_REQUESTS_SPREAD * random.random())
        return WorkerProcess(self.name, handler, endpoint, limit, self._around, self)

    def orders_at_start(self) -> Iterator[Message]:
        """What a new balancer must know of it; it is told to dial whoever can be dialed."""
        if self.is_given_up and self.successor is None:
            yield {"op": "removed", "slot": self.name}
        for old in self.leaving:
            old.stop()  # what it held was the dead balancer's, and is lost
        for process in (self.present, self.successor):
            if process is not None and process.is_booted:
                self._dial(process)

    def on_booted(self, process: WorkerProcess) -> None:
        if process is self.present:
            self.was_ever_ready = True
            self.why = "connecting"
        if process is self.successor or not (self.successor and self.successor.is_linked):
            self._dial(process)

    def _dial(self, process: WorkerProcess) -> None:
        self.incarnation += 1
        process.dial(self.incarnation, beside=process is self.successor)
        if process is self.successor:
            process.expect_rotation()

    def note_ready(self, process: WorkerProcess) -> None:
        """The balancer has had its first sign of life: it is in rotation."""
        if not process.is_alive or process.is_stopping or process.kill_reason:
            return
        was_in_rotation = process.was_ever_in_rotation
        process.note_in_rotation()
        if process is self.successor:
            self._take_over(process)
        elif process is self.present:
            self.why = ""
            self.log(self._arrival(process, was_in_rotation))

    def _arrival(self, process: WorkerProcess, was_in_rotation: bool) -> str:
        if was_in_rotation:
            return f"linked again (pid {process.pid})"
        since, what = (self._died_at, "back") if self.restarts else (process.started_at, "ready")
        took_ms = (time.monotonic() - since) * 1000
        return f"{what} after {took_ms:.0f} ms (pid {process.pid})"

    # --- replacement ------------------------------------------------------------------------------

    def _take_over(self, successor: WorkerProcess) -> None:
        old, self.present, self.successor = self.present, successor, None
        self.handler = successor.handler
        self._policy, self._succession = RestartPolicy(), RestartPolicy()
        self.has_failed = self.is_given_up = False
        self.was_ever_ready = True
        self.why = ""
        took_ms = (time.monotonic() - successor.started_at) * 1000
        what = "filled" if old is None else f"pid {old.pid} is replaced"
        self.log(f"{what} after {took_ms:.0f} ms (pid {successor.pid}): {self._replaced_because}")
        if old is not None:
            self._see_off(old)
        self._tell_if_calm()
        if successor.worn:
            self._crew.on_worn(self)

    def _see_off(self, process: WorkerProcess) -> None:
        """Let it go: at once, or when the balancer says that it holds nothing any more."""
        self.leaving.append(process)
        if not process.is_linked:
            process.stop()

    def note_released(self, process: WorkerProcess) -> None:
        """The balancer has nothing of its any more and will give it nothing."""
        process.is_linked = False
        if process in self.leaving:
            process.stop()

    def retire(self) -> None:
        """Let the slot go for good; ``on_calm`` follows when its last process has ended."""
        self.is_retired = True
        self._set_timer(None)
        self._tell("retire", pool=self.pool)
        if self.successor is not None:
            self.successor.is_linked = False
            self._see_off(self.successor)
        if self.present is not None:
            self._see_off(self.present)
        self.present = self.successor = None
        self._tell_if_calm()

    def on_worn(self, process: WorkerProcess) -> None:
        if process is self.present:
            self._crew.on_worn(self)

    def _tell_if_calm(self) -> None:
        """Not in the middle of what somebody else does with the slots."""
        if self.is_calm:
            self._around.loop.after(0, lambda: self._crew.on_calm(self))

    # --- trouble ----------------------------------------------------------------------------------

    def note_lost(self, process: WorkerProcess, cause: str, request: str | None) -> None:
        if process.is_alive and process is self.present and not self._is_stopping:
            self.why = f"unresponsive: {cause}"
        process.note_lost(request)
        if process in self.leaving:
            process.stop()

    def on_link_lost(self, process: WorkerProcess) -> None:
        """Its link broke, and it is not to blame: open another, unless one takes over."""
        if process in self.leaving:
            process.stop()
        else:
            self.on_booted(process)

    def on_boot_failure(self, process: WorkerProcess, report: Report) -> None:
        self._boot_failures += 1
        self._crew.on_boot_failure(self, process, report)

    def on_ended(self, process: WorkerProcess) -> None:
        """It is dead, and what it held is known as far as it will be."""
        if process is self.present:
            self.present = None
            if not self._is_stopping:
                self._follow(process)
        elif process is self.successor:
            self.successor = None
            if not self._is_stopping:
                self._give_up_succession(process.boot_error or process.kill_reason or process.cause)
        elif process in self.leaving:
            self.leaving.remove(process)
            if process.kill_reason or not process.is_stopping:
                self.log(f"{_story(process)}; it was leaving", "warning")
            self._tell_if_calm()

    def _follow(self, process: WorkerProcess) -> None:
        """The present process has ended: start another, or do not."""
        self._died_at = process.died_at
        ready_for_s = None if process.booted_at is None else process.died_at - process.booted_at
        held_request = process.held_request is not None
        cause = process.kill_reason or process.cause
        next_step = self._restart(cause, ready_for_s, held_request=held_request)
        # Its own words on why it could not start are in the log: how it ended then is no news.
        if self.was_ever_ready or self._boot_failures != 1:
            self.log(f"{_story(process)}; {next_step}", "warning")

    def _restart(self, cause: str, ready_for_s: float | None, *, held_request: bool = False) -> str:
        """Arrange for what comes next, and say it."""
        if self.successor is not None:
            self.why = cause
            return "its successor is on its way"
        if not self._around.config.restart:
            self.why = f"{cause}; restart is off"
            self._give_up()
            return "not restarted: restart is off"
        delay_s = self._policy.delay_s(
            self._died_at,
            ready_for_s=ready_for_s,
            held_request=held_request,
            jitter=random.uniform(-1, 1),
        )
        if delay_s is None:
            self.has_failed = True
            self.why = f"{cause}; failed to start again and again"
            self._give_up()
            self._around.loop.after(0, lambda: self._crew.on_failed(self))
            return "it failed to start again and again: given up"
        self.why = cause
        self.restarts += 1
        if delay_s == 0:
            self.start()
            return "restarting at once"
        self._set_timer(delay_s, self.start)
        return f"restarting in {delay_s:.1f} s"

    def _give_up(self) -> None:
        self.is_given_up = True
        self._tell("removed")

    def _give_up_succession(self, trouble: str) -> None:
        """Its successor cannot take over: whoever is here goes on."""
        if self.present is not None:
            if self.present.is_booted and not self.present.is_linked:
                self._dial(self.present)
        elif self.is_given_up:
            self.has_failed = True
            self.why = trouble
            self._give_up()
        else:
            self.start()
        self._crew.on_not_replaced(self, trouble)
        self._tell_if_calm()

    def succession_delay_s(self) -> float:
        """How long to wait, after a failure, until somebody else may try to take over."""
        delay_s = self._succession.delay_s(
            time.monotonic(), ready_for_s=None, held_request=False, jitter=random.uniform(-1, 1)
        )
        return DELAY_MAX_S if delay_s is None else delay_s

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

    def find(self, incarnation: int) -> WorkerProcess | None:
        """The process with the link of that number, if it still is its latest."""
        return next((p for p in self.processes() if p.incarnation == incarnation), None)

    def reap(self) -> None:
        for process in list(self.processes()):
            process.reap()

    def _set_timer(self, delay_s: float | None, callback: Any = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._around.loop.after(delay_s, callback)

    def _tell(self, op: str, **fields: Any) -> None:
        self._around.tell_balancer(
            {"op": op, "slot": self.name, "incarnation": self.incarnation, **fields}
        )

    def log(self, text: str, level: str = "info") -> None:
        self._around.console.write(self.name, text, level, worker=self.name)


def _story(process: WorkerProcess) -> str:
    story = f"{process.cause} after {process.died_at - process.started_at:.1f} s"
    story += f" (pid {process.pid})"
    if process.kill_reason:
        return f"{story}: {process.kill_reason}"
    if process.held_request:
        return f"{story} while it held request {process.held_request}"
    return story
