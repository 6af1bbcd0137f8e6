"""Handlers on trial: each is imported for real, and nothing of that is left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.shell.worker_process import PATIENCE_S, is_running, wait_until_gone
from workers.check import Finding, HandlersCheck
from workers.loop import Loop

PROGRAM = Path(__file__).parents[2] / "run_cluster.py"
JOBS = """
def handle(request):
    return request

async def asynchronous(request):
    return request

class Model:
    def __init__(self):
        raise OSError("no GPU")

    def setup(self):
        raise OSError("no GPU")

    def __call__(self, request):
        return request
"""
BROKEN = "def load():\n    raise OSError('no \\x1b[2Jmodel\\nfile')\nload()\n"
START_A_CHILD_AND_HANG = """
import os, pathlib, subprocess, time
child = subprocess.Popen(["sleep", "1000"])
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}\\n")
time.sleep(1000)
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory of the user's, with modules of theirs."""
    (tmp_path / "jobs.py").write_text(JOBS)
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "hanging.py").write_text(START_A_CHILD_AND_HANG)
    return tmp_path


def check(here: Path, *arguments: str) -> tuple[int, list[str], str]:
    """The exit code, the lines on stdout with their times as ``…``, and all of stderr."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "check", *arguments],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=30,
    )
    shown = re.sub(r"imported in \d+ ms", "imported in … ms", done.stdout)
    return done.returncode, shown.splitlines(), done.stderr


def pids_in(here: Path) -> list[int]:
    """The processes of a hanging import, once it has written them down."""
    deadline = time.monotonic() + PATIENCE_S
    path = here / "pids"
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return [int(word) for word in path.read_text().split()]


# --- what it finds ------------------------------------------------------------------------------


def test_a_function_and_a_class_are_imported_and_not_called(here: Path) -> None:
    code, lines, errors = check(here, "jobs:handle", "jobs:Model", "jobs:handle", "-w", "3")
    assert (code, errors) == (0, "")
    assert lines == [
        "jobs:handle  ok, imported in … ms",
        "jobs:Model   ok, imported in … ms",
    ]


def test_the_demo_is_checked_where_no_handler_is_named(here: Path) -> None:
    code, lines, _ = check(here)
    assert code == 0
    assert [line.split()[0] for line in lines] == [f"workers.demo:server{n}" for n in (1, 2, 3)]


def test_the_time_is_that_of_the_import(here: Path) -> None:
    (here / "heavy.py").write_text(f"import time\ntime.sleep(0.3)\n{JOBS}")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "check", "heavy:handle"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=30,
    )
    found = re.fullmatch(r"heavy:handle  ok, imported in (\d+) ms\n", done.stdout)
    assert found is not None
    assert int(found[1]) >= 300


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        ("nowhere:handle", "there is no module 'nowhere' (looked in the current directory and "),
        ("jobs:handel", "jobs:handel: there is no attribute 'handel', did you mean 'handle'?"),
        ("jobs:asynchronous", "jobs:asynchronous is async: a handler must be a plain function"),
    ],
)
def test_an_unknown_handler_is_exit_code_2_and_hides_no_other(
    here: Path, handler: str, error: str
) -> None:
    code, lines, errors = check(here, handler, "broken:handle", "jobs:handle")
    assert code == 2
    assert re.fullmatch(rf"{handler}\s+failed: {re.escape(error)}.*", lines[0])
    assert "OSError" in lines[1]
    assert lines[2].endswith("ok, imported in … ms")
    assert errors.count("Traceback") == 1, "only of what the user's code raised"


def test_an_import_that_raises_is_one_line_its_traceback_and_exit_code_1(here: Path) -> None:
    code, lines, errors = check(here, "broken:one", "broken:two", "jobs:handle")
    assert code == 1
    assert lines == [
        r"broken:one   failed: OSError: no \u001b[2Jmodel\nfile",
        r"broken:two   failed: OSError: no \u001b[2Jmodel\nfile",
        "jobs:handle  ok, imported in … ms",
    ]
    assert errors.startswith("Traceback (most recent call last):\n")
    assert errors.count("Traceback") == 1, "both fail alike"
    assert "broken.py" in errors
    assert "workers" not in errors
    assert "\x1b" not in errors


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import os; os._exit(7)", "its import exited with code 7"),
        ("import os; os._exit(0)", "its import exited with code 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its import killed by SIGKILL"),
        ("raise SystemExit('enough')", "SystemExit: enough"),
        ("import os, sys; os.write(int(sys.argv[-3]), b'{}\\n')", "it wrote nonsense to its laun"),
    ],
)
def test_an_import_that_ends_its_process_is_a_failure(here: Path, code: str, cause: str) -> None:
    (here / "ending.py").write_text(f"{code}\n{JOBS}")
    exit_code, lines, _ = check(here, "ending:handle")
    assert exit_code == 1
    assert lines[0].startswith(f"ending:handle  failed: {cause}")


def test_what_an_import_prints_goes_to_stderr(here: Path) -> None:
    (here / "talking.py").write_text(f"print('one \\x1b[31mred')\nprint('two')\n{JOBS}")
    code, lines, errors = check(here, "talking:handle")
    assert (code, lines) == (0, ["talking:handle  ok, imported in … ms"])
    assert errors == "talking:handle | one \\u001b[31mred\ntalking:handle | two\n"


def test_all_are_imported_at_once(here: Path) -> None:
    """Each of the two ends only when the other has begun."""
    for mine, other in [("left", "right"), ("right", "left")]:
        (here / f"{mine}.py").write_text(
            f"import pathlib, time\npathlib.Path('{mine}').touch()\n"
            f"while not pathlib.Path('{other}').exists(): time.sleep(0.01)\n{JOBS}"
        )
    code, lines, _ = check(here, "left:handle", "right:handle", "--startup-timeout", "10s")
    assert (code, len(lines)) == (0, 2)


def test_static_endpoints_are_not_dialed(here: Path) -> None:
    (here / "cluster.toml").write_text(
        '[[pool]]\nhandler = "jobs:handle"\n'
        '[[pool]]\nname = "far"\nendpoints = ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"]\n'
    )
    code, lines, errors = check(here, "--config", "cluster.toml")
    assert (code, errors) == (0, "")
    assert lines == [
        "jobs:handle  ok, imported in … ms",
        "far          ok, 2 endpoints, not dialed",
    ]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--try-timeout", "60s"], "try_timeout (60s) must be shorter than deadline (30s): raise"),
        (["jobs"], "'jobs' is neither a command nor a handler (module:attribute)"),
        (["--config", "no.toml"], "cannot read no.toml: No such file or directory"),
        (["--print-config"], "unknown option '--print-config'"),
    ],
)
def test_a_bad_configuration_is_refused_as_at_a_start(
    here: Path, arguments: list[str], complaint: str
) -> None:
    code, lines, errors = check(here, *arguments)
    assert (code, lines, errors.count("\n")) == (2, [], 1)
    assert errors.startswith(f"run_cluster.py: error: {complaint}")


# --- what it leaves -----------------------------------------------------------------------------


def test_an_import_without_end_is_killed_with_what_it_started(here: Path) -> None:
    code, lines, errors = check(here, "hanging:handle", "--startup-timeout", "1.5s")
    assert (code, errors) == (1, "")
    assert lines == ["hanging:handle  failed: not imported within startup_timeout (1.5 s)"]
    for pid in pids_in(here):
        wait_until_gone(pid)


def test_a_thread_that_an_import_leaves_holds_nobody_up(here: Path) -> None:
    (here / "busy.py").write_text(
        "import os, pathlib, threading, time\n"
        "pathlib.Path('pids').write_text(f'{os.getpid()}\\n')\n"
        f"threading.Thread(target=time.sleep, args=(1000,)).start()\n{JOBS}"
    )
    assert check(here, "busy:handle")[0] == 0
    assert not is_running(pids_in(here)[0])


@contextmanager
def hanging_check(here: Path) -> Iterator[subprocess.Popen[str]]:
    """A check in the middle of an import that never ends."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), "check", "hanging:handle"],
        cwd=here,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        try:
            assert all(map(is_running, pids_in(here)))
            yield program
        finally:
            program.kill()


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_nothing_outlives_a_check_that_is_interrupted(
    here: Path, number: signal.Signals, exit_code: int
) -> None:
    with hanging_check(here) as program:
        program.send_signal(number)
        assert program.wait(PATIENCE_S) == exit_code
        assert program.stdout is not None
        assert program.stdout.read() == ""
    for pid in pids_in(here):
        wait_until_gone(pid)


# --- on somebody else's loop --------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.getsignal(signal.SIGCHLD)
    loop = Loop()
    yield loop
    loop.close()
    signal.signal(signal.SIGCHLD, before)


def turn_until_over(loop: Loop, check: HandlersCheck) -> None:
    deadline = time.monotonic() + PATIENCE_S
    loop.on_signal(signal.SIGCHLD, check.reap)
    check.reap()  # who has died by now was signalled to nobody
    loop.after(PATIENCE_S, lambda: None)
    while not check.is_over:
        assert time.monotonic() < deadline
        loop.turn()


def test_the_findings_come_once_in_the_order_of_the_handlers(loop: Loop) -> None:
    told: list[list[Finding]] = []
    watched_before = set(loop.selector.get_map())
    check = HandlersCheck(loop, ["nowhere:x", "workers.demo:echo"], 30.0, told.append)
    check.start()
    assert len(check.pids) == 2
    turn_until_over(loop, check)
    check.reap()
    assert [[finding.handler for finding in findings] for findings in told] == [
        ["nowhere:x", "workers.demo:echo"]
    ]
    assert [(finding.is_ok, finding.is_unknown) for finding in told[0]] == [
        (False, True),
        (True, False),
    ]
    assert check.pids == set()
    assert set(loop.selector.get_map()) == watched_before


def test_the_last_words_of_a_process_are_heard_with_its_death(loop: Loop) -> None:
    told: list[list[Finding]] = []
    check = HandlersCheck(loop, ["nowhere:x"], 30.0, told.append)
    check.start()
    for pid in check.pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    check.reap()
    assert [finding.is_unknown for finding in told[0]] == [True]


def test_one_that_is_killed_says_nothing(
    loop: Loop, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    told: list[list[Finding]] = []
    check = HandlersCheck(loop, ["hanging:x"], 30.0, told.append)
    check.start()
    pids = pids_in(here)
    check.kill()
    turn_until_over(loop, check)
    assert told == []
    for pid in pids:
        wait_until_gone(pid)


def test_one_with_nothing_to_check_is_over_at_once(loop: Loop) -> None:
    told: list[list[Finding]] = []
    check = HandlersCheck(loop, [], 30.0, told.append)
    check.start()
    assert check.is_over
    assert told == [[]]


def test_a_process_that_cannot_be_had_is_a_finding(here: Path) -> None:
    """There are descriptors enough for the loop, and for no process."""
    code = (
        "import os, resource, sys\nfrom workers.check import check\n"
        "free = os.dup(0); resource.setrlimit(resource.RLIMIT_NOFILE, (free + 5, free + 5))\n"
        "os.close(free)\n"
        "print(check(['jobs:handle'], 9.0, print)[0].error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("no process for it (Too many open files)\n", "")
