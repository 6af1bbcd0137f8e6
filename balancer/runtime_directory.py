"""The private directory of a running cluster: its sockets, and the lock that makes its name unique.

Everything lies in ``/tmp/failover-cluster-UID/NAME``: short, because the path of a Unix socket may
be no longer than 107 bytes, and the same for every shell of a user, so that commands find it.
"""

import contextlib
import fcntl
import os
import stat
from pathlib import Path

_OWNER = "pid"


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
        self._lock = self._take_lock(name)
        self._sweep()
        (self.path / _OWNER).write_text(f"{os.getpid()}\n")

    def _take_lock(self, name: str) -> int:
        """Lock the directory itself: there is no file to be lost when somebody cleans up /tmp, and
        systemd-tmpfiles leaves a locked directory alone. The kernel drops the lock with its last
        owner, so that a dead launcher is never in the way."""
        while True:
            try:
                _make_private(self.path)
                lock = os.open(self.path, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its last owner has removed it just now
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise NameTaken(
                    f"a cluster named '{name}' is running already (pid {_owner_of(self.path)}): "
                    f"stop it with 'run_cluster.py stop --name {name}', or give this one another "
                    "--name and --bind"
                ) from None
            if _is_at(lock, self.path):
                return lock
            os.close(lock)  # removed between our two steps: what we have locked is no name's

    def worker_endpoint(self, place: int, incarnation: int) -> str:
        """A fresh address for each incarnation: nothing sent to one can reach its successor."""
        return f"ipc://{self.path}/w{place}.{incarnation}"

    def stream_path(self, endpoint: str) -> str:
        """Where the worker at the endpoint listens for the balancer's plain stream, too."""
        return endpoint.removeprefix("ipc://") + ".stream"

    def write_secret(self, name: str, text: str) -> Path:
        """Have the text in a file that only our user can read; gone with the directory."""
        path = self.path / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(f"{text}\n")
        return path

    def discard(self, endpoint: str) -> None:
        """Remove the socket files that a dead worker left behind."""
        for path in (endpoint.removeprefix("ipc://"), self.stream_path(endpoint)):
            Path(path).unlink(missing_ok=True)

    def close(self) -> None:
        self._sweep()
        self.path.rmdir()
        os.close(self._lock)

    def _sweep(self) -> None:
        for entry in self.path.iterdir():
            entry.unlink(missing_ok=True)


def _owner_of(path: Path) -> str:
    try:
        return (path / _OWNER).read_text().strip() or "unknown"
    except OSError:
        return "unknown"


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _make_private(path: Path) -> None:
    """PermissionError if somebody else made it first, as anybody can in /tmp."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{path} is not our own directory: remove it or ask its owner to")
    path.chmod(0o700)
