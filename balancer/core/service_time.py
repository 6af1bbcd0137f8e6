"""How long the requests of a pool take, so that a batch is no longer than its budget."""

_GAIN = 1 / 64
"""Of the latest request; of a batch as many times as much, at most a half."""
_DEVIATIONS = 4
"""What is allowed for, as a TCP timer does (RFC 6298): of mixed work the long ones count."""


class ServiceTime:
    """A moving mean of the time for one request: what its worker says that it took, or else from
    its hand-over to its reply."""

    __slots__ = ("_deviation_s", "mean_s")

    def __init__(self) -> None:
        self.mean_s = 0.0
        """0 until the first reply."""
        self._deviation_s = 0.0

    def note(self, took_s: float, requests: int) -> None:
        """A worker has replied after so long to so many requests."""
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

    def done_within(self, duration_s: float) -> int:
        """How many requests are done within so long on the average; 0 if nothing is known."""
        return int(duration_s / self.mean_s) if self.mean_s else 0

    def fit(self, budget_s: float) -> int:
        """How many requests are done within so long, as far as can be told; at least one.

        Two, if one is: what a lone request took includes the way there and back, and waiting for
        a processor. Of a batch the worker tells its own time, and of a lone one if it is asked.
        """
        expected_s = self.mean_s + _DEVIATIONS * self._deviation_s
        fitting = int(budget_s / expected_s) if expected_s else 1
        return max(fitting, 2 if 0 < self.mean_s < budget_s else 1)
