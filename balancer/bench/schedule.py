"""When the next requests are due: as soon as others end, or at fixed times. Told the time.

Times are seconds since the start. The latency of a request counts from the time that it was due at,
not from the moment at which it was sent: a sender that is held up does not make the cluster look
better than it is.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from balancer.bench.plan import Plan

BURST_MAX = 64
"""What is due is sent in portions, with a look at the answers in between."""
LATE_S = 0.01
LATE_SHARE_MAX = 0.01
"""A schedule is kept if no more than this share of its requests were sent more than LATE_S late."""
OVERTIME_S = 0.25
"""For what was due at the very end; who is further behind then will not send the rest."""


class Schedule(Protocol):
    def due(self, now_s: float, open_now: int) -> Sequence[float]:
        """The dates of those to be sent now; they count as sent."""
        ...

    def wakes_at_s(self) -> float:
        """When the next is due; infinite if an answer has to come first."""
        ...

    def is_over(self, now_s: float) -> bool:
        """Nothing will be due any more."""
        ...


def schedule_of(plan: Plan) -> "ClosedLoop | OpenLoop":
    if plan.rate_per_s is None:
        return ClosedLoop(plan.concurrency, plan.duration_s)
    return OpenLoop(plan.rate_per_s, plan.duration_s)


class ClosedLoop:
    """So many requests are always open: for each that ends another one is sent."""

    def __init__(self, concurrency: int, duration_s: float) -> None:
        self._concurrency = concurrency
        self._duration_s = duration_s

    def due(self, now_s: float, open_now: int) -> Sequence[float]:
        if self.is_over(now_s):
            return ()
        return (now_s,) * (self._concurrency - open_now)

    def wakes_at_s(self) -> float:
        return math.inf

    def is_over(self, now_s: float) -> bool:
        return now_s >= self._duration_s


class OpenLoop:
    """One request every so often, whether or not those before are answered."""

    def __init__(self, rate_per_s: float, duration_s: float) -> None:
        self.planned = math.ceil(rate_per_s * duration_s - 1e-6)
        self.sent = 0
        self.late = 0
        """Sent more than LATE_S after their time."""
        self.behind_max_s = 0.0
        self._rate_per_s = rate_per_s
        self._ends_at_s = duration_s + OVERTIME_S

    def due(self, now_s: float, open_now: int) -> Sequence[float]:
        if self.is_over(now_s):
            return ()
        end = min(int(now_s * self._rate_per_s) + 1, self.sent + BURST_MAX, self.planned)
        dates = [number / self._rate_per_s for number in range(self.sent, end)]
        for date_s in dates:
            self._note_delay(now_s - date_s)
        self.sent += len(dates)
        return dates

    def _note_delay(self, delay_s: float) -> None:
        self.behind_max_s = max(self.behind_max_s, delay_s)
        self.late += delay_s > LATE_S

    def wakes_at_s(self) -> float:
        return self.sent / self._rate_per_s if self.sent < self.planned else math.inf

    def is_over(self, now_s: float) -> bool:
        return self.sent >= self.planned or now_s >= self._ends_at_s

    def unsent_by(self, now_s: float) -> int:
        """How many should have been sent until then, even late."""
        expected = math.ceil((now_s - LATE_S) * self._rate_per_s)
        return max(0, min(expected, self.planned) - self.sent)
