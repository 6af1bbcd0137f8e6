"""What the allocator is told, in processes of their own: whether freed memory is mapped anew."""

import ctypes
import os
import subprocess
import sys

import pytest

from tests.cluster.running import PROJECT

FAULTS = """
import resource, sys
from balancer.allocator import keep_freed_memory

def use():
    return [bytearray(1_000_000) for _ in range(8)]

if "keep" in sys.argv:
    keep_freed_memory()
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no mallopt"
)


def faults(*arguments: str, **variables: str) -> int:
    """How many pages had to be mapped while eight megabytes were used and freed twenty times."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments],
        cwd=PROJECT,
        env=clean | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return int(done.stdout)


def test_freed_memory_is_used_again_without_being_mapped_anew() -> None:
    assert faults() > 10_000
    assert faults("keep") < 1_000


def test_who_has_set_the_allocator_knows_better() -> None:
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072") > 10_000
