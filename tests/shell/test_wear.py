"""When a worker process says that it has served enough."""

import resource

import pytest

from workers import wear
from workers.wear import Wear, rss_bytes

MIB = 1 << 20


def told(max_requests: int | None, max_rss_bytes: int | None, requests: int) -> list[str]:
    said: list[str] = []
    worn = Wear(max_requests, max_rss_bytes, said.append)
    for _ in range(requests):
        worn.note_requests(1)
    return said


def test_it_says_so_once_at_the_last_request_and_not_before() -> None:
    assert told(50, None, 49) == []
    assert told(50, None, 50) == ["served 50 requests"]
    assert told(50, None, 500) == ["served 50 requests"]
    assert told(1, None, 1) == ["served 1 requests"]


def test_it_says_so_when_it_is_too_large() -> None:
    rss = rss_bytes()
    assert told(None, rss + 200 * MIB, 3) == []
    [why] = told(None, rss // 2, 3)
    assert why.endswith(f"MiB of memory are above max_rss ({rss // 2 / MIB:.1f} MiB)")


def test_without_a_limit_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wear, "rss_bytes", lambda: pytest.fail("it was looked at"))
    assert told(None, None, 3) == []
    assert told(5, None, 3) == []


def test_the_resident_memory_grows_with_what_is_kept() -> None:
    before = rss_bytes()
    assert MIB < before <= 2 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    kept = b"x" * (64 * MIB)
    assert rss_bytes() - before > 32 * MIB
    del kept
