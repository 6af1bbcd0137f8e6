"""The private directory of a running cluster: its sockets, and the lock that makes its name unique.

Everything lies in ``/tmp/failover-cluster-UID/NAME``: short, because the path of a Unix socket may
be no longer than 107 bytes, and the same for every shell of a user, so that commands find it.
"""

import fcntl
import os
from pathlib import Path


class NameTaken(Exception):
    """Another launcher of this name is alive; the text says which."""


def path_of(name: str) -> Path:
    return Path("/tmp") / f"failover-cluster-{os.getuid()}" / name


def control_path(name: str) -> Path:
    return path_of(name) / "control.sock"


class RuntimeDirectory:
    """The directory while we own it. What a dead cluster of the same name left is removed."""

    def __init__(self, name: str) -> None:
        self.path = path_of(name)
        _make_private(self.path.parent)
        _make_private(self.path)
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # The kernel drops the lock with its last owner: a dead launcher is never in the way.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._lock, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise NameTaken(
                f"a cluster named '{name}' is running already (pid {owner}): stop it with "
                f"'run_cluster.py stop --name {name}', or give this one another --name"
            ) from None
        os.ftruncate(self._lock, 0)
        os.write(self._lock, f"{os.getpid()}\n".encode())
        self._sweep(keep="lock")

    def worker_endpoint(self, place: int, incarnation: int) -> str:
        """A fresh address for each incarnation: nothing sent to one can reach its successor."""
        return f"ipc://{self.path}/w{place}.{incarnation}"

    def discard(self, endpoint: str) -> None:
        """Remove the socket file that a dead worker left behind."""
        Path(endpoint.removeprefix("ipc://")).unlink(missing_ok=True)

    def close(self) -> None:
        self._sweep(keep=None)
        self.path.rmdir()
        os.close(self._lock)

    def _sweep(self, keep: str | None) -> None:
        for entry in self.path.iterdir():
            if entry.name != keep:
                entry.unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    """PermissionError if somebody else made it first, as anybody can in /tmp."""
    path.mkdir(mode=0o700, exist_ok=True)
    status = path.lstat()
    if status.st_uid != os.getuid() or path.is_symlink():
        raise PermissionError(f"{path} belongs to somebody else: remove it or ask its owner to")
    path.chmod(0o700)
