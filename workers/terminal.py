"""Whether the terminal that we were started at is still there."""

import os


class Terminal:
    """The terminal that controls us, if there was one at the start."""

    def __init__(self) -> None:
        self._was_there = _is_there()

    @property
    def is_gone(self) -> bool:
        """It was closed: the kernel tells of that by the same signal that asks for a reload."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
