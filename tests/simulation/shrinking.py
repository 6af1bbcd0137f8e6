"""From a failing tape to the shortest that fails in the same way: leave out, then lower."""

from collections.abc import Callable, Iterator
from time import monotonic

from tests.simulation.tape import Recording, to_text, without_last_zeros

Cost = tuple[int, ...]
Retry = Callable[[Recording], tuple[Cost, Recording] | None]
"""Plays a recording. If it fails in the same way: what its story costs the reader, and what was
really taken of it; else None.
"""
Variants = Callable[[list[int], int, int], Iterator[list[int]]]
"""What could stand in place of a lane's values; begin and end say which of them are in question."""

RUNS_MAX = 20_000
TIME_MAX_S = 8.0


class Shrinker:
    """Greedy: whatever fails in the same way and is simpler is what we go on with."""

    def __init__(
        self,
        cost: Cost,
        recording: Recording,
        retry: Retry,
        *,
        runs_max: int = RUNS_MAX,
        time_max_s: float = TIME_MAX_S,
    ) -> None:
        self.best = recording
        self.runs = 0
        self._cost = cost
        self._retry = retry
        self._runs_max = runs_max
        self._ends_at = monotonic() + time_max_s
        self._known: set[str] = {to_text(recording)}

    def run(self) -> Recording:
        """Until nothing makes it simpler any more, or runs or time are used up."""
        before: Recording = {}
        while before != self.best and not self._is_over():
            before = self.best
            parts = 1
            # Coarse cuts in every lane before fine ones in any: small worlds are played faster.
            while parts <= 2 * max(map(len, self.best.values()), default=0):
                self._pass(parts, _leave_out)
                self._pass(parts, _flatten)
                parts *= 2
            self._pass(None, _lower)
        return self.best

    def _is_over(self) -> bool:
        return self.runs >= self._runs_max or monotonic() >= self._ends_at

    def _pass(self, parts: int | None, variants: Variants) -> None:
        """Change every one of so many parts of every lane, or with None every single value."""
        for name in sorted(self.best, key=lambda name: -len(self.best[name])):
            length = len(self.best.get(name, ()))
            size = length // parts if parts is not None else 1
            if length:
                self._walk(name, max(1, size), variants)

    def _walk(self, name: str, size: int, variants: Variants) -> None:
        begin = len(self.best.get(name, ()))
        # From the end, because what is decided late has the fewest consequences.
        while begin > 0 and not self._is_over():
            begin = max(0, min(begin, len(self.best.get(name, ()))) - size)
            values = self.best.get(name, [])
            for variant in variants(values, begin, begin + size):
                if self._try({**self.best, name: variant}):
                    break

    def _try(self, candidate: Recording) -> bool:
        candidate = {n: v for n, values in candidate.items() if (v := without_last_zeros(values))}
        text = to_text(candidate)
        if text in self._known or self._is_over() or _weight(candidate) >= _weight(self.best):
            return False
        self._known.add(text)
        self.runs += 1
        again = self._retry(candidate)
        if again is None:
            return False
        cost, taken = again
        if (cost, _weight(taken)) >= (self._cost, _weight(self.best)):
            return False
        self._cost, self.best = cost, taken
        return True


def _weight(recording: Recording) -> tuple[int, int, int]:
    """The lighter the simpler: few decisions that differ from 0, then few at all, then low."""
    lanes = recording.values()
    return (
        sum(len(values) - values.count(0) for values in lanes),
        sum(len(values) for values in lanes),
        sum(sum(values) for values in lanes),
    )


def _leave_out(values: list[int], begin: int, end: int) -> Iterator[list[int]]:
    yield values[:begin] + values[end:]


def _flatten(values: list[int], begin: int, end: int) -> Iterator[list[int]]:
    segment = values[begin:end]
    if any(segment):
        yield values[:begin] + [0] * len(segment) + values[end:]


def _lower(values: list[int], begin: int, end: int) -> Iterator[list[int]]:
    """One value at a time: half of it, or one less."""
    if end - begin == 1 and begin < len(values):
        value = values[begin]
        for lower in dict.fromkeys((1, value // 2, value - 1)):
            if 0 < lower < value:
                yield [*values[:begin], lower, *values[end:]]
