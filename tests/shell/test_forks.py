"""A child knows that it is one, whoever has forked it."""

import subprocess
import sys

import pytest

FORK = """
import ctypes, os
from workers import forks
mark = {mark}
assert mark[0] == 1
child = {fork}()
if child == 0:
    os._exit(40 + mark[0])
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 40
assert mark[0] == 1
"""


@pytest.mark.parametrize("mark", ["forks.mark", "forks._Pid()"])
@pytest.mark.parametrize("fork", ["os.fork", "ctypes.CDLL(None).fork"])
def test_the_child_finds_no_mark(mark: str, fork: str) -> None:
    subprocess.run([sys.executable, "-c", FORK.format(mark=mark, fork=fork)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux wipes pages")
def test_on_linux_it_costs_no_system_call() -> None:
    code = "from workers import forks; assert type(forks.mark).__name__ == 'mmap'"
    subprocess.run([sys.executable, "-c", code], check=True)
