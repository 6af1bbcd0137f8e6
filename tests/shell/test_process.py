"""One child process: how it is started, what it says, how it ends."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.running import PROJECT, wait_until
from tests.shell.worker_process import is_running, wait_until_gone
from workers.process import OUTPUT_HELPING_BYTES, OUTPUT_LINE_BYTES_MAX, Process

PATIENCE_S = 10.0


class Parent:
    """Starts modules that a test has written, and listens to them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.selector = selectors.DefaultSelector()
        self.lines: list[str] = []
        self.processes: list[Process] = []

    def start(self, code: str, *arguments: str) -> Process:
        name = f"child_{len(self.processes)}"
        (self.directory / f"{name}.py").write_text(code)
        process = Process(name, arguments, self.selector, self.lines.append)
        self.processes.append(process)
        return process

    def turn(self) -> None:
        for key, _ in self.selector.select(0.01):
            key.data()

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.lines
            self.turn()

    def close(self) -> None:
        for process in self.processes:
            process.kill_group()
            if process.exit_cause is None:
                self.wait_until(process.reap)
            process.connection.close()
        self.selector.close()


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    parent = Parent(tmp_path)
    yield parent
    parent.close()


LAUNCHER = """
import selectors, signal, sys
from workers.process import Process
Process("orphan", sys.argv[1:], selectors.DefaultSelector(), print)
signal.pause()
"""
ORPHAN = """
import os, sys, time
launcher_pid = int(sys.argv[-1])
open(sys.argv[1], "w").close()
while os.getppid() == launcher_pid:
    time.sleep(0.01)
try:
    print("said by an orphan")
    outcome = "printed"
except OSError as error:
    outcome = repr(error)
open(sys.argv[2], "w").write(outcome)
"""


def test_who_prints_after_its_launcher_was_killed_does_not_fail_for_it(tmp_path: Path) -> None:
    """Else its client would be told of an error of the handler, which lives a moment longer."""
    (tmp_path / "orphan.py").write_text(ORPHAN)
    has_begun, outcome = tmp_path / "begun", tmp_path / "outcome"
    command = [sys.executable, "-c", LAUNCHER, str(has_begun), str(outcome)]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
    with subprocess.Popen(command, env=environment) as launcher:
        wait_until(has_begun.exists)
        launcher.kill()
    wait_until(lambda: outcome.exists() and outcome.read_text())
    assert outcome.read_text() == "printed"


# --- how it starts --------------------------------------------------------------------------------


def test_it_gets_its_arguments_and_a_socket_to_us(parent: Parent) -> None:
    process = parent.start("import sys; print(*sys.argv[1:])", "one", "two")
    parent.wait_until(lambda: parent.lines)
    words = parent.lines[0].split()
    assert words[:3] == ["one", "two", "--launcher-fd"]
    assert words[4:] == ["--launcher-pid", str(os.getpid())]
    process = parent.start(
        "import socket, sys\nsocket.socket(fileno=int(sys.argv[2])).sendall(b'hello')"
    )
    process.connection.settimeout(PATIENCE_S)
    assert process.connection.recv(10) == b"hello"
    assert process.connection.recv(10) == b"", "nobody else holds the other end"


def test_it_leads_a_session_of_its_own(parent: Parent) -> None:
    process = parent.start("import os; print(os.getsid(0), os.getpgrp())")
    parent.wait_until(lambda: parent.lines)
    assert parent.lines == [f"{process.pid} {process.pid}"]


def test_it_reads_nothing_and_inherits_no_descriptor_but_two(parent: Parent) -> None:
    code = "import os, sys\nprint(repr(sys.stdin.read()), len(os.listdir('/proc/self/fd')))"
    parent.start(code)
    parent.wait_until(lambda: parent.lines)
    assert parent.lines == ["'' 6"], "the three, the socket, its pipe's end, the listing's own"


def test_the_current_directory_is_not_searched_for_our_modules(
    parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "workers").mkdir(parents=True)
    (elsewhere / "workers" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(elsewhere)
    parent.start("import workers; print(workers.__name__, 'Decline' in dir(workers))")
    parent.wait_until(lambda: parent.lines)
    assert parent.lines == ["workers True"]


def test_libraries_compute_with_one_thread_unless_told_otherwise(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])"
    parent.start(code)
    parent.wait_until(lambda: parent.lines)
    assert parent.lines == ["4 1"]


# --- what it says ---------------------------------------------------------------------------------


def test_its_output_comes_line_by_line_in_order(parent: Parent) -> None:
    parent.start(
        "import sys\nfor n in range(3):\n    print('out', n)\n    print('err', n, file=sys.stderr)"
    )
    parent.wait_until(lambda: len(parent.lines) == 6)
    assert parent.lines == [f"{word} {n}" for n in range(3) for word in ("out", "err")]


def test_a_line_comes_when_it_is_printed_and_not_at_the_end(parent: Parent) -> None:
    parent.start("import time\nprint('now')\ntime.sleep(1000)")
    parent.wait_until(lambda: parent.lines == ["now"])


def test_a_long_line_is_cut_into_pieces(parent: Parent) -> None:
    parent.start(f"print('x' * {10 * OUTPUT_LINE_BYTES_MAX})\nprint('end')")
    parent.wait_until(lambda: "end" in parent.lines)
    assert sum(map(len, parent.lines[:-1])) == 10 * OUTPUT_LINE_BYTES_MAX
    assert max(map(len, parent.lines)) <= OUTPUT_HELPING_BYTES + OUTPUT_LINE_BYTES_MAX


def test_bytes_that_are_no_text_are_shown_as_such(parent: Parent) -> None:
    parent.start(r"import os; os.write(1, b'\xff\xfe\n')")
    parent.wait_until(lambda: parent.lines)
    assert parent.lines == ["\ufffd\ufffd"]


def test_the_last_words_are_heard_with_the_death(parent: Parent) -> None:
    """Up to what a pipe holds, and a broken last line as well."""
    process = parent.start("print('\\n'.join(map(str, range(1000))), end='')")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.reap()
    assert parent.lines == [str(n) for n in range(1000)]


def test_one_that_never_stops_talking_leaves_time_for_others(parent: Parent) -> None:
    parent.start("while True: print('x' * 1000)")
    parent.wait_until(lambda: len(parent.lines) > 100)
    for _ in range(10):
        before = len(parent.lines)
        started_at = time.monotonic()
        parent.turn()
        assert len(parent.lines) - before < 200
        assert time.monotonic() - started_at < 1.0


# --- how it ends ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "exit_code", "cause"),
    [
        ("", 0, "exited with code 0"),
        ("raise SystemExit(3)", 3, "exited with code 3"),
        ("import os; os.abort()", -6, "killed by SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, "killed by SIGKILL"),
        ("import os, signal; os.kill(os.getpid(), 40)", -40, "killed by signal 40"),
    ],
)
def test_its_end_has_a_cause(parent: Parent, code: str, exit_code: int, cause: str) -> None:
    process = parent.start(code)
    parent.wait_until(process.reap)
    assert (process.exit_cause, process.exit_code) == (cause, exit_code)
    assert not Path(f"/proc/{process.pid}").exists(), "it is no zombie"
    process.signal(signal.SIGTERM)
    process.kill_group()


def test_one_that_lives_is_not_reaped(parent: Parent) -> None:
    process = parent.start("import time; time.sleep(1000)")
    assert not process.reap()
    assert process.exit_cause is None
    process.signal(signal.SIGTERM)
    parent.wait_until(process.reap)
    assert process.exit_cause == "killed by SIGTERM"


START_A_CHILD = """
import subprocess
print(subprocess.Popen(["sleep", "1000"]).pid, flush=True)
"""


def test_killing_it_kills_what_it_started(parent: Parent) -> None:
    process = parent.start(f"{START_A_CHILD}\nimport time; time.sleep(1000)")
    parent.wait_until(lambda: parent.lines)
    process.kill_group()
    wait_until_gone(int(parent.lines[0]))
    parent.wait_until(process.reap)


def test_what_it_leaves_behind_is_killed_when_it_is_reaped(parent: Parent) -> None:
    process = parent.start(START_A_CHILD)
    parent.wait_until(lambda: parent.lines)
    child = int(parent.lines[0])
    assert is_running(child)
    parent.wait_until(process.reap)
    wait_until_gone(child)


def test_an_heir_that_holds_the_output_is_not_waited_for(parent: Parent) -> None:
    """A daemon in a session of its own survives, and keeps the pipe open."""
    process = parent.start(START_A_CHILD.replace("])", "], start_new_session=True)"))
    try:
        parent.wait_until(process.reap)
        assert len(parent.selector.get_map()) == 0
    finally:
        parent.wait_until(lambda: parent.lines)
        os.kill(int(parent.lines[0]), signal.SIGKILL)
