"""Operating a running cluster: status and stop, signals, and the log it writes."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.asking import Asker, asker
from tests.cluster.running import (
    PROJECT,
    Cluster,
    PlainClient,
    is_alive,
    plain_client,
    processes_of_session_tree,
    run_cluster_command,
    wait_until,
)

README = (PROJECT / "README.md").read_text()
HANDLER = r"""
import os, sys, threading, time

def talk(request):
    match request:
        case "print":
            print("first line")
            print("second line", file=sys.stderr)
            os.write(1, b"\xff and \x1b[31mred\r\n")
            os.write(1, b"y" * 20_000 + b"\n")
            print()
            print("no newline", end="")
        case "environment":
            return dict(os.environ)
        case "flood":
            threading.Thread(target=flood, daemon=True).start()
        case "fail":
            raise ValueError("no good")
        case float():
            time.sleep(request)
    return os.getpid()

def flood():
    while True:
        print("flood " * 30)
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("commands")
    (directory / "jobs.py").write_text(HANDLER)
    return directory


@pytest.fixture(scope="module")
def cluster(here: Path) -> Iterator[Cluster]:
    env = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": ""}
    with Cluster("jobs:talk", "-w", "2", cwd=here, env=env) as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[PlainClient]:
    with plain_client(cluster.address) as client:
        yield client


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        run_cluster_command(*words), capture_output=True, text=True, timeout=20, cwd="/"
    )


# --- status and stop ------------------------------------------------------------------------------


def documented_keys(part: str) -> set[str]:
    """Those that the README's table of ``status --json`` names."""
    table = README.partition("| in `status --json` |")[2].partition("\n\n")[0]
    [row] = re.findall(rf"^\| `{part}`(?:, each)? \| (.*) \|$", table, re.M)
    return set(re.findall(r"`(\w+)`", row))


def test_status_as_json_has_stable_keys_and_true_pids(
    cluster: Cluster, client: PlainClient
) -> None:
    pid = client.ask(1)["body"]
    done = command("status", "--json", "--name", cluster.name)
    assert (done.returncode, done.stderr) == (0, "")
    status = json.loads(done.stdout)
    assert set(status) == {"cluster", "workers", "pools", "queue", "totals", "restarts"}
    assert [set(pool) for pool in status["pools"]] == [documented_keys("pools")] * 2
    assert set(status["cluster"]) == documented_keys("cluster")
    assert [set(worker) for worker in status["workers"]] == [documented_keys("workers")] * 2
    assert set(status["queue"]) == documented_keys("queue")
    assert set(status["totals"]) == documented_keys("totals")
    assert status["cluster"]["launcher_pid"] == cluster.launcher.pid
    assert (status["cluster"]["name"], status["cluster"]["bind"]) == (cluster.name, cluster.address)
    assert datetime.fromisoformat(status["cluster"]["started_at"]).tzinfo is not None
    family = processes_of_session_tree(cluster.launcher.pid)
    pids = {worker["pid"] for worker in status["workers"]}
    assert pid in pids
    assert pids | {status["cluster"]["balancer_pid"], cluster.launcher.pid} == family


def test_status_counts_what_happened(cluster: Cluster, client: PlainClient) -> None:
    before = cluster.look()
    assert client.ask("fail")["status"] == 500
    assert client.ask(0.2)["status"] == 200
    after = cluster.look()
    served = [w["served"] for w in after["workers"]]
    assert sum(served) == sum(w["served"] for w in before["workers"]) + 2
    for status, number in (("200", 1), ("500", 1)):
        count = before["totals"]["by_status"].get(status, 0) + number
        assert after["totals"]["by_status"][status] == count
    assert after["totals"]["by_reason"]["handler_error"] >= 1
    busy_ms = [w["busy_ms"] for w in after["workers"]], [w["busy_ms"] for w in before["workers"]]
    assert 190 < sum(busy_ms[0]) - sum(busy_ms[1]) < 2000


def test_status_for_people_shows_every_worker(cluster: Cluster) -> None:
    done = command("status", "--name", cluster.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"cluster {cluster.name}  running  {cluster.address}" in done.stdout
    for worker in cluster.look()["workers"]:
        assert re.search(rf"^{worker['name']} +idle +{worker['pid']} ", done.stdout, re.M)


def test_status_tells_who_is_busy_and_what_waits(cluster: Cluster) -> None:
    with plain_client(cluster.address) as one, plain_client(cluster.address) as two:
        one.send(0.5)
        two.send(0.5)
        wait_until(lambda: [w["state"] for w in cluster.look()["workers"]] == ["busy"] * 2)
        with plain_client(cluster.address) as three:
            three.send("waits")
            wait_until(lambda: cluster.look()["queue"]["length"] == 1)
            assert cluster.look()["queue"]["bytes"] > 0
            assert three.receive()["status"] == 200
        assert (one.receive()["status"], two.receive()["status"]) == (200, 200)


@pytest.mark.parametrize("words", [["status"], ["status", "--json"], ["stop"]])
def test_without_a_cluster_a_command_says_how_to_start_one(words: list[str]) -> None:
    name = f"nobody-{os.getpid()}"
    done = command(*words, "--name", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"no cluster named '{name}' is running")


def test_stop_returns_when_everything_is_answered_and_gone(here: Path) -> None:
    with Cluster("jobs:talk", "-w", "1", cwd=here) as cluster:
        family = processes_of_session_tree(cluster.launcher.pid)
        with plain_client(cluster.address) as client:
            client.send(0.5)
            cluster.wait_for_holder()
            done = command("stop", "--name", cluster.name)
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout == f"cluster '{cluster.name}' stopped\n"
            assert not any(map(is_alive, family - {cluster.launcher.pid}))
            assert client.receive()["status"] == 200
        assert cluster.launcher.wait(5) == 0


# --- signals --------------------------------------------------------------------------------------


def test_usr1_writes_the_table_into_the_log(cluster: Cluster) -> None:
    cluster.launcher.send_signal(signal.SIGUSR1)
    cluster.wait_for_log(f"cluster {cluster.name}  running")
    for worker in cluster.look()["workers"]:
        cluster.wait_for_log(f"{worker['name']}  idle")
    cluster.wait_for_log("statuses  ")


def test_ctrl_c_in_a_terminal_lets_the_requests_finish(here: Path) -> None:
    """It reaches every process of the terminal's foreground group."""
    with Cluster("jobs:talk", "-w", "2", cwd=here, prefix=["setsid"]) as cluster:
        with plain_client(cluster.address) as client:
            client.send(0.7)
            cluster.wait_for_holder()
            os.killpg(cluster.launcher.pid, signal.SIGINT)
            assert client.receive()["status"] == 200
        assert cluster.launcher.wait(10) == 0
        assert cluster.log().rstrip().endswith("stopped")
        for word in ("Traceback", "KeyboardInterrupt", "killed"):
            assert word not in cluster.log()


def test_ctrl_c_during_the_start_is_a_stop_too(here: Path) -> None:
    (here / "slow_start.py").write_text("import time\ntime.sleep(30)\n")
    cluster = Cluster("slow_start:handle", "-w", "2", cwd=here)
    cluster.start()
    wait_until(lambda: len(processes_of_session_tree(cluster.launcher.pid)) == 4)
    cluster.launcher.send_signal(signal.SIGINT)
    assert cluster.launcher.wait(10) == 0
    cluster.close()
    assert "Traceback" not in cluster.log()


# --- the environment and the output of workers ----------------------------------------------------


def test_workers_compute_with_one_thread_unless_told_otherwise(client: PlainClient) -> None:
    environment = client.ask("environment")["body"]
    for library in ("OPENBLAS", "NUMEXPR", "VECLIB_MAXIMUM"):
        assert environment[f"{library}_NUM_THREADS"] == "1"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["MKL_NUM_THREADS"] == ""


def test_what_a_worker_prints_is_in_the_log_line_by_line(
    cluster: Cluster, client: PlainClient
) -> None:
    assert client.ask("print")["status"] == 200
    for text in ("| first line", "| second line", "[31mred"):
        assert re.match(r"\d\d:\d\d:\d\d\.\d{3} talk-[12] +\| ", cluster.wait_for_log(text))
    assert "\x1b" not in cluster.log()
    cluster.wait_for_log("y" * 1000)
    assert max(map(len, cluster.log().splitlines())) < 10_000
    with plain_client(cluster.address) as other:  # the next line completes the broken one
        wait_until(lambda: other.ask("print") and "no newlinefirst line" in cluster.log())


def test_an_error_of_a_handler_is_in_the_log_with_its_traceback(
    cluster: Cluster, client: PlainClient
) -> None:
    reply = client.ask("fail")
    assert (reply["status"], reply["error"]) == (500, "ValueError: no good")
    assert "Traceback" not in json.dumps(reply)
    cluster.wait_for_log("failed (try 1): Traceback (most recent call last):")
    cluster.wait_for_log("| ValueError: no good")


def assert_both_answer(client: Asker, number: int, pids: set[int]) -> None:
    """So many requests at once: the one that prints all the time is asked, and the other, too."""
    replies = client.ask_at_once(number, 0.02)
    assert [reply.status for reply in replies] == [200] * number
    assert {reply.body for reply in replies} == pids


def test_a_worker_that_never_stops_printing_is_nobodys_trouble(here: Path) -> None:
    with Cluster("jobs:talk", "-w", "2", cwd=here) as cluster:
        cluster.wait_for_workers(2)
        with asker(cluster.address) as client:
            chatty = client.ask("flood").body
            other = next(w for w in cluster.look()["workers"] if w["pid"] != chatty)
            assert_both_answer(client, 20, {chatty, other["pid"]})
            cluster.kill(other["name"])
            cluster.wait_for_log(f"{other['name']:<11} back after")
        cluster.launcher.send_signal(signal.SIGTERM)
        assert cluster.launcher.wait(10) == 0


# --- the log --------------------------------------------------------------------------------------


def test_every_line_of_a_json_log_is_json_with_stable_keys(here: Path) -> None:
    with Cluster("jobs:talk", "-w", "2", "--log-format", "json", cwd=here) as cluster:
        cluster.wait_for_workers(2)
        with plain_client(cluster.address) as client:
            client.ask("print")
            client.ask("fail")
            client.send(0.5)
            cluster.kill(cluster.wait_for_holder()["name"])
            assert client.receive()["status"] == 200
        cluster.launcher.send_signal(signal.SIGUSR1)
        cluster.wait_for_log("statuses")
        cluster.launcher.send_signal(signal.SIGTERM)
        assert cluster.launcher.wait(10) == 0
    records = list(map(read_record, cluster.log().splitlines()))
    assert {record["level"] for record in records} <= {"info", "warning", "error"}
    printed = [r["text"] for r in records if r.get("output")]
    assert printed[:2] == ["| first line", "| second line"]
    (lost,) = [r for r in records if r.get("why") == "died"]
    assert set(lost) >= {"request", "worker", "ms"}
    assert lost["source"] == "balancer"


def read_record(line: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(line)
    assert {"time", "level", "source", "text"} <= set(record)
    assert datetime.fromisoformat(record["time"]).tzinfo is not None
    return record


def test_a_cluster_that_fails_says_so_in_json_too(here: Path) -> None:
    (here / "broken.py").write_text("1 / 0\n")
    cluster = Cluster("broken:handle", "-w", "1", "--log-format", "json", cwd=here)
    cluster.start()
    assert cluster.launcher.wait(20) == 1
    records = list(map(read_record, cluster.log().splitlines()))
    cluster.close()
    assert records[-1]["level"] == "error"
    assert "no worker of pool 'handle' could start: ZeroDivisionError" in records[-1]["text"]


def test_a_log_that_nobody_reads_stops_neither_requests_nor_restarts(here: Path) -> None:
    with Cluster("jobs:talk", "-w", "2", cwd=here) as cluster:
        cluster.wait_for_workers(2)
        with asker(cluster.address) as client:
            chatty = client.ask("flood").body
            wait_until(lambda: cluster.unread_log_bytes() > 60_000)
            other = next(w for w in cluster.look()["workers"] if w["pid"] != chatty)
            cluster.kill(other["name"])
            wait_until(lambda: cluster.worker(other["name"])["restarts"] == 1)
            cluster.wait_for_workers(2)
            assert_both_answer(client, 100, {chatty, cluster.worker(other["name"])["pid"]})
        cluster.launcher.send_signal(signal.SIGTERM)
        assert cluster.launcher.wait(10) == 0
