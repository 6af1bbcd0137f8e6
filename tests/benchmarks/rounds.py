"""Rounds: every contestant has its turn in each, so that a noisy minute is everybody's."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.benchmarks.contestants import CONTESTANTS, Running, Setting
from tests.benchmarks.plans import Plan
from tests.benchmarks.statistics_of_rounds import median_of_ratios, median_or_none

Figures = dict[str, float]
Sections = dict[str, Figures]
"""What a turn gives: figures, in sections that are shown as a table each."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How long to measure."""

    seconds_factor: float = 1.0
    requests_max: int = 1_000_000
    """For each plan: a test wants few."""
    workers_max: int = 256
    """Rows leave out the settings with more: each is a process to start."""
    idle_clients: int = 5000


@dataclass(frozen=True, slots=True)
class Turn:
    """One contestant's turn in a round."""

    contestant: str
    setting: Setting
    scale: Scale
    notes: Figures
    """What contestants leave for those whose turn comes later in the same round."""

    @contextmanager
    def opened(self) -> Iterator[Running]:
        with CONTESTANTS[self.contestant](self.setting) as running:
            yield running

    def plan(self, plan: Plan) -> Plan:
        """The plan, shortened to the scale."""
        return replace(
            plan,
            seconds=plan.seconds * self.scale.seconds_factor,
            requests_max=min(plan.requests_max, self.scale.requests_max),
            warm_up=min(plan.warm_up, self.scale.requests_max),
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A figure, how it is shown, and whether the ratios to ours are."""

    figure: str
    digits: int = 0
    is_compared: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A question to all contestants."""

    name: str
    title: str
    columns: tuple[Column, ...]
    measure: Callable[[Turn], Sections]
    contestants: tuple[str, ...]
    settings: tuple[Setting, ...] = (Setting(),)
    rounds: int = 3
    """Unless somebody wants more or fewer; one for rows that take long."""
    keeps_order: bool = False
    """Some need what others have found in the same round; else the turns go round, too."""
    is_default: bool = True


@dataclass(slots=True)
class Results:
    """The figures of all rounds: by section, contestant and figure one value for each round."""

    row: Row
    rounds: int
    values: dict[str, dict[str, dict[str, list[float | None]]]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def note(self, round_number: int, contestant: str, sections: Sections) -> None:
        for section, figures in sections.items():
            of_contestant = self.values.setdefault(section, {}).setdefault(contestant, {})
            for figure, value in figures.items():
                of_round = of_contestant.setdefault(figure, [None] * self.rounds)
                of_round[round_number] = value

    def of(self, section: str, contestant: str, figure: str) -> list[float | None]:
        none: list[float | None] = [None] * self.rounds
        return self.values.get(section, {}).get(contestant, {}).get(figure, none)

    def median(self, section: str, contestant: str, figure: str) -> float | None:
        return median_or_none(self.of(section, contestant, figure))

    def ratio(self, section: str, ours: str, contestant: str, figure: str) -> float | None:
        """How many times the contestant's figure ours is."""
        return median_of_ratios(
            self.of(section, ours, figure), self.of(section, contestant, figure)
        )


def play(row: Row, contestants: Sequence[str], rounds: int | None, scale: Scale) -> Results:
    """Measure the row on those of its contestants that are given; trouble is noted, not raised."""
    results = Results(row, rounds or row.rounds)
    taking_part = [name for name in row.contestants if name in contestants]
    for round_number in range(results.rounds):
        notes: Figures = {}
        for setting in (s for s in row.settings if s.workers <= scale.workers_max):
            for contestant in _turns(row, taking_part, round_number):
                turn = Turn(contestant, setting, scale, notes)
                try:
                    results.note(round_number, contestant, row.measure(turn))
                # Whatever becomes of one contestant, the others have their turn.
                except Exception as error:
                    where = f"{contestant}, {setting.workers} workers, round {round_number + 1}"
                    trouble = f"{where}: {_short(error)}"
                    results.troubles.append(trouble)
                    print(f"  {trouble}", file=sys.stderr, flush=True)
    return results


def _turns(row: Row, contestants: Sequence[str], round_number: int) -> list[str]:
    """Another one begins in each round: who comes first or last may be better off."""
    first = 0 if row.keeps_order or not contestants else round_number % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def _short(error: Exception) -> str:
    lines = (str(error) or type(error).__name__).splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} […] {lines[-1]}"
