"""The stream of events that the page follows."""

import time
from collections.abc import Iterator

import pytest

from balancer.dashboard.stream import BACKLOG_MAX, VIEWERS_MAX, Viewers, encode
from tests.cluster.running import wait_until
from tests.dashboard.running import Dashboard, Reader
from tests.shell.fake_cluster import FakeCluster, event


@pytest.fixture
def reader(dashboard: Dashboard) -> Iterator[Reader]:
    reader = Reader(dashboard)
    yield reader
    reader.close()


def test_it_begins_with_the_past_and_goes_on_with_the_state(
    cluster: FakeCluster, reader: Reader
) -> None:
    name, past = reader.next()
    assert name == "past"
    assert past.keys() == {"points", "events"}
    name, state = reader.next()
    assert (name, state["answers"], state["admin"]) == ("state", True, True)
    assert [one["name"] for one in state["status"]["workers"]] == [
        *("slow-1", "slow-2", "slow-3"),
        "quick-1",
    ]
    began_at = time.monotonic()
    points = [reader.wait_for("state")["point"] for _ in range(2)]
    assert 0.8 < time.monotonic() - began_at < 4
    assert [point["answers_per_s"] for point in points if point] == [0.0] * 2


def test_the_state_comes_soon_after_an_event_but_not_with_each(
    cluster: FakeCluster, reader: Reader
) -> None:
    reader.wait_for("state")
    reader.wait_for("state")
    asked = len(cluster.asked_for("status"))
    cluster.set_worker("slow-3", state="down")
    began_at = time.monotonic()
    cluster.emit(event("is down", worker="slow-3"))
    while reader.wait_for("state")["status"]["workers"][2]["state"] != "down":
        pass
    assert time.monotonic() - began_at < 0.6

    def storm() -> bool:
        cluster.emit(event("storm", worker="slow-3"))
        return time.monotonic() - began_at > 1

    wait_until(storm, 2)
    assert len(cluster.asked_for("status")) - asked <= 7
    cluster.set_worker("slow-3", state="idle")


def test_events_come_as_they_happen_without_what_is_not_shown(
    cluster: FakeCluster, reader: Reader
) -> None:
    reader.wait_for("state")
    began_at = time.monotonic()
    cluster.emit(event("hello\x1b[2J", worker="slow-1", event="died", body="secret"))
    got = reader.wait_for("event", source="slow-1", event="died")
    assert time.monotonic() - began_at < 0.5
    assert got["text"] == r"hello\u001b[2J"
    assert "body" not in got


def test_the_cluster_is_asked_once_however_many_look(
    cluster: FakeCluster, dashboard: Dashboard
) -> None:
    readers = [Reader(dashboard) for _ in range(6)]
    for reader in readers:
        reader.wait_for("state")
    asked = len(cluster.asked_for("status"))
    for _ in range(2):
        for reader in readers:
            reader.wait_for("state")
    assert len(cluster.asked_for("status")) - asked <= 4
    for reader in readers:
        reader.close()


def test_so_many_may_look_and_no_more(dashboard: Dashboard) -> None:
    wait_until(lambda: looks(dashboard, 1) == 1, 5, "everybody before us is gone")
    assert looks(dashboard, VIEWERS_MAX + 3) == VIEWERS_MAX
    wait_until(lambda: looks(dashboard, 1) == 1, 5, "the places are free again")


def looks(dashboard: Dashboard, readers: int) -> int:
    """How many of so many are let in."""
    opened = [Reader(dashboard) for _ in range(readers)]
    for reader in opened:
        reader.close()
    return sum(reader.status == 200 for reader in opened)


def test_whoever_reads_too_slowly_is_dropped_alone() -> None:
    viewers = Viewers()
    slow, quick = viewers.join([]), viewers.join([])
    message = encode("state", {"n": 1})
    for _ in range(BACKLOG_MAX + 5):
        viewers.publish([message])
        quick._messages.get_nowait()
    assert len(viewers) == 1
    assert slow._is_dropped
    assert not quick._is_dropped
