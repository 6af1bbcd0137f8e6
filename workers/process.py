"""One child process: started afresh, listened to, and stopped politely, then firmly."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

OUTPUT_LINE_BYTES_MAX = 8192
OUTPUT_HELPING_BYTES = 1 << 16
"""As much as a pipe holds: one helping takes in all that a dead process has left."""
_PROJECT = Path(__file__).resolve().parent.parent
_SINGLE_THREADED = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM")


class Process:
    """A fresh interpreter in a session of its own, with a socket to us and one pipe for its output.

    Start it from the main thread only: its parent-death signal follows the thread that started
    it. Its end is the caller's to notice, by SIGCHLD, with ``reap``.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        selector: selectors.BaseSelector,
        on_output: Callable[[str], None],
    ) -> None:
        self._selector = selector
        self._on_output = on_output
        self._partial = b""
        self.connection, theirs = socket.socketpair()
        reading_end, writing_end = os.pipe()
        self._output = os.fdopen(reading_end, "rb", buffering=0)
        with theirs, os.fdopen(writing_end, "wb") as their_output:
            try:
                self._popen = subprocess.Popen(
                    # -P: a user's own folder called workers must not be taken for ours.
                    [sys.executable, "-P", "-m", module, *arguments, *_reins(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=their_output,
                    stderr=subprocess.STDOUT,
                    # It has the reading end too: should we be killed, a handler that prints before
                    # it is killed itself must not fail for a broken pipe.
                    pass_fds=(theirs.fileno(), reading_end),
                    start_new_session=True,
                    env=_environment(),
                )
            except OSError:
                self.connection.close()
                self._output.close()
                raise
        os.set_blocking(reading_end, False)
        selector.register(self._output, selectors.EVENT_READ, self._read_output)
        self.exit_cause: str | None = None
        """How it ended: its exit code or signal; None while it lives."""

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """As subprocess has it: negative for a signal."""
        return self._popen.returncode

    @property
    def is_frozen(self) -> bool:
        """Whether it is stopped by a signal or a debugger; False where /proc cannot tell."""
        if sys.platform != "linux":
            return False
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(errors="replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] in ("T", "t")

    def signal(self, number: int) -> None:
        """Send it a signal; harmless once it has ended."""
        if self.exit_cause is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill_group(self) -> None:
        """Kill it with everything that it started and that did not leave its session."""
        if self.exit_cause is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> bool:
        """Whether it has ended; then it is reaped, and what it left of its group is killed."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._settle(status)
            return bool(pid)
        # Look before reaping: while it is a zombie its number cannot be anybody else's group.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self.kill_group()
        _, status = os.waitpid(self.pid, 0)
        self._settle(status)
        return True

    def _settle(self, status: int) -> None:
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        self.exit_cause = _cause(self._popen.returncode)
        self._read_output()
        self._close_output()

    def _read_output(self) -> None:
        """One helping at a time: a process that never stops talking must not keep us from all
        others."""
        if self._output.closed:
            return
        try:
            data = os.read(self._output.fileno(), OUTPUT_HELPING_BYTES)
        except BlockingIOError:
            return
        if data:
            self._split(data)
        else:
            self._close_output()

    def _split(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > OUTPUT_LINE_BYTES_MAX:
            lines.append(self._partial)
            self._partial = b""
        for line in lines:
            self._on_output(line.decode(errors="replace"))

    def _close_output(self) -> None:
        if not self._output.closed:
            self._selector.unregister(self._output)
            self._output.close()
            if self._partial:
                self._on_output(self._partial.decode(errors="replace"))


def _reins(descriptor: int) -> list[str]:
    return ["--launcher-fd", str(descriptor), "--launcher-pid", str(os.getpid())]


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _environment() -> dict[str, str]:
    """N workers with a thread for each core each would only be in each other's way."""
    threads = {f"{library}_NUM_THREADS": "1" for library in _SINGLE_THREADED}
    path = os.environ.get("PYTHONPATH")
    ours = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": f"{_PROJECT}{os.pathsep}{path}" if path else str(_PROJECT),
    }
    return {**threads, **os.environ, **ours}
