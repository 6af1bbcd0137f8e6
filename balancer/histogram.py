"""How long things took, counted in classes that end at the preferred numbers of ISO 3, R10."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

_R10 = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
LIMITS_S = (
    *(float(f"{number}e{power}") for power in range(-4, 2) for number in _R10),
    *(100.0, 125.0, 160.0, 200.0, 250.0, 315.0),
)
"""The upper limit of each class, itself included, from 0.1 ms to beyond the longest deadline; what
is longer is in one class more. Two neighbours differ by a quarter: so exact is a quantile."""

Counts = Mapping[int, int]
"""How many are in each class, by its number; classes with nobody in them are left out."""


class Histogram:
    """It only grows. What a while has brought is the difference of its counts."""

    __slots__ = ("_counts", "_durations_s", "_sum_s", "note")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._sum_s = 0.0
        self._durations_s: list[float] = []
        self.note = self._durations_s.append
        """Note a duration in seconds. Call ``settle`` now and then: to sort many into their classes
        at once, without a line of Python for each, costs a third."""

    def settle(self) -> None:
        if self._durations_s:
            self._counts.update(map(_class_of, self._durations_s))
            self._sum_s += sum(self._durations_s)
            self._durations_s.clear()

    @property
    def counts(self) -> Counter[int]:
        self.settle()
        return self._counts

    @property
    def sum_s(self) -> float:
        self.settle()
        return self._sum_s


_class_of = partial(bisect_left, LIMITS_S)


def quantile_s(counts: Counts, share: float) -> float | None:
    """The upper limit of the class in which the ``share`` of all ends, as 0.99; None of nothing.

    What is beyond the last limit is said to take so long.
    """
    missing = share * sum(counts.values())
    for number in sorted(counts):
        missing -= counts[number]
        if missing <= 0:
            return LIMITS_S[min(number, len(LIMITS_S) - 1)]
    return None


def total(many: Iterable[Counts]) -> Counter[int]:
    """All of them in one."""
    result: Counter[int] = Counter()
    for counts in many:
        result.update(counts)
    return result


def difference(later: Counts, earlier: Counts) -> Counter[int]:
    """What has come between; all of ``later`` if the counting began anew meanwhile."""
    if any(later.get(number, 0) < count for number, count in earlier.items()):
        return Counter(later)
    return Counter(
        {number: grown for number in later if (grown := later[number] - earlier.get(number, 0))}
    )


def from_json(counts: Mapping[str, int]) -> Counter[int]:
    """JSON has no numbers as keys."""
    return Counter({int(number): count for number, count in counts.items()})
