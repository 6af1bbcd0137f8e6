"""Requests that must not run twice, and requests that take their workers with them."""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from balancer.client import AsyncClient
from balancer.wire.reply import Reply
from tests.chaos.proxy import Proxy
from tests.cluster.asking import Asker, Record, asker
from tests.cluster.running import Cluster, wait_until

POISON = {"do": "crash"}
TRY_TIMEOUT_S = 0.3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(
        "tests.cluster.jobs:work", "-w", "4", "--try-timeout", f"{TRY_TIMEOUT_S}s"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Asker]:
    cluster.wait_for_workers(4)
    with asker(cluster.address) as client:
        yield client


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(tmp_path / "runs")


@pytest.mark.parametrize(("deed", "why"), [("crash", "died"), ("spin", "timeout")])
def test_a_once_request_whose_worker_fails_is_not_run_again_and_says_that_it_may_have_run(
    client: Asker, record: Record, deed: str, why: str
) -> None:
    reply = client.ask({"do": deed, "record": record.path}, once=True)
    assert (reply.status, reply.reason, reply.fields["may_have_run"]) == (503, "exhausted", True)
    assert [how for _, how in reply.tried] == [why]
    assert client.ask({"record": record.path, "name": "next"}).status == 200
    assert len(record.runs()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="its kernel tells who has read")
def test_a_once_request_that_its_dead_worker_never_read_goes_to_the_next(
    cluster: Cluster, client: Asker, tmp_path: Path
) -> None:
    """Unless the end of the other connection is known first: then nobody else may have it."""
    whys: list[str] = []
    while "undelivered" not in whys:
        record = Record(tmp_path / f"runs {len(whys)}")
        cluster.wait_for_workers(4)
        frozen = client.ask({}).worker
        cluster.kill(frozen, signal.SIGSTOP)
        number = client.send({"record": record.path}, once=True, try_timeout_ms=5000)
        wait_until(partial(is_busy, cluster, frozen))
        cluster.kill(frozen)
        reply = client.reply(number)
        [(name, why)] = reply.tried
        assert (name, reply.status) == (frozen, 200 if why == "undelivered" else 503)
        assert len(record.runs()) == (why == "undelivered")
        whys.append(why)
        assert len(whys) < 8, whys


def is_busy(cluster: Cluster, worker: str) -> bool:
    return bool(cluster.worker(worker)["state"] == "busy")


def test_once_calls_over_a_connection_that_is_cut_run_at_most_once(
    cluster: Cluster, record: Record
) -> None:
    job = {"sleep_s": 0.15, "record": record.path}
    names = [str(number) for number in range(12)]

    async def main() -> tuple[set[str], list[Reply]]:
        proxy = Proxy(("127.0.0.1", int(cluster.address.rpartition(":")[2])))
        async with AsyncClient(await proxy.open()) as client:
            sends = [client.send({**job, "name": name}, once=True) for name in names]
            replies = asyncio.gather(*sends)
            async with asyncio.timeout(10):
                while len(record.every_run()) < 4:
                    await asyncio.sleep(0.005)
            proxy.reset()
            in_flight = {run["name"] for run in record.every_run()}
            ended = await replies
        await proxy.close()
        return in_flight, ended

    cluster.wait_for_workers(4)
    in_flight, replies = asyncio.run(main())
    lost = {name for name, reply in zip(names, replies, strict=True) if reply.status != 200}
    assert lost >= in_flight
    assert len(lost) < len(names), "what waited is answered"
    ends = {(reply.reason, reply.may_have_run) for reply in replies if reply.status != 200}
    assert ends == {("connection_lost", True)}
    assert max(Counter(run["name"] for run in record.every_run()).values()) == 1


@pytest.mark.parametrize(("deed", "why"), [("crash", "died"), ("spin", "timeout")])
def test_a_request_that_fails_every_worker_is_stopped_after_the_third(
    cluster: Cluster, client: Asker, record: Record, deed: str, why: str
) -> None:
    reply = client.ask({"do": deed, "record": record.path})
    assert (reply.status, reply.reason, reply.fields["may_have_run"]) == (500, "poisoned", True)
    assert [how for _, how in reply.tried] == [why] * 3
    assert len({worker for worker, _ in reply.tried}) == 3
    assert len(record.runs()) == 3
    cluster.wait_for_workers(4)
    assert len(record.runs()) == 3


def test_twenty_poison_requests_in_a_row_leave_no_good_request_unanswered(
    cluster: Cluster, client: Asker
) -> None:
    slowest_s, good, ends = 0.0, 0, Counter[tuple[int, str]]()
    cluster.wait_for_workers(4)
    with asker(cluster.address) as victim:
        for _ in range(20):
            poison = client.send(POISON)
            while client.owed:
                asked_at = time.monotonic()
                reply = victim.ask({"sleep_s": 0.005})
                assert reply.status == 200, reply.fields
                slowest_s, good = max(slowest_s, reply.at - asked_at), good + 1
                client.receive(0.0)
            end = client.reply(poison)
            ends[end.status, end.reason] += 1
    print(f"{good} good requests answered within {slowest_s:.3f} s; poison: {dict(ends)}")
    assert ends == {(500, "poisoned"): 20}
    assert slowest_s < 3.0  # below 0.2 s where it is quiet
    wait_until(lambda: all(w["state"] == "idle" for w in cluster.look()["workers"]), 10)


def test_in_a_storm_of_poison_a_good_request_survives_its_workers_death(
    cluster: Cluster, client: Asker, record: Record
) -> None:
    for _ in range(12):
        client.ask(POISON)
    for number in range(3):
        good = client.send({"sleep_s": 0.2, "record": record.path})
        record.wait_for_runs(number * 2 + 1)
        holder = cluster.wait_for_holder()
        cluster.kill(holder["name"], signal.SIGKILL)
        reply = client.reply(good)
        assert reply.status == 200, reply.fields
        assert reply.tried == [(holder["name"], "died")]
