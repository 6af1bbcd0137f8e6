"""What a handler needs is told apart from what others on a busy machine take away."""

import subprocess
import sys
import time

import pytest

from workers.stopwatch import Stopwatch

PATIENCE_S = 30.0
CROWDED = """
import os, subprocess, sys, time
from workers.stopwatch import Stopwatch

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the other inherits it
burn = "print('burning', flush=True)\\nwhile True: pass"
other = subprocess.Popen([sys.executable, "-c", burn], stdout=subprocess.PIPE)
try:
    assert other.stdout.readline()
    stopwatch, began_at, end = Stopwatch(), time.monotonic(), time.thread_time() + 0.2
    while time.thread_time() < end:
        pass
    print(stopwatch.needed_s(), time.monotonic() - began_at)
finally:
    other.kill()
    other.wait()
"""


def test_a_wait_of_its_own_accord_counts() -> None:
    stopwatch = Stopwatch()
    time.sleep(0.02)
    assert 0.02 <= stopwatch.needed_s() < 5.0


def test_work_counts() -> None:
    stopwatch, end = Stopwatch(), time.thread_time() + 0.01
    while time.thread_time() < end:
        pass
    assert stopwatch.needed_s() >= 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel for waits")
def test_the_time_of_others_does_not_count() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CROWDED], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    needed_s, elapsed_s = map(float, done.stdout.split())
    assert 0.2 <= needed_s < 0.25
    assert elapsed_s > 0.25, "the other had its share"
