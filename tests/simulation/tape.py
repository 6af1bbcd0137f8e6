"""Every decision of a world, written down: a tape plays it again, a shorter one a simpler one.

A tape has a lane for each part of the world, so that one decision less in one part does not shift
those of another. 0 is always the simplest choice: no fault, the shortest time, the fewest; a lane
that is at its end gives 0 for ever. So a tape shrinks by leaving decisions out and lowering others.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

Recording = dict[str, list[int]]
"""The decisions of each lane, without the zeros at its end."""


class Lane:
    """The decisions of one part of the world: as recorded, or thrown by dice."""

    __slots__ = ("_dice", "_grid_s", "_recorded", "taken")

    def __init__(self, recorded: Sequence[int], dice: Random | None, grid_s: float) -> None:
        self._recorded = recorded
        self._dice = dice
        self._grid_s = grid_s
        self.taken: list[int] = []

    def below(self, count: int) -> int:
        if self._dice is not None:
            return self._take(int(self._dice.random() * count))
        return self._take(min(self._next_recorded(), count - 1))

    def chance(self, probability: float) -> bool:
        if self._dice is not None:
            return bool(self._take(int(self._dice.random() < probability)))
        return bool(self._take(min(self._next_recorded(), int(probability > 0))))

    def between(self, low: int, high: int) -> int:
        return low + self.below(high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        """The first option is the simplest; to make one likelier, name it twice."""
        return options[self.below(len(options))]

    def repeat(self, low: int, high: int) -> Iterator[int]:
        """Count, ``low`` to ``high`` times. Every time beyond ``low`` is a 1 before what belongs
        to it, so that leaving out this part of the lane leaves out this time and no other."""
        planned = int(self._dice.random() * (high - low + 1)) if self._dice is not None else 0
        for number in range(high):
            if number >= low and not self._goes_on(number < low + planned):
                return
            yield number

    def _goes_on(self, is_planned: bool) -> bool:
        value = int(is_planned) if self._dice is not None else min(self._next_recorded(), 1)
        return bool(self._take(value))

    def duration_s(self, low_s: float, high_s: float) -> float:
        """Some duration on the grid. The grid is coarse so that much happens at the same time."""
        return self.steps_s(round(low_s / self._grid_s), round(high_s / self._grid_s))

    def steps_s(self, low: int, high: int) -> float:
        """Some steps of the grid."""
        return self.between(low, high) * self._grid_s

    def _next_recorded(self) -> int:
        place = len(self.taken)
        return self._recorded[place] if place < len(self._recorded) else 0

    def _take(self, value: int) -> int:
        self.taken.append(value)
        return value


class Tape:
    """The lanes of one world: ``Tape(dice=Random(seed))`` is that of a seed."""

    def __init__(
        self, recording: Mapping[str, Sequence[int]] | None = None, *, dice: Random | None = None
    ) -> None:
        self._recording = recording or {}
        self._dice = dice
        self._lanes: dict[str, Lane] = {}

    def lane(self, name: str, grid_s: float = 1.0) -> Lane:
        """The lane of this name, which must be letters and digits; its grid is set but once."""
        if name not in self._lanes:
            self._lanes[name] = Lane(self._recording.get(name, ()), self._dice, grid_s)
        return self._lanes[name]

    def taken(self) -> Recording:
        """What was decided so far."""
        stripped = {name: without_last_zeros(lane.taken) for name, lane in self._lanes.items()}
        return {name: values for name, values in stripped.items() if values}


def without_last_zeros(values: Sequence[int]) -> list[int]:
    end = len(values)
    while end and not values[end - 1]:
        end -= 1
    return list(values[:end])


# --- as text -----------------------------------------------------------------------------------


def to_text(recording: Recording) -> str:
    """``clients:1.0x3.2/a1:4`` has the lanes clients (1, 0, 0, 0, 2) and a1 (4)."""
    return "/".join(f"{name}:{'.'.join(_runs(values))}" for name, values in recording.items())


def _runs(values: Sequence[int]) -> Iterator[str]:
    begin = 0
    for end in range(1, len(values) + 1):
        if end == len(values) or values[end] != values[begin]:
            times = end - begin
            yield f"{values[begin]}x{times}" if times > 1 else str(values[begin])
            begin = end


def from_text(text: str) -> Recording:
    """ValueError if the text is no tape."""
    recording: Recording = {}
    for lane in text.split("/") if text else []:
        name, colon, runs = lane.partition(":")
        if not colon or not name.isalnum() or name in recording:
            raise ValueError(f"not a tape: {lane[:40]!r} is no lane")
        recording[name] = [value for run in runs.split(".") for value in _values(run)]
    return recording


def _values(run: str) -> list[int]:
    value, _, times = run.partition("x")
    return [int(value)] * int(times or 1)
