"""A cluster that was started at a terminal, which is closed: by the same signal as a reload."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from balancer.control import ask
from tests.cluster.running import (
    PROJECT,
    free_address,
    is_alive,
    processes_of_session_tree,
    run_cluster_command,
    wait_until,
)

IN_THE_BACKGROUND = ("sh", "-c", 'stty tostop; set -m; "$@" & wait', "sh")
AS_NOHUP_DOES = ("env", "--ignore-signal=HUP")


@contextmanager
def at_terminal(
    name: str, *prefix: str, handlers: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A cluster, the leader of a terminal's session, and the other end of that terminal."""
    ours, theirs = pty.openpty()
    command = run_cluster_command(*handlers, "--name", name, "--bind", free_address())
    launcher = subprocess.Popen(
        ["setsid", "--ctty", *prefix, *command],
        cwd=PROJECT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        yield launcher, ours
    finally:
        for pid in processes_of_session_tree(launcher.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        launcher.wait(5)


def read_until(terminal: int, text: bytes) -> None:
    output, deadline = b"", time.monotonic() + 20
    while text not in output and time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.1)[0]:
            output += os.read(terminal, 4096)
    assert text in output, output


@pytest.mark.skipif(sys.platform != "linux", reason="it needs the tools of Linux")
@pytest.mark.parametrize("prefix", [(), AS_NOHUP_DOES], ids=["as it is", "with nohup"])
def test_the_cluster_ends_with_its_terminal_unless_started_with_nohup(
    prefix: tuple[str, ...],
) -> None:
    name = f"terminal-{os.getpid()}-{len(prefix)}"
    with at_terminal(name, *prefix) as (launcher, terminal):
        read_until(terminal, b"ready on")
        os.kill(launcher.pid, signal.SIGHUP)
        read_until(terminal, b"reloaded: 3 workers")
        tree = processes_of_session_tree(launcher.pid)
        os.close(terminal)
        if prefix:
            for _ in range(2):  # the second answer is given after the signal was seen to
                assert not ask(name, "status")["cluster"]["draining"]
            launcher.terminate()
        assert launcher.wait(10) == 0
        wait_until(lambda: not any(map(is_alive, tree)), 5, "all have ended with it")


@pytest.mark.skipif(sys.platform != "linux", reason="it needs the tools of Linux")
def test_in_the_background_of_a_terminal_that_minds_it_writes_and_keeps_its_workers() -> None:
    """To write there brings the signal that takes a worker away, unless the writer blocks it."""
    name = f"terminal-{os.getpid()}-background"
    handlers = ("workers.demo:echo", "-w", "2")
    with at_terminal(name, *IN_THE_BACKGROUND, handlers=handlers) as (shell, terminal):
        read_until(terminal, b"echo-2      ready")
        assert [worker["name"] for worker in ask(name, "status")["workers"]] == ["echo-1", "echo-2"]
        ask(name, "stop")
        assert shell.wait(10) == 0
