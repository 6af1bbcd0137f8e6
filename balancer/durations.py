"""How people write durations and sizes: read into seconds and bytes, and written back."""

import re

_NUMBER_AND_UNIT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,25})?) ?([A-Za-z]*)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}
_UNITS_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}


def parse_duration_s(text: str) -> float:
    """Seconds, 0 or more; ValueError with a text that says what is accepted."""
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if match:
        number, unit = float(match[1]), match[2]
        if unit == "ms":
            return number / 1000
        if unit in _UNITS_S:
            return number * _UNITS_S[unit]
    raise ValueError(f"{text!r} is not a duration; write it like 30, 30s, 500ms, 5m or 2h")


def parse_size_bytes(text: str) -> int:
    """Whole bytes, 0 or more; ValueError with a text that says what is accepted."""
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    unit_bytes = match and _UNITS_BYTES.get(match[2].lower())
    if match and unit_bytes:
        # A float would lose the last digits of a long number, so only fractions become one.
        number = float(match[1]) if "." in match[1] else int(match[1])
        size_bytes = number * unit_bytes
        if size_bytes == int(size_bytes):
            return int(size_bytes)
    raise ValueError(f"{text!r} is not a size; write it like 1000000, 64 KiB, 16MiB or 1GiB")


def format_duration_s(duration_s: float) -> str:
    """Text that ``parse_duration_s`` reads as exactly this; from 0.1 ms up to 10**15 s."""
    if 0 < duration_s < 1:
        milliseconds = f"{duration_s * 1000:.15g}"
        if float(milliseconds) / 1000 == duration_s:
            return f"{milliseconds}ms"
    return f"{repr(float(duration_s)).removesuffix('.0')}s"


def format_size_bytes(size_bytes: int) -> str:
    """Text that ``parse_size_bytes`` reads as exactly this, in the largest unit that fits."""
    for name in ("GiB", "MiB", "KiB"):
        number, rest = divmod(size_bytes, _UNITS_BYTES[name.lower()])
        if number and not rest:
            return f"{number}{name}"
    return str(size_bytes)
