"""How long requests took, all of them, to the microsecond: in memory that has a bound."""

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence

_FINE_US = 100_000
_MEDIUM_US = 10_000_000
_MEDIUM_STEP_US = 100
_COARSE_STEP_US = 10_000


class Latencies:
    """One counter for each microsecond in which something ended.

    From 100 ms on a counter is 0.1 ms wide, from 10 s on 10 ms: that is four digits of any figure,
    as many as a person reads, and 300,000 counters at the most within the longest deadline of a
    cluster, however long a load lasts.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[int, int] = defaultdict(int)
        self._sum_s = 0.0
        self.count = 0
        self.max_s = 0.0

    def note(self, latency_s: float) -> None:
        microseconds = round(latency_s * 1e6)
        if microseconds >= _FINE_US:
            step = _MEDIUM_STEP_US if microseconds < _MEDIUM_US else _COARSE_STEP_US
            microseconds -= microseconds % step
        self._counts[microseconds] += 1
        self._sum_s += latency_s
        self.count += 1
        if latency_s > self.max_s:
            self.max_s = latency_s

    def mean_s(self) -> float:
        return self._sum_s / self.count if self.count else 0.0

    def percentiles_s(self, shares: Sequence[float]) -> list[float]:
        """For each share, which come in rising order, the least that so many did not exceed."""
        found: list[float] = []
        seen = 0
        for microseconds, count in sorted(self._counts.items()):
            seen += count
            while len(found) < len(shares) and seen >= self._rank(shares[len(found)]):
                found.append(microseconds / 1e6)
        return found

    def _rank(self, share: float) -> int:
        # What is a float's error and no more must not become the next whole number.
        return max(1, math.ceil(round(share * self.count, 6)))

    def classes(self, limits_s: Sequence[float]) -> Counter[int]:
        """How many ended in each class, by its number; what is above the last limit in one more."""
        classes: Counter[int] = Counter()
        for microseconds, count in self._counts.items():
            classes[bisect_left(limits_s, microseconds / 1e6)] += count
        return classes
