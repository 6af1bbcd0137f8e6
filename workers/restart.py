"""When to start a dead process again, and when to stop trying: told the time, touching nothing."""

from dataclasses import dataclass, field

READY_LONG_ENOUGH_S = 1.0
FIRST_DELAY_S = 0.1
DELAY_MAX_S = 30.0
JITTER = 0.2
FAILED_STARTS_MAX = 5
FAILED_STARTS_WINDOW_S = 60.0


@dataclass(slots=True)
class RestartPolicy:
    """One slot's history. A death is charged to whoever is to blame: to the request, if the
    process held one, else to the slot."""

    quick_deaths: int = 0
    failed_starts: list[float] = field(default_factory=list)

    def delay_s(
        self, now: float, *, ready_for_s: float | None, held_request: bool, jitter: float
    ) -> float | None:
        """How long to wait before the next start; None if the slot has failed for good.

        ``ready_for_s`` is None if the process never became ready. ``jitter`` is a random number
        from -1 to 1, so that slots which failed together do not come back together.
        """
        if ready_for_s is None:
            recent = [at for at in self.failed_starts if at > now - FAILED_STARTS_WINDOW_S]
            self.failed_starts = [*recent, now]
            if len(self.failed_starts) >= FAILED_STARTS_MAX:
                return None
        elif held_request or ready_for_s >= READY_LONG_ENOUGH_S:
            self.quick_deaths = 0
            return 0.0
        delay_s: float = FIRST_DELAY_S * 2 ** min(self.quick_deaths, 10)
        self.quick_deaths += 1
        return min(DELAY_MAX_S, delay_s) * (1 + JITTER * jitter)
