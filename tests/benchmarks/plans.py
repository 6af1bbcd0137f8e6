"""What a load process is asked to do, and what it found: the words between it and a benchmark."""

import random
from dataclasses import asdict, dataclass
from typing import Any

VARIANTS = 256
"""So many different requests take turns, that an answer to the wrong one is seen."""
VARIANTS_OF_MANY_BYTES = 4
MANY_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request, and how many in a hundred of all are of it."""

    percent: int = 100
    cpu_s: float = 0.0
    sleep_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A load: so many requests kept outstanding, or, with a rate, sent at their times."""

    outstanding: int
    seconds: float
    size_bytes: int | None = 100
    """Of a request for ``jobs.echo``; None if the requests are of these kinds."""
    kinds: tuple[Kind, ...] = (Kind(),)
    requests_max: int = 1_000_000
    rate_per_s: float | None = None
    warm_up: int = 200
    """Requests before, that do not count."""

    def to_words(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_words(cls, words: dict[str, Any]) -> "Plan":
        return cls(**{**words, "kinds": tuple(Kind(**kind) for kind in words["kinds"])})

    def requests(self) -> list[tuple[int, Any]]:
        """The requests that take turns, each with the number of its kind."""
        if self.size_bytes is not None:
            few = self.size_bytes >= MANY_BYTES
            source = random.Random(self.size_bytes)
            return [
                (0, source.randbytes(self.size_bytes))
                for _ in range(VARIANTS_OF_MANY_BYTES if few else VARIANTS)
            ]
        numbers = [number for number, kind in enumerate(self.kinds) for _ in range(kind.percent)]
        random.Random(1).shuffle(numbers)
        return [
            (number, [at, self.kinds[number].cpu_s, self.kinds[number].sleep_s])
            for at, number in enumerate(numbers)
        ]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a load."""

    latencies_s: list[list[float]]
    """Of the requests that were answered with their echo, kind by kind."""
    wrong: int
    """Answers that were not the echo of their request, refusals among them."""
    unanswered: int
    elapsed_s: float
    """To the last answer."""
    cpu_s: dict[str, float]
    """Of each process, by pid, that of the load itself among them."""
    ended: int = 0
    """Processes that did not live to the end of the load: their time is not known."""

    @property
    def answered(self) -> int:
        return sum(map(len, self.latencies_s))

    @property
    def all_latencies_s(self) -> list[float]:
        return [latency_s for kind in self.latencies_s for latency_s in kind]

    def to_words(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_words(cls, words: dict[str, Any]) -> "Outcome":
        return cls(**words)
