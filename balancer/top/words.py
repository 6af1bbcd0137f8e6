"""Numbers, durations and what peers wrote, in as few characters as they can be read in."""

from datetime import datetime

from balancer.printable import printable_line

NOTHING = "·"


def count(number: float) -> str:
    """Five digits in full, more of them in thousands or millions."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= max(size, 1e5):
            return (
                f"{number / size:.1f}{unit}" if number < 10 * size else f"{number / size:.0f}{unit}"
            )
    return f"{number:,.0f}"


def rate(number_per_s: float) -> str:
    return f"{number_per_s:.1f}/s" if 0 < number_per_s < 9.95 else f"{count(number_per_s)}/s"


def took(duration_ms: float | None) -> str:
    """Two digits at least, as far as they mean something."""
    if duration_ms is None:
        return NOTHING
    if duration_ms >= 999.5:
        return age(duration_ms / 1000)
    if duration_ms >= 9.95:
        return f"{duration_ms:.0f}ms"
    return f"{duration_ms:.1f}ms" if duration_ms >= 0.95 else f"{duration_ms:.2f}ms"


def age(duration_s: float) -> str:
    """The two largest units are enough."""
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.0f}ms"
    if duration_s < 9.95:
        return f"{duration_s:.1f}s"
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"


def some(number: int, noun: str) -> str:
    return f"{count(number)} {noun}{'s' * (number != 1)}"


def harmless(text: object) -> str:
    """What a peer wrote, as one line; of several lines the first, and how many follow."""
    first, *rest = str(text).splitlines() or [""]
    return printable_line(first) + (f" (and {some(len(rest), 'line')})" if rest else "")


def time_of_day(date: str) -> str:
    """Here, not where the date was written."""
    try:
        return datetime.fromisoformat(date).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return "        "
