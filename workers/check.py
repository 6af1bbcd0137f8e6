"""Try out handlers: each is imported in a process of its own, which serves nothing and ends."""

import re
import selectors
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from workers.loop import Loop
from workers.process import Process
from workers.reports import Report, Reports

EXIT_GRACE_S = 1.0
"""How long a process may take to end once it has said what it found."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one handler. Its texts are user code's: escape them before you show them."""

    handler: str
    error: str = ""
    """Why it cannot be used, in one line; empty if it can."""
    is_unknown: bool = False
    """There is no such handler: the configuration names the wrong thing."""
    traceback: str = ""
    """Where user code failed, if it raised."""
    import_s: float = 0.0
    """How long a usable one took to import."""

    @property
    def is_ok(self) -> bool:
        return not self.error


class HandlersCheck:
    """Imports all the handlers at once and hands over the findings, in the handlers' order.

    Nothing is called, no class is built. The caller turns the ``loop`` and calls ``reap`` on every
    SIGCHLD. ``on_done`` is called once, when every process is gone; never after ``kill``.
    """

    def __init__(
        self,
        loop: Loop,
        handlers: Iterable[str],
        timeout_s: float,
        on_done: Callable[[list[Finding]], None],
        on_output: Callable[[str, str], None] = lambda handler, line: None,
    ) -> None:
        """``timeout_s`` is what each import may take, from the start of its process. ``on_output``
        gets the handler and a line that its import printed."""
        self._on_done = on_done
        self._imports = [
            _Import(loop, handler, timeout_s, on_output) for handler in dict.fromkeys(handlers)
        ]
        self._is_killed = False

    @property
    def is_over(self) -> bool:
        """No process of it is left."""
        return all(one.is_over for one in self._imports)

    @property
    def pids(self) -> set[int]:
        """Its processes that have not been reaped."""
        return {one.process.pid for one in self._imports if one.process and not one.is_over}

    def start(self) -> None:
        for one in self._imports:
            one.start()
        self._tell_if_over()

    def reap(self) -> None:
        """See which processes have ended."""
        if not self.is_over:
            for one in self._imports:
                one.reap()
            self._tell_if_over()

    def kill(self) -> None:
        """Give it up: its processes are killed; they are gone when ``is_over``."""
        self._is_killed = True
        for one in self._imports:
            one.kill()

    def _tell_if_over(self) -> None:
        if self.is_over and not self._is_killed:
            self._on_done([one.finding for one in self._imports if one.finding is not None])


def check(
    handlers: Iterable[str], timeout_s: float, on_output: Callable[[str, str], None]
) -> list[Finding]:
    """Check them on a loop of its own, and wait for that. Main thread only."""
    findings: list[Finding] = []
    loop = Loop()
    work = HandlersCheck(loop, handlers, timeout_s, findings.extend, on_output)
    loop.on_signal(signal.SIGCHLD, work.reap)
    try:
        work.start()
        while not work.is_over:
            loop.turn()
    finally:  # whatever comes, a KeyboardInterrupt above all, nothing is left
        work.kill()
        while not work.is_over:
            loop.turn()
        loop.close()
    return findings


class _Import:
    """One handler's process, from its start to its finding."""

    def __init__(
        self, loop: Loop, handler: str, timeout_s: float, on_output: Callable[[str, str], None]
    ) -> None:
        self.process: Process | None = None
        self.finding: Finding | None = None
        self.is_over = False
        self._loop = loop
        self._handler = handler
        self._timeout_s = timeout_s
        self._on_output = on_output
        self._reports = Reports()

    def start(self) -> None:
        arguments, selector = [self._handler, "--check"], self._loop.selector
        try:
            self.process = Process("workers", arguments, selector, self._pass_on_output)
        except OSError as error:  # the system has no process or descriptor left for it
            self._conclude(f"no process for it ({error.strerror})")
            self.is_over = True
            return
        self.process.connection.setblocking(False)
        selector.register(self.process.connection, selectors.EVENT_READ, self._read_reports)
        self._timer = self._loop.after(self._timeout_s, self._on_timeout)

    def reap(self) -> None:
        if self.process is None or self.is_over or not self.process.reap():
            return
        self._timer.cancel()
        if self.process.connection.fileno() >= 0:
            self._read_reports()  # its last words
            self._close_connection()
        self._conclude(f"its import {self.process.exit_cause}")
        self.is_over = True

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill_group()

    def _read_reports(self) -> None:
        assert self.process is not None
        reports, has_ended = self._reports.receive(self.process.connection)
        for report in reports:
            self._on_report(report)
        if has_ended:
            self._close_connection()

    def _on_report(self, report: Report | None) -> None:
        if self.finding is not None:
            return
        self._timer.cancel()
        self._timer = self._loop.after(EXIT_GRACE_S, self.kill)
        match report:
            case {"event": "ready", "import_ms": text} if re.fullmatch("[0-9]{1,9}", text):
                self._conclude("", import_s=int(text) / 1000)
            case {"event": "unknown_handler", "error": error}:
                self._conclude(error, is_unknown=True)
            case {"error": error, "traceback": trace}:
                self._conclude(error, traceback=trace)
            case _:
                self._conclude("it wrote nonsense to its launcher")

    def _on_timeout(self) -> None:
        self._conclude(f"not imported within startup_timeout ({self._timeout_s:g} s)")
        self.kill()

    def _conclude(
        self, error: str, traceback: str = "", is_unknown: bool = False, import_s: float = 0.0
    ) -> None:
        """The first finding counts: what comes after it is only the end of the process."""
        if self.finding is None:
            self.finding = Finding(self._handler, error, is_unknown, traceback, import_s)

    def _pass_on_output(self, line: str) -> None:
        self._on_output(self._handler, line)

    def _close_connection(self) -> None:
        assert self.process is not None
        if self.process.connection.fileno() >= 0:
            self._loop.selector.unregister(self.process.connection)
            self.process.connection.close()
