"""What a bench is asked to do."""

from dataclasses import dataclass

CONCURRENCY_DEFAULT = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """``rate_per_s`` asks for an open loop; without it, ``concurrency`` requests are open."""

    payload: bytes
    """One packed value, the same for all requests."""
    duration_s: float
    timeout_s: float
    concurrency: int = CONCURRENCY_DEFAULT
    rate_per_s: float | None = None
    kill_every_s: float | None = None
