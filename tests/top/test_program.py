"""top as a whole: a real process in a pseudo-terminal, before a cluster that is scripted."""

import contextlib
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from balancer.control import NotRunning, connect
from balancer.top.view import DRAW_EVERY_S
from tests.cluster.running import run_cluster_command, wait_until
from tests.shell.fake_cluster import FakeCluster, event, worker
from tests.top.answered_requests import answer
from tests.top.terminals import DOWN, UP, top

BEGINS_FRAME = b"\x1b[?2026h"
THREE = [worker("slow-1"), worker("slow-2", "busy"), worker("slow-3")]


def fill_backlog(name: str) -> list[socket.socket]:
    """Connect until nobody else can."""
    waiting: list[socket.socket] = []
    with contextlib.suppress(NotRunning):
        while True:
            waiting.append(connect(name, timeout_s=0.0))
    return waiting


def test_it_shows_the_cluster_and_follows_it() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for(cluster.name, "running", "▸ slow-1", "slow-2  busy", "slow-3")
        cluster.set_worker("slow-3", state="down", why="killed by SIGKILL 0.1 s ago")
        cluster.emit(event("killed by SIGKILL after 3 s", "slow-3", "warning"))
        terminal.wait_for("slow-3  down", "killed by SIGKILL after 3 s")
        cluster.change(lambda status: answer(status, {0.002: 500}))
        terminal.wait_for("200 500", "p50 2.0ms")


def test_it_asks_once_an_interval() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name, "--interval", "300ms") as terminal:
        wait_until(lambda: len(cluster.asked_for("status")) >= 4)
        terminal.press("jjkkjj")
        cluster.emit(*[event(f"line {number}") for number in range(500)])
        terminal.wait_for("line 499")
        assert len(cluster.asked_for("status")) <= 7
        assert len(cluster.asked_for("events")) == 1


def test_many_events_are_drawn_a_few_times() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name, "--interval", "1h") as terminal:
        terminal.wait_for("▸ slow-1")
        before, began_at = terminal.output.count(BEGINS_FRAME), time.monotonic()
        for number in range(1000):
            cluster.emit(event(f"line {number} ends"))
        terminal.wait_for("line 999 ends")
        frames = terminal.output.count(BEGINS_FRAME) - before
        assert frames <= (time.monotonic() - began_at) / DRAW_EVERY_S + 2


def test_a_kill_is_confirmed_then_sent_and_its_answer_shown() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        terminal.press(DOWN + DOWN + UP)
        terminal.wait_for("▸ slow-2")
        terminal.press("x")
        terminal.wait_for("kill slow-2?")
        assert cluster.orders() == []
        terminal.press("y")
        terminal.wait_for("slow-2 is killed")
        assert cluster.orders() == [{"op": "kill", "worker": "slow-2", "by": "top"}]


def test_an_answer_that_is_an_error_is_shown() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        cluster.replies["ready"] = {"error": "the cluster is stopping"}
        terminal.wait_for("▸ slow-1")
        terminal.press("u")
        terminal.wait_for("the cluster is stopping")
        assert cluster.orders() == [{"op": "ready", "worker": "slow-1", "by": "top"}]


def test_a_key_in_pieces_is_one_key_and_what_is_pasted_is_none() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        terminal.press(b"\x1b[200~xyq\x1b[201~")
        for byte in DOWN:
            terminal.press(bytes([byte]))
        terminal.wait_for("▸ slow-2")
        assert cluster.orders() == []
        assert terminal.process.poll() is None


def test_it_follows_the_size_of_its_window() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name, "--interval", "1h") as terminal:
        terminal.wait_for("FAILED", "q quit")
        terminal.resize(160, 45)
        terminal.wait_for("EMPTY  TIMEOUT  DIED  GARBLED", "q quit")
        terminal.resize(60, 3)
        terminal.wait_until(lambda seen: "EMPTY" not in seen and "slow-1" in seen)
        terminal.resize(1, 1)
        terminal.resize(80, 24)
        terminal.wait_for("FAILED", "q quit")


@pytest.mark.parametrize("key", ["q", "\x03", "\x1c"], ids=["q", "Ctrl-C", "Ctrl-\\"])
def test_a_key_ends_it_and_the_terminal_is_as_before(key: str) -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        terminal.press(key)
        number = {"\x03": signal.SIGINT, "\x1c": signal.SIGQUIT}.get(key)
        assert terminal.wait_for_end() == (0 if number is None else 128 + number)
        assert terminal.is_as_found()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_terminal_is_as_before(number: signal.Signals) -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        terminal.process.send_signal(number)
        assert terminal.wait_for_end() == 128 + number
        assert terminal.is_as_found()


def test_a_terminal_that_stands_still_is_not_waited_for() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        terminal.press("\x13")  # Ctrl-S
        asked = len(cluster.asked_for("status"))
        wait_until(lambda: len(cluster.asked_for("status")) > asked + 3)
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.process.wait(5) == 128 + signal.SIGTERM


def test_our_own_error_leaves_the_terminal_as_before() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        cluster.change(lambda status: status.pop("queue"))
        assert terminal.wait_for_end() == 1
        assert terminal.is_as_found()
        assert b"KeyError: 'queue'" in terminal.output


def test_it_is_suspended_and_continued_like_any_program() -> None:
    shell = ("bash", "-c", 'set -m; "$@"; echo suspended; read; fg >/dev/null', "-")
    with FakeCluster(*THREE) as cluster, top(cluster.name, prefix=shell) as terminal:
        terminal.wait_for("▸ slow-1")
        terminal.press("\x1a")  # Ctrl-Z
        terminal.wait_for("suspended")
        assert terminal.is_as_found()
        terminal.press("\n")
        terminal.wait_until(lambda _: not terminal.is_as_found())
        terminal.press("j")
        terminal.wait_for("▸ slow-2")
        terminal.press("q")
        assert terminal.wait_for_end() == 0
        assert terminal.is_as_found()


def test_where_no_shell_could_continue_it_it_is_not_suspended() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        terminal.press("\x1a")
        terminal.wait_until(lambda _: terminal.output.count(b"\x1b[?1049h") == 2)
        terminal.press("j")
        terminal.wait_for("▸ slow-2")


# --- what may befall the cluster ------------------------------------------------------------------


def test_it_survives_the_end_of_the_cluster_and_finds_it_again() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        cluster.stop()
        terminal.wait_for("not running", "It ended", f"run_cluster.py --name {cluster.name}")
        cluster.start()
        terminal.wait_for("running", "▸ slow-1")


def test_it_waits_for_a_cluster_that_is_not_there_yet() -> None:
    cluster = FakeCluster(*THREE)
    with top(cluster.name) as terminal:
        terminal.wait_for("not running", "q quit")
        with cluster:
            terminal.wait_for("▸ slow-1")


def test_a_silent_launcher_is_told_of_and_not_asked_again() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        cluster.is_silent = True
        terminal.wait_for("no answer for 2.", "▸ slow-1")
        asked = len(cluster.asked_for("status"))
        terminal.wait_for("no answer for 3.")
        assert len(cluster.asked_for("status")) == asked
        terminal.press("q")
        assert terminal.wait_for_end() == 0


def test_a_launcher_that_takes_in_nobody_is_told_of_until_it_does() -> None:
    cluster = FakeCluster(*THREE)
    cluster.start(is_accepting=False)
    waiting = fill_backlog(cluster.name)
    with top(cluster.name) as terminal:
        terminal.wait_for("no answer for 2.")
        for connection in waiting:
            connection.close()
        cluster.accept()
        terminal.wait_for("▸ slow-1", "running")
    cluster.stop()


def test_an_order_whose_answer_never_came_is_told_of() -> None:
    with FakeCluster(*THREE) as cluster, top(cluster.name) as terminal:
        terminal.wait_for("▸ slow-1")
        cluster.is_silent = True
        terminal.press("dy")
        terminal.wait_for("drain slow-1 …")
        cluster.stop()
        terminal.wait_for("the cluster went before it answered: drain slow-1")


# --- refusals -------------------------------------------------------------------------------------


def test_without_a_terminal_it_names_the_word_that_needs_none() -> None:
    done = subprocess.run(
        run_cluster_command("top"), stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "run_cluster.py: error: top needs a terminal; elsewhere use: run_cluster.py status\n"
    )


def test_without_rich_it_names_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError(name='rich')")
    with top("any", env={"PYTHONPATH": str(tmp_path)}) as terminal:
        assert terminal.wait_for_end() == 2
        assert "pip install -e '.[ui]'" in terminal.screen().replace("\n", "")
        assert b"Traceback" not in terminal.output


@pytest.mark.parametrize(
    ("arguments", "env", "reason"),
    [
        (["--interval", "1ms"], {}, "write a duration from 100ms"),
        (["--interval", "often"], {}, "'often' is not a duration"),
        ([], {"TERM": "dumb"}, "of the kind 'dumb' cannot show top"),
    ],
    ids=["too often", "no duration", "dumb terminal"],
)
def test_what_cannot_be_is_refused(arguments: list[str], env: dict[str, str], reason: str) -> None:
    with top("any", *arguments, env=env, size=(200, 24)) as terminal:
        assert terminal.wait_for_end() == 2
        assert reason in terminal.screen()
