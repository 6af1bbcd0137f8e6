"""``run_cluster.py bench`` on real clusters: its figures agree with those of everybody else."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.running import PROJECT, Cluster, run_cluster_command, wait_until

WORKERS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster("workers.demo:slow", "-w", str(WORKERS)) as cluster:
        yield cluster


def start(name: str, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(
        run_cluster_command("bench", "--name", name, *arguments), cwd=PROJECT, text=True, **streams
    )


def bench(name: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    process = start(name, *arguments)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def measured(name: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the object on stdout; nothing else may be written without a terminal."""
    code, out, err = bench(name, "--json", *arguments)
    assert err == ""
    return code, json.loads(out)


def assert_adds_up(result: dict[str, Any]) -> None:
    """Every request is in each of the sums."""
    interrupted = result["unanswered_by_reason"].get("interrupted", 0)
    assert result["sent"] == result["answered"] + result["unanswered"]
    assert result["sent"] == result["ok"] + result["failed"] + interrupted
    assert result["answered"] == sum(result["by_status"].values())
    assert result["unanswered"] == sum(result["unanswered_by_reason"].values())
    assert sum(result["timeline"]["ok"]) == result["ok"] == result["by_status"].get("200", 0)
    assert sum(result["timeline"]["failed"]) == result["failed"]


def totals_of(cluster: Cluster) -> dict[str, Any]:
    totals: dict[str, Any] = cluster.look()["totals"]
    return totals


# --- agreement ----------------------------------------------------------------------------------


def test_workers_killed_under_a_fixed_rate_cost_no_answer(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    request = json.dumps({"sleep_s": 0.005, "record": str(runs)})
    arguments = ["--rate=100", "--duration=2s", "--kill-every=500ms"]
    with Cluster("tests.cluster.jobs:work", "-w", str(WORKERS)) as cluster:
        cluster.wait_for_workers(WORKERS)
        code, result = measured(cluster.name, *arguments, "--request", request)
        cluster.wait_for_workers(WORKERS)
        status = cluster.look()
        cluster.wait_for_log("is killed (by bench)")
    assert code == 0
    assert_adds_up(result)
    assert (result["sent"], result["ok"], result["failed"]) == (200, 200, 0)
    assert result["schedule"]["due"] == 200
    _assert_killed(result, status, kills=3)
    # What the balancer counted, and what the handler wrote down.
    totals, failed_tries = status["totals"], sum(result["failed_tries"].values())
    assert (totals["requests"], totals["by_status"]) == (200, {"200": 200})
    assert totals["tries"] == 200 + failed_tries
    assert totals["failovers"] == failed_tries
    assert 200 <= len(runs.read_text().splitlines()) <= 200 + failed_tries


def _assert_killed(result: dict[str, Any], status: dict[str, Any], kills: int) -> None:
    assert result["kills"]["workers"] == sum(result["timeline"]["kills"]) == kills
    assert result["kills"]["missed"] == {}
    restarts = [worker["restarts"] for worker in status["workers"]]
    assert sorted(restarts) == [0] * (WORKERS - kills) + [1] * kills  # each had its turn
    died = sum(worker["died"] for worker in status["workers"])
    assert result["failed_tries"].get("died", 0) == died
    assert result["kills"]["caught_requests"] <= result["failovers"]


def test_a_closed_loop_is_counted_as_the_cluster_counts(cluster: Cluster) -> None:
    before = totals_of(cluster)
    code, result = measured(
        cluster.name, "--concurrency", "4", "--duration", "1s", "--request", "0.01"
    )
    after = totals_of(cluster)
    assert code == 0
    assert_adds_up(result)
    assert after["requests"] - before["requests"] == result["sent"] > 100
    assert after["by_status"]["200"] - before["by_status"].get("200", 0) == result["ok"]
    assert result["latency_ms"]["ok"]["p50"] >= 10.0
    assert result["schedule"] is result["kills"] is None


def test_the_payload_arrives_as_it_is_and_errors_are_counted(cluster: Cluster) -> None:
    """``slow`` cannot sleep for 2 KiB of zeros, and says so."""
    code, result = measured(
        cluster.name, "--rate", "50", "--duration", "200ms", "--payload", "2KiB"
    )
    assert code == 1
    assert_adds_up(result)
    assert result["by_status"] == {"500": 10}
    assert result["by_reason"] == {"handler_error": 10}
    assert r"\x00\x00" in result["first_errors"]["500 handler_error"]
    assert result["load"]["payload_bytes"] == 2048 + 3


def test_an_address_is_enough(cluster: Cluster) -> None:
    code, result = measured(
        "nobody", "--connect", cluster.address, "--rate", "20", "--duration", "200ms", "--request=0"
    )
    assert code == 0
    assert (result["sent"], result["cluster"], result["address"]) == (4, None, cluster.address)


# --- faults -------------------------------------------------------------------------------------


def test_a_frozen_balancer_shows_in_latencies_from_the_schedule(cluster: Cluster) -> None:
    """It stands still for 0.5 s of 1.5 s: a third of the requests were due then."""
    pid = cluster.look()["cluster"]["balancer_pid"]
    answered_before = totals_of(cluster)["requests"]
    process = start(
        cluster.name, "--json", "--rate", "100", "--duration", "1500ms", "--request", "0.001"
    )
    wait_until(lambda: totals_of(cluster)["requests"] >= answered_before + 20)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
    finally:
        os.kill(pid, signal.SIGCONT)
    out, _ = process.communicate(timeout=10)
    result = json.loads(out)
    assert_adds_up(result)
    assert process.returncode == 0
    assert result["sent"] == result["ok"] == 150
    assert result["schedule"]["behind_max_ms"] < 400, "the bench itself did not wait"
    latencies = result["latency_ms"]["ok"]
    assert latencies["max"] > 400
    assert latencies["p90"] > 200  # in a closed loop one request of each hundred would be slow
    assert max(result["timeline"]["longest_ms"]) == latencies["max"]


def test_a_cluster_that_stops_in_the_middle_is_told_honestly() -> None:
    with Cluster("workers.demo:slow", "-w", "2") as cluster:
        load = ["--rate=100", "--duration=1200ms", "--timeout=700ms", "--request=0.001"]
        process = start(cluster.name, "--json", *load)
        wait_until(lambda: totals_of(cluster)["requests"] >= 40)
        cluster.launcher.terminate()
        out, _ = process.communicate(timeout=10)
    result = json.loads(out)
    assert process.returncode == 1
    assert_adds_up(result)
    assert result["sent"] == 120
    assert 40 <= result["ok"] < 120
    assert result["failed"] == 120 - result["ok"]
    # Refused while it drained, or sent to where nobody was any more.
    reasons = result["by_reason"].keys() | result["unanswered_by_reason"].keys()
    assert reasons <= {"draining", "unreachable", "connection_lost"}
    assert result["unanswered_by_reason"]["unreachable"] > 0


# --- the end ------------------------------------------------------------------------------------


def test_ctrl_c_prints_what_was_measured_so_far(cluster: Cluster) -> None:
    before = totals_of(cluster)["requests"]
    process = start(cluster.name, "--duration", "60s", "--request", "0.01")
    wait_until(lambda: totals_of(cluster)["requests"] >= before + 20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, err) == (130, "")
    assert re.search(r"^interrupted: \d+ requests were still open$", out, re.M), out
    assert re.search(r"^status 200 .* ms", out, re.M), out
    sent = int(re.search(r"^requests +([\d,]+) in ", out, re.M)[1].replace(",", ""))  # type: ignore[index]
    assert sent >= 20


def test_without_a_cluster_it_says_how_to_start_one() -> None:
    code, out, err = bench("nobody-is-here")
    assert (code, out) == (1, "")
    assert err.startswith("no cluster named 'nobody-is-here' is running")


def test_without_anybody_at_the_address_it_says_so() -> None:
    code, out, err = bench("x", "--connect", "ipc:///tmp/nobody-is-here", "--timeout", "300ms")
    assert (code, out) == (1, "")
    assert "nobody answers at ipc:///tmp/nobody-is-here; start a cluster there with: " in err


def test_it_kills_in_no_other_cluster_than_the_one_it_loads(cluster: Cluster) -> None:
    before = [worker["restarts"] for worker in cluster.look()["workers"]]
    code, out, err = bench(cluster.name, "--connect", "tcp://127.0.0.1:1", "--kill-every", "100ms")
    assert (code, out) == (2, "")
    assert f"listens on {cluster.address}, not on tcp://127.0.0.1:1" in err
    assert [worker["restarts"] for worker in cluster.look()["workers"]] == before


# --- what a person sees -------------------------------------------------------------------------


def test_progress_is_drawn_on_a_terminal_and_wiped_away(cluster: Cluster) -> None:
    ours, theirs = pty.openpty()
    load = ["--rate=50", "--duration=1s", "--request=0.001", "--kill-every=300ms"]
    process = start(cluster.name, *load, stderr=theirs)
    os.close(theirs)
    out, _ = process.communicate(timeout=10)
    drawn = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert process.returncode == 0
    assert re.search(r"/1 s  \d+ answers  \d+/s  0 failed  \d killed", drawn), drawn
    assert drawn.endswith("\r\x1b[K")
    assert "\x1b" not in out
    assert out.startswith(f"cluster {cluster.name} at {cluster.address}: 50 a second for 1s, 9 ")
    assert re.search(r"^requests +50 in \d\.\d s$", out, re.M), out
    assert max(map(len, out.splitlines())) <= 80
