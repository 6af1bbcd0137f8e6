"""Every command and code block of the README, run as it stands there in a fresh clone.

The blocks are read from top to bottom as a newcomer would: a block that starts a cluster runs in
a terminal of its own until the next such block; the other commands run beside it; a ``text`` block
is what the command before it prints, or else what the cluster's log says. ``…`` stands for any
text. Code with a file's name in its first line is saved under that name.
"""

import configparser
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgpack
import pytest
import zmq

from balancer.arguments import COMMANDS
from balancer.core.dispatcher import Dispatcher
from balancer.core.events import DrainStarted
from balancer.core.limits import Limits
from balancer.options import OPTIONS
from balancer.transport import Transport
from tests.cluster.running import PROJECT, is_alive, processes_of_session_tree, wait_until
from tests.top.terminals import Terminal as Screen

README = (PROJECT / "README.md").read_text()
PYTHON = ".venv/bin/python"
TEST_LINE_MARK = "pip install -q -e '.[test]'"
COMPILE_LINE_MARK = "HATCH_BUILD_HOOKS_ENABLE=1"
LINES_OF_CI = (TEST_LINE_MARK, COMPILE_LINE_MARK)
"""They take minutes."""

INSTALL_TIMEOUT_S = 100.0
"""The first block installs everything before it starts the cluster."""
LOG_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file_name(self) -> str | None:
        found = re.match(r"# ([\w.]+\.(?:py|toml))\n", self.text)
        return found[1] if found else None

    @property
    def starts_a_cluster(self) -> bool:
        started = re.search(rf"{re.escape(PYTHON)} run_cluster\.py(?: (\S+))?", self.text)
        return started is not None and started[1] not in COMMANDS

    @property
    def is_at_a_terminal(self) -> bool:
        """It shows something until a key is pressed."""
        return self.text.rstrip().endswith("run_cluster.py top")

    @property
    def is_a_screen(self) -> bool:
        return "q quit" in self.text


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)]


class Terminal:
    """One command line at work: its output so far, and its end."""

    def __init__(self, command: str, directory: Path) -> None:
        self._output = directory / f".terminal-{time.monotonic_ns()}"
        with self._output.open("wb") as stream:
            self._process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=directory,
                env=outside_any_virtual_environment(),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait(self, timeout_s: float) -> str:
        self._process.wait(timeout_s)
        return self.output()

    def close(self) -> None:
        tree = processes_of_session_tree(self._process.pid)
        for pid in tree:
            with contextlib.suppress(ProcessLookupError):  # it ends with the one before it
                os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not any(map(is_alive, tree)), 10, "the end of what the block started")
        self._process.wait(5)


def outside_any_virtual_environment() -> dict[str, str]:
    bare_python = Path(sys.base_prefix) / "bin"
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TERM") if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return {**kept, "PATH": f"{bare_python}{os.pathsep}{os.defpath}"}


def as_pattern(text: str) -> str:
    """The text as a regular expression, its ``…`` as any text on the line."""
    return re.escape(text).replace("…", ".*?")


def assert_prints(output: str, expected: str) -> None:
    assert re.fullmatch(as_pattern(expected), output), f"{output}\nis not\n{expected}"


def wait_for_lines(terminal: Terminal, expected: str, timeout_s: float = LOG_TIMEOUT_S) -> None:
    """Wait until each of the lines stands in the output. Who writes first of two processes that
    saw the same thing is left to them."""
    patterns = [f"^{as_pattern(line)}$" for line in expected.splitlines()]

    def has_all() -> bool:
        output = terminal.output()
        return all(re.search(pattern, output, re.M) for pattern in patterns)

    try:
        wait_until(has_all, timeout_s)
    except AssertionError:
        pytest.fail(f"{terminal.output()}\nlacks\n{expected}")


def wait_for_all_workers(terminal: Terminal) -> None:
    """Wait until the cluster is ready and each worker is, too. It is ready with the first, and who
    asks it then may be answered by a later pool than the README shows."""
    wait_for_lines(terminal, "… ready on tcp://127.0.0.1:5555", INSTALL_TIMEOUT_S)

    def are_all_ready() -> bool:
        output = terminal.output()
        started = re.search(r" starts (\d+) workers? ", output)  # or none, if they come by hand
        return len(re.findall(r" ready after \d+ ms ", output)) == int(started[1] if started else 0)

    wait_until(are_all_ready, LOG_TIMEOUT_S, "every worker is ready")


def look_at(command: str, directory: Path) -> str:
    """What a program shows at a terminal of the usual size before it is left by its key."""
    terminal = Screen(80, 24, "bash", "-c", command, env={}, cwd=directory)
    try:
        wait_until(lambda: "select" in terminal.screen(), INSTALL_TIMEOUT_S)
        screen = terminal.screen()
        terminal.press("q")
        assert terminal.wait_for_end() == 0
        return screen
    finally:
        terminal.close()


def assert_is_laid_out(screen: str, expected: str) -> None:
    """The lines that say what stands where are on the screen as they are in the README."""
    for mark in ("WORKER  STATE", "select   d drain"):
        (line,) = (line for line in expected.splitlines() if mark in line)
        assert line.rstrip() in screen.splitlines(), screen


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of the working tree would hold."""
    directory = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        if name and (PROJECT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes((PROJECT / name).read_bytes())
    return directory


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def test_a_newcomer_sees_what_the_readme_shows(clone: Path, terminals: list[Terminal]) -> None:
    printed: str | None = None
    screen = ""
    for block in BLOCKS:
        if block.language == "bash" and any(mark in block.text for mark in LINES_OF_CI):
            continue
        if block.file_name is not None:
            (clone / block.file_name).write_text(block.text)
        elif block.language == "bash" and block.starts_a_cluster:
            while terminals:
                terminals.pop().close()
            terminals.append(Terminal(block.text, clone))
            wait_for_all_workers(terminals[0])
            printed = None
        elif block.language == "bash" and block.is_at_a_terminal:
            screen = look_at(block.text, clone)
        elif block.is_a_screen:
            assert_is_laid_out(screen, block.text)
        elif block.language == "bash":
            printed = Terminal(block.text, clone).wait(60) or None
        elif block.language == "text" and printed is not None:
            assert_prints(printed, block.text)
            printed = None
        elif block.language == "text" and "──" not in block.text:
            wait_for_lines(terminals[0], block.text)
    assert printed is not None
    assert printed.endswith("cluster 'default' stopped\n")


def test_each_kind_of_block_is_looked_at_by_a_test() -> None:
    looked_at = {"bash", "text", "toml", "ini"}
    for block in BLOCKS:
        is_loop = block.language == "python" and block.text.startswith("def handle(event)")
        assert block.language in looked_at or block.file_name or is_loop, block.text


def test_the_loop_in_the_readme_is_a_balancer() -> None:
    """It runs on the real parts: answers a request, and ends when told to drain."""
    loop = next(b.text for b in BLOCKS if b.text.startswith("def handle(event)"))
    transport = Transport(Limits(), "readme", 64)
    dispatcher = Dispatcher(Limits(), ["nobody"])
    transport.frontend.bind("tcp://127.0.0.1:*")
    address = transport.frontend.address

    def ask_and_stop() -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        client = context.socket(zmq.REQ)
        client.connect(address)
        client.send(msgpack.packb("hello"))
        replies.append(msgpack.unpackb(client.recv()))
        transport.emit(DrainStarted(1.0))
        client.send(msgpack.packb("wake up"))
        client.close(0)
        context.term()

    replies: list[dict[str, object]] = []
    asker = threading.Thread(target=ask_and_stop)
    asker.start()
    exec(loop, {"dispatcher": dispatcher, "transport": transport, "clock": time.monotonic})
    asker.join(5)
    transport.close()
    assert [reply["reason"] for reply in replies] == ["no_workers"]


def test_the_test_line_of_the_readme_is_the_one_that_runs_everywhere() -> None:
    lines = [line for line in README.splitlines() if TEST_LINE_MARK in line]
    assert lines == [
        f"python3 -m venv .venv && .venv/bin/{TEST_LINE_MARK} && {PYTHON} -m pytest",
    ]
    assert TEST_LINE_MARK in (PROJECT / ".ci" / "run").read_text()


def test_the_line_that_compiles_is_the_one_that_runs_everywhere() -> None:
    lines = [line for line in README.splitlines() if COMPILE_LINE_MARK in line]
    assert lines == [f"{COMPILE_LINE_MARK} .venv/bin/pip install -q -e ."]
    assert COMPILE_LINE_MARK in (PROJECT / ".ci" / "run").read_text()


def test_the_table_of_options_is_the_programs_own() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", README, re.M)
    names = [option.name for option in OPTIONS if option.in_file]
    table = [row for row in rows if row[0] in names]
    assert table == [(o.name, o.shown_default, o.help) for o in OPTIONS if o.in_file]


def test_the_systemd_unit_starts_a_cluster_that_can_be() -> None:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(next(block.text for block in BLOCKS if block.language == "ini"))
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command[1] == "run_cluster.py"
    subprocess.run(
        [sys.executable, PROJECT / "run_cluster.py", *command[2:], "--print-config"],
        check=True,
        capture_output=True,
    )
