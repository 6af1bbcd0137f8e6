"""Whether this is a child that was forked from the worker: the sockets it finds are not its own.

A handler may fork, and both come back from it. The kernel wipes a page for every child, whoever has
forked it (MADV_WIPEONFORK in madvise(2)): to look there costs no system call for each request.
"""

import contextlib
import mmap
import os
import sys

_MADV_WIPEONFORK = 18


class _Pid:
    """The same by asking the kernel who we are, where it does not wipe pages."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, index: int) -> int:
        return int(os.getpid() == self._pid)


def _mark() -> mmap.mmap | _Pid:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # before Linux 4.14
            page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            page.madvise(_MADV_WIPEONFORK)
            page[0] = 1
            return page
    return _Pid()


mark = _mark()
"""``mark[0]`` is 0 in a child."""
