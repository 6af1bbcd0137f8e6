"""The state of a cluster as people see it."""

from typing import Any

import pytest

from balancer.status import render
from tests.shell.fake_cluster import worker as row


def worker(name: str, **fields: Any) -> dict[str, Any]:
    return row(name, **{"pid": 4713, **fields})


def status(*workers: dict[str, Any], **totals: Any) -> dict[str, Any]:
    return {
        "cluster": {
            "name": "default",
            "bind": "tcp://127.0.0.1:5555",
            "launcher_pid": 4711,
            "balancer_pid": 4712,
            "balancer_restarts": 0,
            "started_at": "2030-01-02T03:04:05Z",
            "draining": False,
            "uptime_s": 8000.5,
        },
        "workers": list(workers),
        "queue": {"length": 3, "bytes": 1536, "limit": 1024, "limit_bytes": 64 << 20},
        "totals": {
            "requests": 130,
            "answered": 124,
            "by_status": {"503": 4, "200": 120},
            "by_reason": {"exhausted": 4},
            "tries": 140,
            "failovers": 12,
            "late_replies": 2,
            "clients_gone": 0,
            "batches": 0,
            "batched": 0,
        }
        | totals,
    }


def test_the_whole_table() -> None:
    shown = render(
        status(
            worker("server1-1", served=120, empty=7, busy_ms=61_234.0, request_age_ms=1_249.0),
            worker(
                "server2-1", state="gone", pid=None, died=3, restarts=2, why="killed by SIGKILL"
            ),
        )
    )
    assert shown == (
        "cluster default  running  tcp://127.0.0.1:5555  up 2h 13m\n"
        "launcher 4711  balancer 4712  started 2030-01-02T03:04:05Z\n"
        "\n"
        "WORKER     STATE   PID  SERVED  EMPTY  TIMEOUT  DIED  GARBLED  RESTARTS   BUSY  HOLDS"
        "  WHY\n"
        "server1-1  idle   4713     120      7        0     0        0         0  61.2s   1.2s\n"
        "server2-1  gone      -       0      0        0     3        0         2   0.0s      -"
        "  killed by SIGKILL\n"
        "\n"
        "queue     3 of 1024 requests, 1.5 KiB of 64 MiB\n"
        "requests  130, answered 124\n"
        "tries     140, failovers 12, late replies 2\n"
        "statuses  200: 120, 503: 4\n"
        "reasons   exhausted: 4\n"
    )


def test_batches_are_shown_where_there_are_any() -> None:
    assert "\nbatches   12, of 90 tries\n" in render(status(batches=12, batched=90))
    assert "batches" not in render(status())


def test_what_came_before_the_balancer_that_counts_is_not_in_its_figures() -> None:
    snapshot = status()
    snapshot["cluster"]["balancer_restarts"] = 1
    assert "  balancer 4712 (1 restart: figures since then)  started" in render(snapshot)
    snapshot["cluster"]["balancer_restarts"] = 2
    assert "  balancer 4712 (2 restarts: figures since then)  started" in render(snapshot)


def test_requests_whose_client_has_left_are_told_apart() -> None:
    assert "requests  130, answered 124, 2 dropped because the client left\n" in render(
        status(clients_gone=2)
    )


def test_a_fresh_cluster_without_workers() -> None:
    shown = render(status(by_status={}, by_reason={}))
    assert "\n\nno workers\n\n" in shown
    assert "statuses" not in shown
    assert "reasons" not in shown


def test_a_balancer_that_does_not_answer_is_no_reason_to_show_nothing() -> None:
    shown = render(status(worker("server1-1")) | {"totals": {}})
    assert "server1-1  idle" in shown
    assert shown.endswith("\n\nno figures: the balancer does not answer\n")


@pytest.mark.parametrize(
    ("uptime_s", "shown"),
    [
        (59.9, "59s"),
        (60.0, "1m 0s"),
        (3599.0, "59m 59s"),
        (3600.0, "1h 0m"),
        (86_399.0, "23h 59m"),
        (86_400.0, "1d 0h"),
        (30 * 86_400.0, "30d 0h"),
    ],
)
def test_the_uptime_is_told_in_its_two_largest_units(uptime_s: float, shown: str) -> None:
    snapshot = status()
    snapshot["cluster"]["uptime_s"] = uptime_s
    assert render(snapshot).splitlines()[0].endswith(f"  up {shown}")


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1 << 20, "1 MiB"),
        (5 << 29, "2.5 GiB"),
        (5 << 40, "5120 GiB"),
    ],
)
def test_what_waits_is_told_in_the_unit_that_fits(size_bytes: int, shown: str) -> None:
    snapshot = status()
    snapshot["queue"]["bytes"] = size_bytes
    assert f" requests, {shown} of 64 MiB\n" in render(snapshot)


def test_a_balancer_without_a_process_has_no_number() -> None:
    snapshot = status()
    snapshot["cluster"]["balancer_pid"] = None
    assert "\nlauncher 4711  balancer -  started " in render(snapshot)


def test_a_draining_cluster_says_so() -> None:
    snapshot = status()
    snapshot["cluster"]["draining"] = True
    assert render(snapshot).startswith("cluster default  draining  ")


def test_control_characters_of_workers_never_reach_the_terminal() -> None:
    evil = worker("a\x1b[2J", why="line\nand\rbell\a\u202e", stack="hangs\x1b[2J")
    shown = render(status(evil))
    assert "a\\u001b[2J" in shown
    assert "line\\nand\\u000dbell\\u0007\\u202e" in shown
    assert all(character.isprintable() for character in shown.replace("\n", ""))


def test_a_long_why_is_cut() -> None:
    lines = render(status(worker("a-1", why="x" * 500))).splitlines()
    assert lines[4].endswith("  " + "x" * 77 + "...")
    lines = render(status(worker("a-1", why="x" * 80))).splitlines()
    assert lines[4].endswith("  " + "x" * 80)


def test_the_stack_of_a_worker_that_hung_stands_below() -> None:
    stack = 'Thread 0x1 (most recent call first):\n  File "jobs.py", line 3 in \x1b[2Jspin'
    shown = render(status(worker("a-1", state="starting", stack=stack), worker("a-2")))
    assert (
        "where a-1 hung:\n"
        "    Thread 0x1 (most recent call first):\n"
        '      File "jobs.py", line 3 in \\u001b[2Jspin\n'
    ) in shown
    assert "where a-2" not in shown
