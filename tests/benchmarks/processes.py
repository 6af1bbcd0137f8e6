"""The processes that a benchmark starts: their first words, their cost, and their certain end."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from balancer import lifeline
from tests.cluster.running import PROJECT, is_alive, processes_of_session_tree, wait_until

STOP_TIMEOUT_S = 5.0
CPUCLOCK_SCHED = 2


def cpu_s(pid: int) -> float:
    """User and system time of all threads that a process has had, to the nanosecond.

    The kernel's clock of another process (clock_getcpuclockid(3)): /proc/PID/stat counts in
    ticks of 10 ms, which is more than a short measurement costs.
    """
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def cpu_s_of(pids: Iterable[int]) -> dict[int, float]:
    """Of those that are there."""
    found = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            found[pid] = cpu_s(pid)
    return found


def pss_bytes(pid: int, kind: str = "Pss") -> int:
    """Proportional set size: what is shared counts for each sharer by its share.

    The kind ``Pss_Anon`` leaves out files, whose shares change with whatever Python starts nearby.
    """
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {kind} of process {pid}")


class Peer:
    """A Python process of the benchmark that speaks JSON lines on its pipes."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._module = module

    def hear(self) -> dict[str, Any]:
        """Its next words; ``deadline`` is what ends the wait for them."""
        words: dict[str, Any] | None = hear(self._stdout)
        if words is None:
            raise PeerFailed(f"{self._module} ended without an answer, see above")
        return words

    def tell(self, words: Mapping[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            say(words, stdin)
        except BrokenPipeError as error:
            raise PeerFailed(f"{self._module} ended, see above") from error

    @property
    def _stdout(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def stop(self) -> None:
        """End it and all that it has started; they are gone when this returns."""
        tree = processes_of_session_tree(self.pid)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        for pid in filter(is_alive, tree):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, tree)), STOP_TIMEOUT_S, f"{self._module} is gone")


class PeerFailed(Exception):
    """A contestant's process is gone or did not answer in time."""


@contextlib.contextmanager
def peer(module: str, *arguments: str) -> Iterator[Peer]:
    process = Peer(module, *arguments)
    try:
        yield process
    finally:
        process.stop()


@contextlib.contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """Break off whatever waits in here for too long. For the main thread, and not nested."""

    def break_off(*_: object) -> None:
        raise PeerFailed(f"{what}: not within {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, break_off)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# --- the side of the started process ------------------------------------------------------------


def die_with(parent_pid: int) -> None:
    """Not outlive the benchmark, whatever becomes of it, and leave Ctrl-C to it."""
    lifeline.die_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def say(words: Mapping[str, Any], stream: IO[str] = sys.stdout) -> None:
    stream.write(json.dumps(words) + "\n")
    stream.flush()


def hear(stream: IO[str] = sys.stdin) -> Any:
    """The next line's words; None at the end."""
    line = stream.readline()
    return json.loads(line) if line else None
