"""The cluster's processes as the kernel shows them, found without a word from the cluster."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def children_of(pid: int, module: str) -> list[int]:
    """The processes that ``pid`` has started as ``python -m module``, the oldest first."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children if module in arguments_of(int(child))[:4]]


def arguments_of(pid: int) -> list[str]:
    """Its command line; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def marked(variable: str) -> list[int]:
    """All processes that have this ``NAME=value`` in their environment, whoever started them."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if variable.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


@contextmanager
def held(pid: int) -> Iterator["Target"]:
    """Hold on to a process, so that a signal can only reach this one and never a successor."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield Target(pid, None)
        return
    try:
        yield Target(pid, descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Target:
    pid: int
    descriptor: int | None

    def send(self, number: int) -> bool:
        """False if it is gone."""
        if self.descriptor is None:
            return False
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            return False
        return True

    def limit_descriptors(self, spare: int) -> bool:
        """Leave it only so many more than it has; False if it is gone."""
        try:
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
            limit = size_of(self.pid).descriptors + spare
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (limit, hard))
        except (ProcessLookupError, FileNotFoundError):
            return False
        return True

    def free_descriptors(self) -> None:
        """Let it have as many again as it may."""
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True, slots=True)
class Size:
    """What a process takes up."""

    resident_bytes: int
    descriptors: int

    def __str__(self) -> str:
        return f"{self.resident_bytes / 2**20:.1f} MiB, {self.descriptors} descriptors"


def size_of(pid: int) -> Size:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Size(pages * PAGE_BYTES, len(list(Path(f"/proc/{pid}/fd").iterdir())))
