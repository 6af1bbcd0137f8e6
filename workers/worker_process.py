"""One worker process from its start to its exit: its reports, its link, and how it is stopped."""

import random
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any, Protocol

from workers.ending import Ending
from workers.loop import Timer
from workers.process import Process
from workers.reports import Report, Reports
from workers.surroundings import Surroundings

ABORT_GRACE_S = 0.5
"""How long a hanging worker has to write down its stack before it is killed."""
STOP_GRACE_S = 3.0
VERDICT_GRACE_S = 0.1
"""How long the balancer may take to say what a dead worker held."""
SILENCE_GRACE_S = 0.1
"""How long after its link broke the news of a worker's death may take to come."""
MAX_REQUESTS_SPREAD = 0.2
"""By how much less than ``max_requests`` a process may serve, so that not all are worn at once."""
STACK_LINES_MAX = 200
LINK_LONG_ENOUGH_S = 1.0
"""A link that was in rotation so long did not break because the worker cannot keep one."""
LINKS_LOST_MAX = 3
"""A worker that loses so many in a row, none of them for long enough in rotation, is of no use."""


class Owner(Protocol):
    """Decides what comes of what happens to a process; another one may take it over."""

    def on_booted(self, process: "WorkerProcess") -> None: ...
    def on_boot_failure(self, process: "WorkerProcess", report: Report) -> None: ...
    def on_worn(self, process: "WorkerProcess") -> None: ...
    def on_link_lost(self, process: "WorkerProcess") -> None: ...
    def on_ended(self, process: "WorkerProcess") -> None: ...


class WorkerProcess:
    """Each dial gives it a new, higher incarnation: the balancer numbers links, not processes."""

    def __init__(
        self,
        name: str,
        handler: str,
        endpoint: str,
        around: Surroundings,
        owner: Owner,
    ) -> None:
        """OSError if the system has no process or descriptor left for it."""
        self.owner = owner
        self.handler = handler
        self.endpoint = endpoint
        self.incarnation = 0
        """Of its latest link; 0 before the first."""
        self.is_linked = False
        """The balancer was told to dial it and has not lost it since."""
        self.was_ever_in_rotation = False
        self.is_stopping = False
        self.worn = ""
        """Why it says that it should be replaced, if it does."""
        self.boot_error = ""
        self.kill_reason = ""
        self.end = Ending.SIGNAL
        """Which kind of end it has come to, once it has."""
        self.stack: list[str] = []
        """What it wrote since it was asked where it hangs."""
        self.held_request: str | None = None
        self.started_at = time.monotonic()
        self.booted_at: float | None = None
        """When it had bound its socket, from when on the balancer may dial it."""
        self.died_at = 0.0
        self._name = name
        self._around = around
        self._reports = Reports()
        self._in_rotation_at: float | None = None
        self._links_lost = 0
        self._has_verdict = False
        self._timer: Timer | None = None
        arguments = _arguments(name, handler, endpoint, around)
        self._process = Process("workers", arguments, around.loop.selector, self._on_output)
        connection = self._process.connection
        connection.setblocking(False)
        around.loop.selector.register(connection, selectors.EVENT_READ, self._read_reports)
        self._set_timer(around.config.startup_timeout_s, self._on_startup_timeout)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.exit_cause is None

    @property
    def is_booted(self) -> bool:
        """It has bound its socket: the balancer may dial it."""
        return self.is_alive and self.booted_at is not None

    @property
    def cause(self) -> str:
        """How it ended, once it has."""
        return str(self._process.exit_cause)

    @property
    def story(self) -> str:
        """How it ended, and why, once it has."""
        story = f"{self.cause} after {self.died_at - self.started_at:.1f} s (pid {self.pid})"
        if self.kill_reason:
            return f"{story}: {self.kill_reason}"
        return f"{story} while it held request {self.held_request}" if self.held_request else story

    # --- its reports and its link -----------------------------------------------------------------

    def dial(self, incarnation: int, *, beside: bool) -> None:
        """Have the balancer open a link to it, beside that of the slot's older process or not."""
        self.incarnation = incarnation
        self.is_linked = True
        self._in_rotation_at, self._has_verdict = None, False
        stream_path = self._around.directory.stream_path(self.endpoint)
        self._tell("dial", endpoint=self.endpoint, stream_path=stream_path, beside=beside)

    def expect_rotation(self) -> None:
        """It takes over from somebody who waits for that: do not let that wait have no end."""
        self._set_timer(self._around.config.startup_timeout_s, self._on_startup_timeout)

    def note_in_rotation(self) -> None:
        """The balancer has had its first sign of life. A frozen one may say so too late."""
        self._set_timer(None)
        self.was_ever_in_rotation = True
        self._in_rotation_at = time.monotonic()

    def _read_reports(self) -> None:
        """Take in what the worker says, a helping at a time."""
        reports, has_ended = self._reports.receive(self._process.connection)
        for report in reports:
            self._on_report(report)
        if has_ended:
            self._close_connection()

    def _on_report(self, report: Report | None) -> None:
        if report is None:
            self.kill("it wrote nonsense to its launcher", Ending.UNRESPONSIVE)
        elif report["event"] == "worn":
            self.worn = report["why"]
            self.owner.on_worn(self)
        elif report["event"] != "ready":
            self.boot_error = report["error"]
            self.owner.on_boot_failure(self, report)
        elif not self.is_stopping:
            self._set_timer(None)
            self.booted_at = time.monotonic()
            self.owner.on_booted(self)

    def _on_startup_timeout(self) -> None:
        limit_s = self._around.config.startup_timeout_s
        self.kill(f"not ready within startup_timeout ({limit_s:g} s)", Ending.STARTUP)

    def _on_output(self, line: str) -> None:
        if self.end is Ending.HUNG and len(self.stack) < STACK_LINES_MAX:
            self.stack.append(line)
        self._around.console.write(self._name, f"| {line}", "info", worker=self._name, output=True)

    # --- trouble ----------------------------------------------------------------------------------

    def note_released(self) -> None:
        """The balancer has nothing of it any more and gives it nothing: the link is closed."""
        self.is_linked = False
        self.owner.on_link_lost(self)

    def note_hung(self, request: str | None) -> None:
        """The balancer has given it up as hanging: get its stack into the log, then kill it."""
        if not self.is_alive:
            return
        doing = f"request {request}" if request else "an earlier balancer's request"
        text = f"hangs in {doing}: its stack follows, then it is killed"
        self._around.console.write(
            self._name, text, "warning", event="hung", worker=self._name, request=request
        )
        self.kill_reason = reason = f"hung in {doing}"
        self.end = Ending.HUNG
        self.held_request = request
        self.is_linked = False
        self._process.signal(signal.SIGABRT)
        self._set_timer(ABORT_GRACE_S, lambda: self.kill(reason, Ending.HUNG))

    def note_lost(self, request: str | None) -> None:
        """The balancer has lost its link: the process is dead or frozen, or the balancer was."""
        self._has_verdict = True
        self.held_request = request or self.held_request
        now = time.monotonic()
        lasted_s = now - (self._in_rotation_at or now)
        self.is_linked = False
        if not self.is_alive:
            self._settle()
        elif not self.kill_reason and not self.is_stopping:
            self._links_lost = 1 if lasted_s >= LINK_LONG_ENOUGH_S else self._links_lost + 1
            self._set_timer(SILENCE_GRACE_S, self._judge_silence)

    def _judge_silence(self) -> None:
        """It outlived its link. Only if that is its own fault, it is killed."""
        if self._links_lost >= LINKS_LOST_MAX or self._process.is_frozen:
            self.kill("it was frozen or its link broke", Ending.UNRESPONSIVE)
        else:
            # What it held was lost with the link, not with a death.
            self.held_request = None
            self.owner.on_link_lost(self)

    # --- the end ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Let it finish what it does, then make sure."""
        if self.is_alive and not self.is_stopping:
            self._process.signal(signal.SIGTERM)
            self._set_timer(STOP_GRACE_S, lambda: self.kill("it did not stop"))
        self.is_stopping = True

    def kill(self, reason: str, end: Ending = Ending.BY_HAND) -> None:
        """Kill it with all that it started; ``on_ended`` follows."""
        if self.is_alive:
            self.kill_reason, self.end = reason, end
            self._process.kill_group()

    def reap(self) -> None:
        """Look whether it has ended; then ``on_ended`` follows as soon as it is known what it
        held."""
        if not self.is_alive or not self._process.reap():
            return
        self.died_at = time.monotonic()
        if not self.kill_reason:
            self.end = self._natural_end()
        if self._process.connection.fileno() >= 0:
            self._read_reports()  # its last words may tell why it could not start
        self._close_connection()
        self._around.directory.discard(self.endpoint)
        if self.incarnation:
            self._tell("exited", cause=self.cause)
        if not self.is_linked or self._has_verdict or self.is_stopping:
            self._settle()
        else:
            self._set_timer(VERDICT_GRACE_S, self._settle)

    def _natural_end(self) -> Ending:
        if self.booted_at is None:
            return Ending.STARTUP
        return Ending.EXIT if (self._process.exit_code or 0) >= 0 else Ending.SIGNAL

    def _settle(self) -> None:
        """It is dead, and what it held is known as far as it will be."""
        self._set_timer(None)
        self.owner.on_ended(self)

    def _close_connection(self) -> None:
        if self._process.connection.fileno() >= 0:
            self._around.loop.selector.unregister(self._process.connection)
            self._process.connection.close()

    def _set_timer(
        self, delay_s: float | None, callback: Callable[[], None] = lambda: None
    ) -> None:
        """It waits for one thing at a time."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._around.loop.after(delay_s, callback)

    def _tell(self, op: str, **fields: Any) -> None:
        self._around.tell_balancer(
            {"op": op, "slot": self._name, "incarnation": self.incarnation, **fields}
        )


def _arguments(name: str, handler: str, endpoint: str, around: Surroundings) -> list[str]:
    config = around.config
    arguments = [handler, "--bind", endpoint, "--name", name]
    arguments += ["--stream", around.directory.stream_path(endpoint)]
    arguments += ["--max-body", str(config.limits.max_body_bytes)]
    if config.max_requests is not None:
        spread = int(config.max_requests * MAX_REQUESTS_SPREAD * random.random())
        arguments += ["--max-requests", str(config.max_requests - spread)]
    if config.max_rss_bytes is not None:
        arguments += ["--max-rss", str(config.max_rss_bytes)]
    return arguments
