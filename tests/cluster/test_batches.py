"""Requests that travel together, through a real cluster."""

import time

import pytest

from balancer import Client
from balancer.errors import Poisoned
from tests.cluster.running import Cluster

TOGETHER = "tests.cluster.jobs:Together"


def test_what_waits_for_a_handler_with_batch_comes_to_it_in_one_list() -> None:
    with (
        Cluster(TOGETHER, "-w", "2", "--batch-max", "8") as cluster,
        Client(cluster.address) as client,
    ):
        answers = list(client.map(range(300)))
    requests, sizes = zip(*answers, strict=True)
    assert requests == tuple(range(300))
    assert 2 <= max(sizes) <= 8


def test_without_batch_max_every_request_is_a_list_of_its_own() -> None:
    with Cluster(TOGETHER, "-w", "1") as cluster, Client(cluster.address) as client:
        assert list(client.map(range(30))) == [[number, 1] for number in range(30)]


@pytest.mark.parametrize("handler", ["workers.demo:echo", "tests.shell.jobs:TogetherStatic"])
def test_each_gets_its_own_answer(handler: str) -> None:
    with (
        Cluster(handler, "-w", "2", "--batch-max", "32") as cluster,
        Client(cluster.address) as client,
    ):
        assert list(client.map(range(2000))) == list(range(2000))
        totals = cluster.look()["totals"]
    assert totals["batches"] > 10, "hardly anything was sent in company"
    assert totals["batched"] > 2 * totals["batches"]


def test_batches_form_from_a_cold_start_whatever_the_way_to_many_workers_takes() -> None:
    """On two cores a lone request to one of sixteen workers takes longer than the whole budget: by
    the balancer's own clock nothing would ever fit into it."""
    options = ("-w", "16", "--batch-max", "32")
    with Cluster("workers.demo:echo", *options) as cluster, Client(cluster.address) as client:
        cluster.wait_for_workers(16)
        assert list(client.map(range(5000), window=512)) == list(range(5000))
        totals = cluster.look()["totals"]
    assert totals["batched"] > 2500


def test_those_that_a_poisonous_request_took_along_are_answered() -> None:
    payloads = [*range(100), "crash", *range(100, 200)]
    with (
        Cluster(TOGETHER, "-w", "4", "--batch-max", "8") as cluster,
        Client(cluster.address) as client,
    ):
        answers = list(client.map(payloads, return_exceptions=True))
        assert cluster.look()["totals"]["batches"] > 0
    poisoned = answers.pop(100)
    assert isinstance(poisoned, Poisoned)
    assert [answer[0] for answer in answers] == list(range(200))


def test_a_request_waits_for_others_to_fill_its_batch() -> None:
    options = ("-w", "1", "--batch-max", "2", "--batch-wait", "1s")
    with Cluster(TOGETHER, *options) as cluster, Client(cluster.address) as client:
        began_at = time.monotonic()
        assert list(client.map("ab")) == [["a", 2], ["b", 2]]
        assert time.monotonic() - began_at < 0.9
        assert client.call("c") == ["c", 1]
        assert time.monotonic() - began_at >= 1.0
