"""One worker slot: its process from start to end, and again, one incarnation after another."""

import random
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from balancer.config import Config
from balancer.runtime_directory import RuntimeDirectory
from workers.console import Console
from workers.loop import Loop, Timer
from workers.process import Process
from workers.reports import REPORT_BYTES_MAX, Report, Reports
from workers.restart import RestartPolicy

ABORT_GRACE_S = 0.5
"""How long a hanging worker has to write down its stack before it is killed."""
STOP_GRACE_S = 3.0
VERDICT_GRACE_S = 0.1
"""How long the balancer may take to say what a dead worker held."""
SILENCE_GRACE_S = 0.1
"""How long after its link broke a worker may still be seen alive before that means: frozen."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a slot needs of the launcher."""

    loop: Loop
    console: Console
    config: Config
    directory: RuntimeDirectory
    tell_balancer: Callable[[dict[str, Any]], None]
    on_boot_failure: Callable[["WorkerSlot", dict[str, str]], None]
    on_failed: Callable[["WorkerSlot"], None]


class WorkerSlot:
    """A place for a worker. Who it is is written on the door; who fills it changes."""

    def __init__(
        self, name: str, pool: str, handler: str, place: int, around: Surroundings
    ) -> None:
        self.name = name
        self.pool = pool
        self.why = "starting"
        self.incarnation = 0
        self.endpoint = ""
        self.restarts = 0
        self.has_failed = False
        self.is_given_up = False
        """No process will fill it any more."""
        self.was_ever_ready = False
        self.process: Process | None = None
        self._handler = handler
        self._place = place
        self._around = around
        self._policy = RestartPolicy()
        self._is_stopping = False
        self._started_at = self._died_at = 0.0
        self._ready_at: float | None = None
        self._kill_reason = ""
        self._reports = Reports()
        self._boot_failures = 0
        self._was_in_rotation = False
        self._has_verdict = False
        self._held_request: str | None = None
        self._timer: Timer | None = None

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.exit_cause is None

    @property
    def is_booted(self) -> bool:
        """It has bound its socket: the balancer may dial it."""
        return self.is_alive and self._ready_at is not None

    # --- start ----------------------------------------------------------------------------------

    def start(self) -> None:
        around, config = self._around, self._around.config
        self.incarnation += 1
        self.endpoint = around.directory.worker_endpoint(self._place, self.incarnation)
        self._ready_at = self._held_request = None
        self._has_verdict = self._was_in_rotation = False
        self._reports = Reports()
        self._kill_reason = ""
        self._started_at = time.monotonic()
        arguments = [self._handler, "--bind", self.endpoint, "--name", self.name]
        arguments += ["--max-body", str(config.limits.max_body_bytes)]
        try:
            self.process = Process("workers", arguments, around.loop.selector, self._on_output)
        except OSError as error:
            self._note_no_process(error)
            return
        connection = self.process.connection
        connection.setblocking(False)
        around.loop.selector.register(connection, selectors.EVENT_READ, self._read_reports)
        self._set_timer(config.startup_timeout_s, self._on_startup_timeout)

    def _note_no_process(self, error: OSError) -> None:
        """The system has no process or descriptor left for it, which may pass."""
        self.process = None
        self._died_at = time.monotonic()
        trouble = f"no process for it ({error.strerror})"
        self._log(f"{trouble}; {self._restart(trouble)}", "warning")

    def dial(self) -> None:
        """Have the balancer open a link to it."""
        self._tell("dial", endpoint=self.endpoint)

    def note_in_rotation(self) -> None:
        """The balancer has had its first sign of life. A frozen one may say so too late."""
        if self.process is None or not self.is_alive:
            return
        self.why = ""
        since, what = (self._died_at, "back") if self.restarts else (self._started_at, "ready")
        if self._was_in_rotation:
            self._log(f"linked to the new balancer (pid {self.process.pid})")
        else:
            took_ms = (time.monotonic() - since) * 1000
            self._log(f"{what} after {took_ms:.0f} ms (pid {self.process.pid})")
        self._was_in_rotation = True

    def _read_reports(self) -> None:
        """Take in what the worker says, a helping at a time."""
        assert self.process is not None
        try:
            data = self.process.connection.recv(REPORT_BYTES_MAX)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""  # as good as closed
        for report in self._reports.take(data):
            self._on_report(report)
        if not data:
            self._close_connection()

    def _on_report(self, report: Report | None) -> None:
        if report is None:
            self._kill("it wrote nonsense to its launcher")
            return
        if report["event"] != "ready":
            self._boot_failures += 1
            self._around.on_boot_failure(self, report)
            return
        self._set_timer(None)
        self._ready_at = time.monotonic()
        self.was_ever_ready = True
        self.why = "connecting"
        self.dial()

    def _on_startup_timeout(self) -> None:
        limit_s = self._around.config.startup_timeout_s
        self._kill(f"not ready within startup_timeout ({limit_s:g} s)")

    # --- trouble --------------------------------------------------------------------------------

    def note_hung(self, request: str | None) -> None:
        """The balancer has given it up as hanging: get its stack into the log, then kill it."""
        if self.process is None or not self.is_alive:
            return
        doing = f"request {request}" if request else "an earlier balancer's request"
        self._log(f"hangs in {doing}: its stack follows, then it is killed", "warning")
        self._kill_reason = f"hung in {doing}"
        self._held_request = request
        self.process.signal(signal.SIGABRT)
        self._set_timer(ABORT_GRACE_S, lambda: self._kill(self._kill_reason))

    def note_lost(self, cause: str, request: str | None) -> None:
        """The balancer has lost its link: the process is dead, frozen, or not to be talked to."""
        self._has_verdict = True
        self._held_request = request or self._held_request
        if not self.is_alive:
            self._settle_exit()
        elif not self._kill_reason and not self._is_stopping:
            self.why = f"unresponsive: {cause}"
            self._set_timer(SILENCE_GRACE_S, lambda: self._kill("it was frozen or its link broke"))

    def _kill(self, reason: str) -> None:
        if self.is_alive:
            assert self.process is not None
            self._kill_reason = reason
            self.process.kill_group()

    def note_exit(self) -> None:
        """Its process has just ended and been reaped."""
        assert self.process is not None
        self._died_at = time.monotonic()
        if self.process.connection.fileno() >= 0:
            self._read_reports()  # its last words may tell why it could not start
        self._close_connection()
        self._around.directory.discard(self.endpoint)
        self._tell("exited", cause=self.process.exit_cause)
        if self._ready_at is None or self._has_verdict or self._is_stopping:
            self._settle_exit()
        else:
            self._set_timer(VERDICT_GRACE_S, self._settle_exit)

    def _settle_exit(self) -> None:
        """It is dead, and what it held is known as far as it will be: start anew, or do not."""
        if self.process is None:
            return
        self._set_timer(None)
        cause, pid = self.process.exit_cause, self.process.pid
        self.process = None
        if self._is_stopping:
            return
        lived_s = self._died_at - self._started_at
        story = f"{cause} after {lived_s:.1f} s (pid {pid})"
        if self._kill_reason:
            story += f": {self._kill_reason}"
        elif self._held_request:
            story += f" while it held request {self._held_request}"
        story += f"; {self._restart(str(cause))}"
        # Its own words on why it could not start are in the log: how it ended then is no news.
        if self.was_ever_ready or self._boot_failures != 1:
            self._log(story, "warning")

    def _restart(self, cause: str) -> str:
        """Arrange for what comes next, and say it."""
        if not self._around.config.restart:
            self.why = f"{self._kill_reason or cause}; restart is off"
            self._give_up()
            return "not restarted: restart is off"
        delay_s = self._policy.delay_s(
            self._died_at,
            ready_for_s=None if self._ready_at is None else self._died_at - self._ready_at,
            held_request=self._held_request is not None,
            jitter=random.uniform(-1, 1),
        )
        if delay_s is None:
            self.has_failed = True
            self.why = f"{cause}; failed to start again and again"
            self._give_up()
            self._around.loop.after(0, lambda: self._around.on_failed(self))
            return "it failed to start again and again: given up"
        self.why = self._kill_reason or cause
        self.restarts += 1
        if delay_s == 0:
            self.start()
            return "restarting at once"
        self._set_timer(delay_s, self.start)
        return f"restarting in {delay_s:.1f} s"

    def _give_up(self) -> None:
        self.is_given_up = True
        self._tell("removed")

    # --- stop -----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let it finish what it does, then make sure."""
        self._is_stopping = True
        self._set_timer(None)
        if self.is_alive:
            assert self.process is not None
            self.process.signal(signal.SIGTERM)
            self._set_timer(STOP_GRACE_S, self.kill)

    def kill(self) -> None:
        self._is_stopping = True
        self._kill("stopping")

    # --- small print ----------------------------------------------------------------------------

    def _set_timer(
        self, delay_s: float | None, callback: Callable[[], None] = lambda: None
    ) -> None:
        """A slot waits for one thing at a time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._around.loop.after(delay_s, callback)

    def _tell(self, op: str, **fields: Any) -> None:
        self._around.tell_balancer(
            {"op": op, "slot": self.name, "incarnation": self.incarnation, **fields}
        )

    def _log(self, text: str, level: str = "info") -> None:
        self._around.console.write(self.name, text, level, worker=self.name)

    def _on_output(self, line: str) -> None:
        self._around.console.write(self.name, f"| {line}", "info", worker=self.name, output=True)

    def _close_connection(self) -> None:
        assert self.process is not None
        if self.process.connection.fileno() >= 0:
            self._around.loop.selector.unregister(self.process.connection)
            self.process.connection.close()
