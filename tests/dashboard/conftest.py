"""What the tests of the dashboard share: a cluster to look at, and a dashboard that does."""

from collections.abc import Iterator

import pytest

from tests.cluster.running import wait_until
from tests.dashboard.running import Dashboard
from tests.shell.fake_cluster import FakeCluster, worker

TOKEN = "a+token of some length/="


@pytest.fixture(scope="module")
def cluster() -> Iterator[FakeCluster]:
    workers = [worker("slow-1"), worker("slow-2", state="busy", request="7f-1"), worker("slow-3")]
    with FakeCluster(*workers, worker("quick-1")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def dashboard(cluster: FakeCluster) -> Iterator[Dashboard]:
    """With a token, and known by one more name."""
    with Dashboard(cluster.name, TOKEN, hosts=["dash.example.org"]) as dashboard:
        wait_until_it_knows(dashboard)
        yield dashboard


def wait_until_it_knows(dashboard: Dashboard) -> None:
    wait_until(lambda: dashboard.get("/status.json").status == 200, 5, "a status")
