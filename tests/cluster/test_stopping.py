"""The cluster is told to stop: what it took on is answered, newcomers are told, nothing is left."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from balancer.control import ask
from balancer.runtime_directory import path_of
from tests.cluster.asking import Record, asker
from tests.cluster.running import Cluster, is_alive, processes_of_session_tree, wait_until


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster("tests.cluster.jobs:work", "-w", "2") as cluster:
        cluster.wait_for_workers(2)
        yield cluster


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "runs")


def assert_clean_end(cluster: Cluster, family: set[int], exit_code: int = 0) -> None:
    assert cluster.launcher.wait(15) == exit_code, cluster.log()
    assert [pid for pid in family if is_alive(pid)] == []
    assert not path_of(cluster.name).exists()


def is_draining(cluster: Cluster) -> bool:
    return bool(cluster.look()["cluster"]["draining"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_answers_everything_accepted_and_turns_newcomers_away(
    cluster: Cluster, record: Record, number: signal.Signals
) -> None:
    family = processes_of_session_tree(cluster.launcher.pid)
    with asker(cluster.address) as client, asker(cluster.address) as newcomer:
        accepted = [client.send({"sleep_s": 0.3, "record": record.path}) for _ in range(6)]
        record.wait_for_runs(2)
        wait_until(lambda: cluster.look()["totals"]["open"] == 6)
        cluster.launcher.send_signal(number)
        wait_until(lambda: is_draining(cluster))
        asked_at = time.monotonic()
        refused = newcomer.ask({})
        assert refused.at - asked_at < 0.3
        assert (refused.status, refused.reason) == (503, "draining")
        assert refused.fields["may_have_run"] is False
        assert [client.reply(n).status for n in accepted] == [200] * 6
        answered_at = client.reply(accepted[-1]).at
        assert_clean_end(cluster, family)
    print(f"gone {(time.monotonic() - answered_at) * 1000:.0f} ms after the last answer")
    assert len(record.runs()) == 6


def test_a_worker_that_dies_while_the_cluster_stops_takes_no_request_with_it(
    cluster: Cluster, record: Record
) -> None:
    with asker(cluster.address) as client:
        accepted = [client.send({"sleep_s": 0.3, "record": record.path}) for _ in range(6)]
        record.wait_for_runs(2)
        wait_until(lambda: cluster.look()["totals"]["open"] == 6)
        cluster.launcher.send_signal(signal.SIGTERM)
        wait_until(lambda: is_draining(cluster))
        for name in ("work-1", "work-2"):
            cluster.kill(name)
        assert [client.reply(n).status for n in accepted] == [200] * 6
        assert cluster.launcher.wait(15) == 0


def test_a_stop_is_not_kept_waiting_by_a_worker_that_ignores_it() -> None:
    with Cluster("tests.cluster.jobs:work", "-w", "2", "--drain-timeout", "200ms") as cluster:
        cluster.wait_for_workers(2)
        family = processes_of_session_tree(cluster.launcher.pid)
        with asker(cluster.address) as client:
            number = client.send({"do": "hold the gil"})
            cluster.wait_for_holder()
            stopped_at = time.monotonic()
            cluster.launcher.send_signal(signal.SIGTERM)
            reply = client.reply(number)
            assert (reply.status, reply.reason) == (503, "draining")
            assert reply.fields["may_have_run"] is True
            assert reply.at - stopped_at < 1.5
            assert_clean_end(cluster, family)


def test_the_second_interrupt_hurries_and_the_third_waits_for_nothing(
    cluster: Cluster, record: Record
) -> None:
    family = processes_of_session_tree(cluster.launcher.pid)
    with asker(cluster.address) as client:
        accepted = [client.send({"sleep_s": 20.0, "record": record.path}) for _ in range(2)]
        record.wait_for_runs(2)
        wait_until(lambda: cluster.look()["totals"]["open"] == 2)
        cluster.launcher.send_signal(signal.SIGINT)
        cluster.wait_for_log("draining")
        cluster.launcher.send_signal(signal.SIGINT)
        hurried_at = time.monotonic()
        cluster.wait_for_log("hurrying")
        replies = [client.reply(number) for number in accepted]
        assert [reply.reason for reply in replies] == ["draining"] * 2
        assert 2.9 < replies[0].at - hurried_at < 5.0  # 3 s
    cluster.launcher.send_signal(signal.SIGINT)
    killed_at = time.monotonic()
    assert_clean_end(cluster, family)
    assert time.monotonic() - killed_at < 2.0  # 0.1 s


def test_everything_can_be_killed_at_once(cluster: Cluster, record: Record) -> None:
    family = processes_of_session_tree(cluster.launcher.pid)
    with asker(cluster.address) as client:
        client.send({"do": "hold the gil", "record": record.path})
        record.wait_for_runs(1)
        for word in ("draining", "hurrying", "killing"):
            cluster.launcher.send_signal(signal.SIGINT)
            cluster.wait_for_log(word)
        assert_clean_end(cluster, family)


def test_an_idle_cluster_is_gone_at_once(cluster: Cluster) -> None:
    family = processes_of_session_tree(cluster.launcher.pid)
    stopped_at = time.monotonic()
    cluster.launcher.send_signal(signal.SIGTERM)
    assert_clean_end(cluster, family)
    print(f"stopped within {(time.monotonic() - stopped_at) * 1000:.0f} ms")
    assert time.monotonic() - stopped_at < 2.0  # 0.1 s where it is quiet


def test_two_stop_commands_do_not_hurry_each_other(cluster: Cluster, record: Record) -> None:
    with asker(cluster.address) as client:
        accepted = client.send({"sleep_s": 1.0, "record": record.path})
        record.wait_for_runs(1)
        for _ in range(3):
            assert ask(cluster.name, "stop")["drain_timeout_s"] == 25.0
        assert client.reply(accepted).status == 200
        assert cluster.launcher.wait(15) == 0
    assert "hurrying" not in cluster.log()


def test_a_balancer_that_dies_while_it_drains_is_told_of(cluster: Cluster, record: Record) -> None:
    balancer = cluster.look()["cluster"]["balancer_pid"]
    with asker(cluster.address) as client:
        client.send({"sleep_s": 1.0, "record": record.path})
        record.wait_for_runs(1)
        cluster.launcher.send_signal(signal.SIGTERM)
        wait_until(lambda: is_draining(cluster))
        os.kill(balancer, signal.SIGKILL)
        assert cluster.launcher.wait(15) == 1
    assert "the requests that it held are lost" in cluster.log()
