"""Nothing outlives its launcher: each layer alone, and a worker with all of them."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from tests.shell.worker_process import (
    PATIENCE_S,
    ask,
    is_running,
    link,
    serving,
    started,
    wait_until_gone,
)

LAUNCHER = """
    import os, socket, subprocess, sys, time
    ours, theirs = socket.socketpair()
    fd, pid = theirs.fileno(), os.getpid()
    code = sys.argv[1].replace("FD", str(fd)).replace("PID", str(pid))
    child = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[fd], start_new_session=True, stdout=sys.stdout
    )
    theirs.close()
    time.sleep(1000)
"""


@pytest.fixture
def pids() -> Iterator[list[int]]:
    """Processes to kill in the end, whatever became of the test."""
    started: list[int] = []
    yield started
    for pid in started:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def launch(code: str, pids: list[int]) -> subprocess.Popen[str]:
    """A launcher whose child runs ``code``, which prints the pids of all that must die."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LAUNCHER), textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    pids += map(int, process.stdout.readline().split())
    return process


def kill_launcher(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def test_the_kernel_kills_a_child_that_holds_the_gil(pids: list[int]) -> None:
    launcher = launch(
        """
        import itertools, os
        from balancer import lifeline
        lifeline.die_with_parent(PID)
        print(os.getpid(), flush=True)
        all(itertools.repeat(True))
        """,
        pids,
    )
    assert is_running(pids[0])
    kill_launcher(launcher)
    wait_until_gone(pids[0])


def test_the_kernel_kills_a_child_that_is_frozen(pids: list[int]) -> None:
    launcher = launch(
        """
        import os, time
        from balancer import lifeline
        lifeline.die_with_parent(PID)
        print(os.getpid(), flush=True)
        time.sleep(1000)
        """,
        pids,
    )
    os.kill(pids[0], signal.SIGSTOP)
    kill_launcher(launcher)
    wait_until_gone(pids[0])


def test_whose_parent_is_already_gone_exits_at_once() -> None:
    code = "import os; from balancer import lifeline; lifeline.die_with_parent(os.getpid())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 1


def test_the_thread_kills_the_group_that_it_leads(pids: list[int]) -> None:
    launcher = launch(
        """
        import os, subprocess, time
        from balancer import lifeline
        lifeline.watch(FD)
        print(os.getpid(), subprocess.Popen(["sleep", "1000"]).pid, flush=True)
        time.sleep(1000)
        """,
        pids,
    )
    assert all(map(is_running, pids))
    kill_launcher(launcher)
    for pid in pids:
        wait_until_gone(pid)


def test_the_thread_spares_a_group_that_it_does_not_lead() -> None:
    code = """if True:
        import sys, time
        from balancer import lifeline
        lifeline.watch(int(sys.argv[1]))
        print("watching", flush=True)
        time.sleep(1000)
    """
    ours, theirs = socket.socketpair()
    fd = theirs.fileno()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(fd)], pass_fds=[fd], stdout=subprocess.PIPE
        )
        theirs.close()
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            ours.sendall(b"dropped")
            ours.close()
            assert process.wait(PATIENCE_S) == 1  # And we, of the same group, are here to see it.


def test_the_hang_up_takes_what_the_process_itself_started(pids: list[int]) -> None:
    launcher = launch(
        """
        import itertools, os, subprocess
        from balancer import lifeline
        lifeline.kill_group_on_hangup(FD)
        lifeline.watch(FD)
        lifeline.die_with_parent(PID)
        print(os.getpid(), subprocess.Popen(["sleep", "1000"]).pid, flush=True)
        all(itertools.repeat(True))
        """,
        pids,
    )
    assert all(map(is_running, pids))
    kill_launcher(launcher)
    for pid in pids:
        wait_until_gone(pid)


def test_a_worker_dies_when_its_launcher_hangs_up() -> None:
    with serving("tests.shell.jobs:start_child") as (worker, req):
        child = msgpack.unpackb(ask(req, "x").value)
        assert is_running(child)
        worker.launcher.close()
        assert worker.exit_code() == -signal.SIGKILL
        wait_until_gone(child)


def test_a_worker_that_leads_no_group_dies_alone() -> None:
    with started("workers.demo:echo", leads_group=False) as worker:
        assert worker.event()["event"] == "ready"
        worker.launcher.close()
        assert worker.exit_code() == 1


def test_what_a_handler_started_does_not_hide_the_end_of_its_worker() -> None:
    with serving("tests.shell.jobs:start_in_shell") as (worker, req):
        assert ask(req, "x").status == 200
        worker.process.kill()
        assert worker.launcher.recv(1) == b""


WITH_SOCKET = ["--launcher-fd", "FD", "--launcher-pid", "PID"]
WITHOUT_SOCKET = ["--launcher-pid", "PID"]


@pytest.mark.parametrize("options", [WITH_SOCKET, WITHOUT_SOCKET])
@pytest.mark.parametrize("moment", ["at its start", "when it serves"])
def test_no_worker_outlives_a_launcher_that_is_killed(
    moment: str, options: list[str], tmp_path: Path, pids: list[int]
) -> None:
    address = f"ipc://{tmp_path}/w"
    command = [sys.executable, "-m", "workers", "workers.demo:echo", "--bind", address, *options]
    launcher = launch(
        f"import os; print(os.getpid(), flush=True); os.execv({sys.executable!r}, {command})", pids
    )
    if moment == "when it serves":
        with link(address) as req:
            assert ask(req, "x").status == 200
    kill_launcher(launcher)
    wait_until_gone(pids[0])
