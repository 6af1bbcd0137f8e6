"""A cluster that is gone or silent, not there yet, or back again."""

from collections.abc import Iterator

import pytest

from tests.dashboard.conftest import wait_until_it_knows
from tests.dashboard.running import Dashboard, Reader
from tests.shell.fake_cluster import FakeCluster, event, worker


@pytest.fixture
def fresh() -> Iterator[tuple[FakeCluster, Dashboard]]:
    with FakeCluster(worker("slow-1")) as cluster, Dashboard(cluster.name) as dashboard:
        wait_until_it_knows(dashboard)
        yield cluster, dashboard


@pytest.mark.parametrize("how", ["gone", "silent"])
def test_a_cluster_that_is_gone_or_silent_comes_back(
    fresh: tuple[FakeCluster, Dashboard], how: str
) -> None:
    cluster, dashboard = fresh
    reader = Reader(dashboard)
    cluster.emit(event("before"))
    reader.wait_for("event", text="before")
    _set(cluster, how, is_there=False)
    state = reader.wait_for("state", 8, answers=False)
    assert state["status"]["workers"][0]["name"] == "slow-1", "what was last known stays"
    assert dashboard.get("/status.json").status == 503
    assert dashboard.get("/readyz").status == 503
    assert dashboard.get("/healthz").status == 200
    assert dashboard.get("/metrics").text.endswith("failover_up 0.0\n")
    _set(cluster, how, is_there=True)
    reader.wait_for("state", 8, answers=True)
    assert dashboard.get("/readyz").status == 200
    cluster.emit(event("after"))
    reader.wait_for("event", text="after")
    reader.close()
    reader = Reader(dashboard)
    _, past = reader.next()
    reader.close()
    assert [one["text"] for one in past["events"]] == ["before", "after"], "nothing twice"


def _set(cluster: FakeCluster, how: str, *, is_there: bool) -> None:
    if how == "silent":
        cluster.is_silent = not is_there
    elif is_there:
        cluster.start()
    else:
        cluster.stop()


def test_the_dashboard_may_be_there_before_its_cluster() -> None:
    cluster = FakeCluster(worker("slow-1"))
    with Dashboard(cluster.name) as dashboard:
        reader = Reader(dashboard)
        assert reader.next()[1] == {"points": [], "events": []}
        assert reader.wait_for("state")["status"] is None
        assert dashboard.get("/worker/slow-1.json").status == 404
        with cluster:
            reader.wait_for("state", answers=True)
        reader.close()
