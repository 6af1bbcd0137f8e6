"""What every balancer takes up while it lives: a leak shows although each is soon replaced."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.chaos.processes import size_of

SAMPLE_INTERVAL_S = 0.5
STARTING_SAMPLES = 2
"""It is not measured yet in its first second."""
LASTING_SAMPLES = 3
"""What is given back within so many samples was no leak."""


@dataclass(slots=True)
class Growth:
    """The resident bytes of each balancer, by its pid, one sample after another."""

    samples: dict[int, list[int]] = field(default_factory=dict)

    def note(self, pid: int, resident_bytes: int) -> None:
        self.samples.setdefault(pid, []).append(resident_bytes)

    def bytes_of(self, pid: int) -> int:
        """By how much it has grown for good since its own start; 0 if it did not live for long."""
        grown = self.samples[pid][STARTING_SAMPLES:]
        if len(grown) <= LASTING_SAMPLES:
            return 0
        return min(grown[-LASTING_SAMPLES:]) - grown[0]

    def largest_bytes(self) -> int:
        return max(map(self.bytes_of, self.samples), default=0)


async def watch(growth: Growth, balancer: Callable[[], int | None]) -> None:
    """Take samples until this task is cancelled."""
    while True:
        with suppress(ProcessLookupError, FileNotFoundError):  # it has just ended
            if (pid := balancer()) is not None and (resident := size_of(pid).resident_bytes):
                growth.note(pid, resident)
        await asyncio.sleep(SAMPLE_INTERVAL_S)
