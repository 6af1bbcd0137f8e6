"""How long the requests of a pool take, so that a batch is no longer than its budget."""

_GAIN = 1 / 64
"""Of the latest request; of a batch as many times as much, at most a half."""
_DEVIATIONS = 4
"""What is allowed for, as a TCP timer does (RFC 6298): of mixed work the long ones count."""
_MEMORY = 2048
"""After so many requests the slowest counts for a third of what it took."""
HAND_OVER_S = 0.0002
"""What it takes to wake a worker, and to be woken by its reply."""
WARM_UP_S = 0.00002
"""What goes on top of each batch, large or small: code that has not run lately is slow at first.
If it counted for how many are done at once, small batches would look slow, and so stay small. Of
what a lone one took half is thought its own, so that a first batch may take twice HAND_OVER_S."""
_ASK_EVERY = (23, 29, 37)
"""Of so many in turn that go alone one is to be told: to be asked costs a worker some 40 us, and of
batches all are told. No short pattern keeps step with it: the cheap ones of cheap and dear in turn
are not all it sees."""


class ServiceTime:
    """A moving mean of the time for one request, as its workers tell.

    From hand-over to reply it may be many times as long on a loaded machine: who goes by that
    never thinks any worth a batch, and learns nothing else. So of those that go alone only those
    count whose worker was asked, where it can be; what it does not tell took all that time.
    """

    __slots__ = (
        "_deviation_s",
        "_latest_s",
        "_slowest_s",
        "_stay_s",
        "_turn",
        "_until_asked",
        "mean_s",
    )

    def __init__(self) -> None:
        self.mean_s = 0.0
        """0 until the first reply."""
        self._deviation_s = self._latest_s = self._slowest_s = self._stay_s = 0.0
        self._turn = self._until_asked = 0

    def is_to_be_told(self, budget_s: float) -> bool:
        """Whether the worker of the lone request that is about to leave is to tell its time: now
        and then, or each while none seems worth a batch but the latest was quick."""
        self._until_asked -= 1
        if self._until_asked > 0 and (2 * self._latest_s > budget_s or self.fit(budget_s) > 1):
            return False
        self._turn += 1
        self._until_asked = _ASK_EVERY[self._turn % len(_ASK_EVERY)]
        return True

    def note(self, took_s: float | None, requests: int, elapsed_s: float) -> None:
        """So many requests have taken so long, together, if that is known; and the worker's reply
        came so long after their hand-over, whatever of that was work."""
        gain = _GAIN
        self._stay_s += (elapsed_s - self._stay_s) * (gain if self._stay_s else 1.0)
        if took_s is None:
            return
        warm_s = max(took_s - WARM_UP_S, took_s / 2) / requests
        if requests > 1:
            took_s /= requests
            gain = min(0.5, _GAIN * requests)
        self._latest_s = took_s
        if not self.mean_s:
            self.mean_s, self._deviation_s, self._slowest_s = took_s, took_s / 2, warm_s
            return
        self._slowest_s = max(warm_s, self._slowest_s * (1 - min(0.5, requests / _MEMORY)))
        error_s = took_s - self.mean_s
        self.mean_s += gain * error_s
        self._deviation_s += gain * (abs(error_s) - self._deviation_s)

    def at_once(self) -> int:
        """How many requests are done before they could be shared; 0 if nothing is known. Goes by
        the slowest lately: where some take long, nobody is to stand behind one for nothing."""
        return int(HAND_OVER_S / self._slowest_s) if self._slowest_s else 0

    def usual_s(self, requests: int) -> float:
        """How long a worker keeps so many, from hand-over to reply; 0 if nothing is known."""
        return max(self.mean_s * requests + HAND_OVER_S, self._stay_s) if self.mean_s else 0.0

    def fit(self, budget_s: float) -> int:
        """How many requests are done within so long, as far as can be told; at least one, and two
        if that is what they take on the average: what can be told of a few is little."""
        expected_s = self.mean_s + _DEVIATIONS * self._deviation_s
        fitting = int(budget_s / expected_s) if expected_s else 1
        return max(fitting, 2 if self.fits_two(budget_s) else 1)

    def fits_two(self, budget_s: float) -> bool:
        """Whether that is more than one."""
        return 0 < 2 * self.mean_s <= budget_s
