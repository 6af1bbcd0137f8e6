"""How figures look: numbers, durations, bars and lines of blocks, in plain text."""

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = " ▁▂▃▄▅▆▇█"


def number(value: float) -> str:
    """As many digits as a person reads: ``12,345``, ``12.3``, ``0.05``."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def duration(milliseconds: float) -> str:
    """Three digits with their unit: ``850 µs``, ``12.3 ms``, ``1.20 s``."""
    if milliseconds < 0.9995:
        return f"{milliseconds * 1000:.0f} µs"
    if milliseconds < 999.5:
        return f"{_three_digits(milliseconds)} ms"
    return f"{_three_digits(milliseconds / 1000)} s"


def _three_digits(value: float) -> str:
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{decimals}f}"


def bar(value: float, largest: float, width: int) -> str:
    """A bar from the left, exact to an eighth; whatever is not nothing can be seen."""
    if not value:
        return ""
    eighths = max(1, round(value / largest * width * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def heights(values: Sequence[float], largest: float) -> str:
    """One character for each value; whatever is not nothing can be seen."""
    return "".join(_HEIGHTS[max(1, round(v / largest * 8)) if v else 0] for v in values)
