"""Bars, one for each point, the latest at the right; they may be several lines high."""

from collections.abc import Callable, Sequence

from balancer.history import Point

BARS = "▁▂▃▄▅▆▇█"
_GAP_MIN = 1.75
"""Points that are further apart than so many intervals have a gap between them."""


def values_of(
    points: Sequence[Point], of: Callable[[Point], float | None], interval_s: float, width: int
) -> list[float | None]:
    """The last ``width`` values, the latest last; None where there is none."""
    values: list[float | None] = []
    later: Point | None = None
    for point in reversed(points):
        if later is not None and later.at - point.at > _GAP_MIN * interval_s:
            missing = round((later.at - point.at) / interval_s) - 1
            values += [None] * min(missing, width)
        values.append(of(point))
        later = point
        if len(values) >= width:
            break
    return values[:width][::-1]


def bars(values: Sequence[float | None], lines: int) -> list[str]:
    """The upper line first. The highest value is as high as all lines, and only 0 is an eighth."""
    highest = max((value for value in values if value is not None), default=0.0)
    heights = [_height(value, highest, lines * len(BARS)) for value in values]
    bottoms = range((lines - 1) * len(BARS), -1, -len(BARS))
    return ["".join(_part(height - bottom) for height in heights) for bottom in bottoms]


def _height(value: float | None, highest: float, full: int) -> int:
    """In eighths of a line."""
    if value is None:
        return 0
    return 1 if value <= 0 else max(2, round(value / highest * full))


def _part(eighths: int) -> str:
    return BARS[min(eighths, len(BARS)) - 1] if eighths > 0 else " "
