"""When a worker process has served enough: it says so once, and goes on serving."""

import os
import sys
from collections.abc import Callable


class Wear:
    """Asked after every message where there is a limit; ``tell`` is called once, with the reason
    in words."""

    def __init__(
        self, max_requests: int | None, max_rss_bytes: int | None, tell: Callable[[str], None]
    ) -> None:
        self._max_requests = max_requests
        self._max_rss_bytes = max_rss_bytes
        self._tell = tell
        self._served = 0
        self._is_told = False

    def note_requests(self, count: int) -> None:
        """So many more requests were answered."""
        if self._is_told:
            return
        self._served += count
        why = self._why()
        if why:
            self._is_told = True
            self._tell(why)

    def _why(self) -> str:
        if self._max_requests is not None and self._served >= self._max_requests:
            return f"served {self._served} requests"
        if self._max_rss_bytes is not None and (rss := rss_bytes()) > self._max_rss_bytes:
            mebibytes, most = rss / (1 << 20), self._max_rss_bytes / (1 << 20)
            return f"{mebibytes:.1f} MiB of memory are above max_rss ({most:.1f} MiB)"
        return ""


def rss_bytes() -> int:
    """The resident memory of this process; where there is no /proc, the most that it ever was."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
