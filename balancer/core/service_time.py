"""How long the requests of a pool take, so that a batch is no longer than its budget."""

_GAIN = 1 / 64
"""Of the latest request; of a batch as many times as much, at most a half."""
_DEVIATIONS = 4
"""What is allowed for, as a TCP timer does (RFC 6298): of mixed work the long ones count."""
HAND_OVER_S = 0.0002
"""What it takes to wake a worker, and to be woken by its reply."""
_ASK_EVERY = 8
"""Of so many that go alone one is to be told, for to measure it costs something, too."""


class ServiceTime:
    """A moving mean of the time for one request, as its workers tell.

    Until one has, from hand-over to reply: on a loaded machine the way there and back may take
    many times as long as the work, and nobody would ever be thought worth a batch.
    """

    __slots__ = ("_deviation_s", "_is_told", "_until_asked", "mean_s")

    def __init__(self) -> None:
        self.mean_s = 0.0
        """0 until the first reply."""
        self._deviation_s = 0.0
        self._is_told = False
        self._until_asked = 0

    def is_to_be_told(self) -> bool:
        """Whether the worker of the lone request that is about to leave is to tell its time."""
        is_due = not self._until_asked
        self._until_asked = _ASK_EVERY - 1 if is_due else self._until_asked - 1
        return is_due

    def note(self, elapsed_s: float, told_s: float | None, requests: int) -> None:
        """A worker has replied to so many requests. What it tells is never more than what it was
        waited for: the clock of one of another hand may be wrong."""
        if told_s is None:
            if not self._is_told:
                self._learn(elapsed_s, requests)
            return
        if not self._is_told:
            self._is_told, self.mean_s = True, 0.0  # forget what was only a guess
        self._learn(min(told_s, elapsed_s), requests)

    def _learn(self, took_s: float, requests: int) -> None:
        gain = _GAIN
        if requests > 1:
            took_s /= requests
            gain = min(0.5, _GAIN * requests)
        if not self.mean_s:
            self.mean_s, self._deviation_s = took_s, took_s / 2
            return
        error_s = took_s - self.mean_s
        self.mean_s += gain * error_s
        self._deviation_s += gain * (abs(error_s) - self._deviation_s)

    def at_once(self) -> int:
        """How many requests are done before they could be shared; 0 if nothing is known."""
        return int(HAND_OVER_S / self.mean_s) if self.mean_s else 0

    def usual_s(self, requests: int) -> float:
        """How long a worker keeps so many, from hand-over to reply; 0 if nothing is known."""
        return self.mean_s * requests + HAND_OVER_S if self.mean_s else 0.0

    def fit(self, budget_s: float) -> int:
        """How many requests are done within so long, as far as can be told; at least one, and two
        if that is what they take on the average: what can be told of a few is little."""
        expected_s = self.mean_s + _DEVIATIONS * self._deviation_s
        fitting = int(budget_s / expected_s) if expected_s else 1
        return max(fitting, 2 if 0 < self.mean_s < budget_s else 1)
