"""drain, ready, restart, kill and scale by command, with requests under way."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from balancer import Client
from balancer.control import ask
from tests.chaos.processes import children_of
from tests.cluster.running import Cluster, is_alive, run_cluster_command, wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster("workers.demo:slow", "-w", "2") as cluster:
        cluster.wait_for_workers(2)
        yield cluster


def command(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        run_cluster_command(*words, "--name", cluster.name),
        capture_output=True,
        text=True,
        timeout=20,
    )


def do(cluster: Cluster, *words: str) -> str:
    done = command(cluster, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def state(cluster: Cluster, name: str) -> str:
    return str(cluster.worker(name)["state"])


def worker_names(cluster: Cluster) -> list[str]:
    return [worker["name"] for worker in cluster.look()["workers"]]


class Load:
    """Requests of some sleep without end, four at a time; ``stop`` gives how each ended."""

    def __init__(self, address: str, sleep_s: float = 0.02) -> None:
        self._sleep_s = sleep_s
        self._client = Client(address, timeout=20)
        self._is_over = threading.Event()
        self._statuses: list[int] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._is_over.is_set():
            self._statuses.append(self._client.send(self._sleep_s).status)

    def __len__(self) -> int:
        return len(self._statuses)

    def stop(self) -> list[int]:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        return self._statuses


def under_load(cluster: Cluster, load: Load) -> None:
    """Wait until some more requests were answered."""
    goal = len(load) + 8
    wait_until(lambda: len(load) >= goal)


# --- drain and ready ------------------------------------------------------------------------------


def test_a_drained_worker_finishes_takes_nothing_new_and_stops(cluster: Cluster) -> None:
    with Client(cluster.address) as client:
        answer: list[object] = []
        # Long enough for three commands on a machine with much else to do.
        asker = threading.Thread(target=lambda: answer.append(client.call(4.0)))
        asker.start()
        name = cluster.wait_for_holder()["name"]
        pid = cluster.worker(name)["pid"]
        assert "finishes what it does" in do(cluster, "drain", name)
        assert state(cluster, name) == "draining"
        others = {client.call(0.001)["pid"] for _ in range(4)}
        assert pid not in others
        asker.join()
        assert answer == [{"slept_s": 4.0, "pid": pid}]
    wait_until(lambda: state(cluster, name) == "drained")
    wait_until(lambda: not is_alive(pid))
    assert cluster.worker(name)["why"] == "drained by hand"
    cluster.wait_for_log(f"{name}      drained: it has finished what it did, and ended")


def test_to_drain_twice_changes_nothing_and_ready_brings_it_back(cluster: Cluster) -> None:
    do(cluster, "drain", "slow-1")
    done = json.loads(do(cluster, "drain", "slow-1", "--json"))
    assert done == {
        "did": "slow-1 is drained already: 'ready slow-1' brings it back",
        "changed": False,
    }
    assert do(cluster, "ready", "slow-1") == "slow-1 is starting"
    cluster.wait_for_workers(2)
    assert "already" in do(cluster, "ready", "slow-1")


def test_what_is_drained_stays_so_when_others_die_the_balancer_too(cluster: Cluster) -> None:
    do(cluster, "drain", "slow-1")
    wait_until(lambda: state(cluster, "slow-1") == "drained")
    cluster.kill("slow-2")
    os.kill(cluster.look()["cluster"]["balancer_pid"], signal.SIGKILL)
    wait_until(lambda: cluster.look()["cluster"]["balancer_restarts"] == 1)
    wait_until(lambda: state(cluster, "slow-2") == "idle")
    assert state(cluster, "slow-1") == "drained"
    os.kill(cluster.launcher.pid, signal.SIGHUP)
    cluster.wait_for_log("reloaded:")
    assert state(cluster, "slow-1") == "drained"
    do(cluster, "ready", "slow-1")
    cluster.wait_for_workers(2)


def test_what_is_drained_while_a_restart_goes_round_is_passed_over(cluster: Cluster) -> None:
    before = {worker["name"]: worker["pid"] for worker in cluster.look()["workers"]}
    ask(cluster.name, "restart")
    assert ask(cluster.name, "drain", worker="slow-2")["changed"]
    wait_until(lambda: cluster.worker("slow-1")["pid"] not in (None, before["slow-1"]))
    wait_until(lambda: not is_alive(before["slow-1"]) and not is_alive(before["slow-2"]))
    wait_until(lambda: state(cluster, "slow-2") == "drained")
    ask(cluster.name, "restart")  # the turns go on
    now = cluster.worker("slow-1")["pid"]
    wait_until(lambda: cluster.worker("slow-1")["pid"] not in (None, now))
    assert state(cluster, "slow-2") == "drained"


def test_with_everybody_drained_there_is_an_honest_503(cluster: Cluster) -> None:
    for name in ("slow-1", "slow-2"):
        do(cluster, "drain", name)
    with Client(cluster.address) as client:
        reply = client.send(0.001)
    assert (reply.status, reply.reason) == (503, "no_workers")


# --- restart, kill and scale ----------------------------------------------------------------------


def test_a_restart_under_load_loses_nothing(cluster: Cluster) -> None:
    before = {worker["pid"] for worker in cluster.look()["workers"]}
    load = Load(cluster.address)
    assert do(cluster, "restart") == "2 workers to be replaced, one at a time in each pool"
    wait_until(lambda: not before & {worker["pid"] for worker in cluster.look()["workers"]})
    wait_until(lambda: not any(map(is_alive, before)))
    under_load(cluster, load)
    assert set(load.stop()) == {200}
    assert cluster.look()["totals"]["failovers"] == 0


def test_one_worker_can_be_restarted_and_the_others_stay(cluster: Cluster) -> None:
    before = {worker["name"]: worker["pid"] for worker in cluster.look()["workers"]}
    do(cluster, "restart", "slow-2")
    wait_until(lambda: cluster.worker("slow-2")["pid"] not in (None, before["slow-2"]))
    assert cluster.worker("slow-1")["pid"] == before["slow-1"]


def test_a_restart_whose_new_process_cannot_start_leaves_the_old_ones(tmp_path: Path) -> None:
    release = tmp_path / "brittle.py"
    release.write_text("import os\ndef handle(request): return os.getpid()\n")
    with Cluster("brittle:handle", "-w", "2", env={"PYTHONPATH": str(tmp_path)}) as cluster:
        cluster.wait_for_workers(2)
        before = {worker["pid"] for worker in cluster.look()["workers"]}
        release.write_text("raise ValueError('broken release')\n")
        do(cluster, "restart")
        cluster.wait_for_log("cannot be started anew (ValueError: broken release): nothing else is")
        assert {worker["pid"] for worker in cluster.look()["workers"]} == before
        with Client(cluster.address) as client:
            assert client.call("x") in before


def test_a_killed_worker_costs_no_request_and_comes_back(cluster: Cluster) -> None:
    load = Load(cluster.address)
    under_load(cluster, load)
    pid = cluster.worker("slow-1")["pid"]
    assert do(cluster, "kill", "slow-1") == f"slow-1 (pid {pid}) is killed"
    wait_until(lambda: cluster.worker("slow-1")["pid"] not in (None, pid))
    under_load(cluster, load)
    assert set(load.stop()) == {200}
    worker = cluster.worker("slow-1")
    assert (worker["last_death"], worker["restarts"]) == ("killed by hand", 1)
    assert cluster.look()["restarts"]["by_hand"] == 1


def test_a_pool_grows_and_shrinks_under_load(cluster: Cluster) -> None:
    load = Load(cluster.address)
    assert do(cluster, "scale", "slow", "4") == "pool slow goes from 2 to 4 workers"
    cluster.wait_for_workers(4)
    under_load(cluster, load)
    assert "already" in do(cluster, "scale", "slow", "4")
    do(cluster, "scale", "slow", "1")
    wait_until(lambda: worker_names(cluster) == ["slow-1"])
    do(cluster, "scale", "slow", "2")
    cluster.wait_for_workers(2)
    under_load(cluster, load)
    assert set(load.stop()) == {200}


def test_a_slot_that_is_still_leaving_is_filled_again(cluster: Cluster) -> None:
    """Scaled down and up again while the last request of its worker goes on."""
    with Client(cluster.address) as client:
        askers = [threading.Thread(target=client.call, args=(1.0,)) for _ in range(2)]
        for asker in askers:
            asker.start()
        wait_until(lambda: all(w["state"] == "busy" for w in cluster.look()["workers"]))
        pid = cluster.worker("slow-2")["pid"]
        do(cluster, "scale", "slow", "1")
        do(cluster, "scale", "slow", "2")
        for asker in askers:
            asker.join()
    wait_until(lambda: cluster.worker("slow-2")["pid"] not in (None, pid))
    cluster.wait_for_workers(2)


def test_signals_add_and_remove_one_worker(cluster: Cluster) -> None:
    os.kill(cluster.launcher.pid, signal.SIGTTIN)
    cluster.wait_for_workers(3)
    for left in (2, 1):
        os.kill(cluster.launcher.pid, signal.SIGTTOU)
        wait_until(lambda left=left: len(worker_names(cluster)) == left)  # type: ignore[misc]
    os.kill(cluster.launcher.pid, signal.SIGTTOU)
    cluster.wait_for_log("not scaled: 0 workers are not possible: 1 to 4096 are")


# --- one order upon another -----------------------------------------------------------------------


def pids_of_workers(cluster: Cluster) -> set[int]:
    return set(children_of(cluster.launcher.pid, "workers"))


def test_to_restart_what_is_just_starting_starts_it_once(cluster: Cluster) -> None:
    ask(cluster.name, "scale", pool="slow", workers=3)
    ask(cluster.name, "restart", worker="slow-3")
    ask(cluster.name, "restart")
    cluster.wait_for_workers(3)
    known = {worker["pid"] for worker in cluster.look()["workers"]}
    wait_until(lambda: pids_of_workers(cluster) == pids_shown(cluster))
    assert len(known) == 3


def pids_shown(cluster: Cluster) -> set[int]:
    return {worker["pid"] for worker in cluster.look()["workers"]}


def test_to_drain_what_is_just_starting_drains_it(cluster: Cluster) -> None:
    ask(cluster.name, "drain", worker="slow-1")
    wait_until(lambda: state(cluster, "slow-1") == "drained")
    assert ask(cluster.name, "ready", worker="slow-1")["changed"]
    assert ask(cluster.name, "drain", worker="slow-1")["changed"]
    wait_until(lambda: len(pids_of_workers(cluster)) == 1)
    wait_until(lambda: state(cluster, "slow-1") == "drained")


def test_the_last_word_on_the_size_of_a_pool_holds(cluster: Cluster) -> None:
    """Whoever is leaving meanwhile."""
    with Client(cluster.address) as client:
        askers = [threading.Thread(target=client.call, args=(0.8,)) for _ in range(2)]
        for asker in askers:
            asker.start()
        wait_until(lambda: all(w["state"] == "busy" for w in cluster.look()["workers"]))
        for size in (1, 2, 1):
            ask(cluster.name, "scale", pool="slow", workers=size)
        assert "is leaving its pool" in ask(cluster.name, "kill", worker="slow-2")["error"]
        assert "leaves its pool" in cluster.worker("slow-2")["why"]
        for asker in askers:
            asker.join()
    wait_until(lambda: worker_names(cluster) == ["slow-1"])
    wait_until(lambda: len(pids_of_workers(cluster)) == 1)


def test_a_draining_worker_can_be_killed(cluster: Cluster) -> None:
    with Client(cluster.address) as client:
        asker = threading.Thread(target=client.send, args=(5.0,))
        asker.start()
        name = cluster.wait_for_holder()["name"]
        pid = cluster.worker(name)["pid"]
        ask(cluster.name, "drain", worker=name)
        assert ask(cluster.name, "kill", worker=name)["did"] == f"{name} (pid {pid}) is killed"
        wait_until(lambda: state(cluster, name) == "drained")
        cluster.wait_for_holder(but=name)
        cluster.launcher.send_signal(signal.SIGKILL)
        client.close()
        asker.join()


def test_who_is_killed_by_hand_again_and_again_is_started_again_and_again(
    cluster: Cluster,
) -> None:
    for _ in range(8):
        wait_until(lambda: ask(cluster.name, "kill", worker="slow-1")["changed"])
    cluster.wait_for_workers(2)
    assert cluster.worker("slow-1")["restarts"] == 8


def test_a_reload_that_stops_leaves_nobody_who_starts_for_ever(tmp_path: Path) -> None:
    """The new handler can be imported, but not be set up."""
    job = tmp_path / "job.py"
    job.write_text("class Job:\n    def __call__(self, request): return request\n")
    config = tmp_path / "cluster.toml"
    config.write_text('[[pool]]\nname = "p"\nhandler = "job:Job"\nworkers = 2\n')
    with Cluster("--config", str(config), env={"PYTHONPATH": str(tmp_path)}) as cluster:
        cluster.wait_for_workers(2)
        job.write_text(job.read_text() + "    def setup(self): 1 / 0\n")
        config.write_text(config.read_text().replace("workers = 2", "workers = 3"))
        os.kill(cluster.launcher.pid, signal.SIGHUP)
        cluster.wait_for_log("reload stopped at")
        states = {worker["name"]: worker["state"] for worker in cluster.look()["workers"]}
        assert states == {"p-1": "idle", "p-2": "idle", "p-3": "failed"}
        assert "not started" in cluster.worker("p-3")["why"]
        job.write_text("class Job:\n    def __call__(self, request): return request\n")
        do(cluster, "ready", "p-3")
        cluster.wait_for_workers(3)


def test_who_is_brought_back_runs_what_is_configured_by_now(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(
        'def old(request): return "old"\ndef new(request): return "new"\n'
    )
    config = tmp_path / "cluster.toml"
    config.write_text('[[pool]]\nname = "p"\nhandler = "jobs:old"\nworkers = 2\n')
    with (
        Cluster("--config", str(config), env={"PYTHONPATH": str(tmp_path)}) as cluster,
        Client(cluster.address) as client,
    ):
        cluster.wait_for_workers(2)
        do(cluster, "drain", "p-1")
        config.write_text(config.read_text().replace("old", "new"))
        os.kill(cluster.launcher.pid, signal.SIGHUP)
        cluster.wait_for_log("follow the new configuration")
        do(cluster, "ready", "p-1")
        cluster.wait_for_workers(2)
        do(cluster, "drain", "p-2")
        assert client.send("who?").worker == "p-1"
        assert client.call("who?") == "new"


# --- what cannot be done --------------------------------------------------------------------------


IMPOSSIBLE = {
    ("drain", "slow-9"): "there is no worker 'slow-9' here, but slow-1, slow-2",
    ("kill", "nobody"): "there is no worker 'nobody' here, but slow-1, slow-2",
    ("scale", "fast", "2"): "there is no pool 'fast' of ours here, but slow",
    ("scale", "slow", "0"): "0 workers are not possible: 1 to 4096 are",
    ("scale", "slow", "5000"): "5000 workers are not possible: 1 to 4096 are",
}


def test_the_impossible_is_refused_with_what_is_possible(cluster: Cluster) -> None:
    for words, complaint in IMPOSSIBLE.items():
        done = command(cluster, *words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"run_cluster.py: error: {complaint}\n"
        done = command(cluster, *words, "--json")
        assert (done.returncode, json.loads(done.stdout)["error"]) == (1, complaint)


def test_nothing_is_steered_once_the_cluster_stops(cluster: Cluster) -> None:
    with Client(cluster.address) as client:
        asker = threading.Thread(target=client.call, args=(1.0,))
        asker.start()
        cluster.wait_for_holder()
        ask(cluster.name, "stop")
        for op in ("drain", "ready", "restart", "kill"):
            assert ask(cluster.name, op, worker="slow-1")["error"] == "the cluster is stopping"
        assert ask(cluster.name, "scale", pool="slow", workers=3)["error"] == (
            "the cluster is stopping"
        )
        asker.join()


def test_questions_that_make_no_sense_are_answered_and_hurt_nobody(cluster: Cluster) -> None:
    for fields in ({}, {"worker": 7}, {"worker": None}, {"worker": ["slow-1"]}):
        assert "does not know 'drain'" in ask(cluster.name, "drain", **fields)["error"]
    assert "does not know 'restart'" in ask(cluster.name, "restart", worker=7)["error"]
    assert "error" in ask(cluster.name, "scale", pool="slow", workers=True)
    long = ask(cluster.name, "x" * 5000)["error"]
    assert len(long) < 200
    for odd in ({"pool": "slow"}, {"pool": "slow", "workers": "4"}, {"workers": 4}):
        assert "does not know 'scale'" in ask(cluster.name, "scale", **odd)["error"]
    for last in (-1, 1 << 70, "x", None, 0):
        assert "requests" in ask(cluster.name, "trace", last=last, troubled="maybe")
    assert "requests" in ask(cluster.name, "trace", request="\ud800")
    assert [worker["restarts"] for worker in cluster.look()["workers"]] == [0, 0]


def test_an_endpoint_is_not_ours_to_steer(tmp_path: Path) -> None:
    file = tmp_path / "far.toml"
    far = '[[pool]]\nname = "far"\nendpoints = ["ipc:///tmp/nobody-there"]\n'
    file.write_text('[[pool]]\nhandler = "workers.demo:echo"\nworkers = 1\n' + far)
    with Cluster("--config", str(file)) as cluster:
        for op in ("drain", "kill", "restart", "ready"):
            error = ask(cluster.name, op, worker="far-1")["error"]
            assert error == "far-1 is an endpoint: who started it may stop it, this cannot"
        assert cluster.worker("far-1")["why"] == "not reached; it is dialed again and again"
        assert "no pool 'far' of ours" in ask(cluster.name, "scale", pool="far", workers=2)["error"]
