"""The last minutes of a cluster, from one status to the next: what top and the page draw."""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balancer.histogram import Counts, difference, from_json, quantile_s, total

POINTS_MAX = 300
"""Five minutes of seconds."""


@dataclass(frozen=True, slots=True)
class Point:
    """What happened between two statuses."""

    at: float
    """The later one's date, by the clock of whoever asked."""
    answers_per_s: float
    by_status_per_s: dict[str, float]
    failovers_per_s: float
    p50_ms: float | None
    """Of the requests that were answered meanwhile; None if there were none."""
    p99_ms: float | None
    queued: int


class History:
    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=POINTS_MAX)
        self._at = 0.0
        self._totals: Mapping[str, Any] = {}
        self._latency: Counts = {}

    def note(self, now: float, status: Mapping[str, Any]) -> None:
        """Take in what ``status`` of the control protocol has answered. While the balancer cannot
        answer it has no figures: such a second is a gap."""
        totals = status["totals"]
        if not totals:
            return
        pools = status["pools"]
        latency = total(from_json(pool["latency"]["counts"]) for pool in pools)
        if self._totals and now > self._at:
            self.points.append(self._point(now, totals, latency, status["queue"]["length"]))
        self._at, self._totals, self._latency = now, totals, latency

    def _point(self, now: float, totals: Mapping[str, Any], latency: Counts, queued: int) -> Point:
        elapsed_s, before = now - self._at, self._totals
        by_status, failovers, took = Counter(totals["by_status"]), totals["failovers"], latency
        if not _is_anew(totals, before):
            by_status.subtract(before["by_status"])
            failovers -= before["failovers"]
            took = difference(latency, self._latency)
        return Point(
            at=now,
            answers_per_s=sum(by_status.values()) / elapsed_s,
            by_status_per_s={code: n / elapsed_s for code, n in sorted(by_status.items()) if n},
            failovers_per_s=failovers / elapsed_s,
            p50_ms=_ms(quantile_s(took, 0.5)),
            p99_ms=_ms(quantile_s(took, 0.99)),
            queued=queued,
        )


def _is_anew(totals: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Totals never fall: where one did, another balancer counts."""
    is_anew = any(totals[name] < before[name] for name in ("requests", "failovers"))
    return is_anew or not Counter(before["by_status"]) <= Counter(totals["by_status"])


def _ms(duration_s: float | None) -> float | None:
    return None if duration_s is None else duration_s * 1000
