"""How long a handler needs: without the time for which a busy machine let others run instead."""

import sys
import time

if sys.platform == "linux":
    from resource import RUSAGE_THREAD, getrusage

    def _waits() -> int:
        """How often this thread has waited of its own accord (``ru_nvcsw`` in getrusage(2))."""
        return getrusage(RUSAGE_THREAD).ru_nvcsw

else:

    def _waits() -> int:
        """Not to be had: as if it always waited."""
        return time.monotonic_ns()


class Stopwatch:
    """It runs from its making, in the thread that made it."""

    __slots__ = ("_began_at", "_cpu_s", "_waits")

    def __init__(self) -> None:
        self._waits = _waits()
        self._cpu_s = time.thread_time()
        self._began_at = time.monotonic()

    def needed_s(self) -> float:
        """The time since then; only the processor time of it if there was no wait but for a
        processor. How many requests fit into a batch is not to depend on who else is busy here:
        small batches make a machine busier still."""
        if self._waits != _waits():
            return time.monotonic() - self._began_at
        return time.thread_time() - self._cpu_s
