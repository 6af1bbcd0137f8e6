"""The private directory of a cluster: one owner for each name, and nothing left behind."""

import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

from balancer.runtime_directory import NameTaken, RuntimeDirectory, control_path, path_of

_numbers = count(1)


@pytest.fixture
def name() -> str:
    return f"test-directory-{os.getpid()}-{next(_numbers)}"


def test_it_is_for_its_owner_alone_and_gone_in_the_end(name: str) -> None:
    directory = RuntimeDirectory(name)
    assert directory.path == path_of(name)
    assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.path.parent.stat().st_mode) == 0o700
    (directory.path / "left.sock").touch()
    directory.close()
    assert not directory.path.exists()


def test_paths_are_short_enough_for_sockets() -> None:
    longest = "n" * 32
    assert len(str(control_path(longest))) < 107
    place, incarnation = 4095, 1_000_000
    assert len(f"{path_of(longest)}/w{place}.{incarnation}") < 107


def test_every_incarnation_has_an_address_of_its_own(name: str) -> None:
    directory = RuntimeDirectory(name)
    addresses = {directory.worker_endpoint(p, i) for p in range(3) for i in range(1, 4)}
    assert len(addresses) == 9
    directory.close()


def test_the_socket_of_a_dead_worker_is_removed_and_may_be_gone_already(name: str) -> None:
    directory = RuntimeDirectory(name)
    endpoint = directory.worker_endpoint(0, 1)
    path = Path(endpoint.removeprefix("ipc://"))
    path.touch()
    for _ in range(2):
        directory.discard(endpoint)
        assert not path.exists()
    directory.close()


def test_a_name_has_one_owner_at_a_time(name: str) -> None:
    first = RuntimeDirectory(name)
    with pytest.raises(NameTaken) as refused:
        RuntimeDirectory(name)
    assert f"'{name}' is running already (pid {os.getpid()})" in str(refused.value)
    first.close()
    RuntimeDirectory(name).close()


def test_a_name_stays_taken_when_somebody_cleans_up(name: str) -> None:
    """As the jobs do that remove old files from /tmp."""
    first = RuntimeDirectory(name)
    for entry in first.path.iterdir():
        entry.unlink()
    with pytest.raises(NameTaken, match="pid unknown"):
        RuntimeDirectory(name)
    first.close()


def test_what_a_dead_owner_left_is_swept(name: str) -> None:
    code = f"from balancer.runtime_directory import RuntimeDirectory as D; D({name!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(control_path(name)))
    directory = RuntimeDirectory(name)
    assert not control_path(name).exists()
    directory.close()


def test_a_child_of_a_dead_owner_does_not_keep_the_name(name: str) -> None:
    code = f"""if True:
        import subprocess
        from balancer.runtime_directory import RuntimeDirectory
        RuntimeDirectory({name!r})
        sleep = ["sleep", "1000"]
        print(subprocess.Popen(sleep, stdout=subprocess.DEVNULL, close_fds=False).pid)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True
    )
    child = int(done.stdout)
    try:
        RuntimeDirectory(name).close()
    finally:
        os.kill(child, 9)


def test_a_directory_that_is_removed_between_two_steps_is_made_again(name: str) -> None:
    """One cluster ends while the next one begins, over and over: each owner is alone."""
    owners: list[int] = []
    refusals: list[NameTaken] = []

    def take_turns() -> None:
        for _ in range(200):
            try:
                directory = RuntimeDirectory(name)
            except NameTaken as error:
                refusals.append(error)
                continue
            owners.append(1)
            assert len(owners) == 1
            assert directory.path.is_dir()
            owners.pop()
            directory.close()

    errors: list[BaseException] = []

    def run() -> None:
        try:
            take_turns()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(refusals) < 600
    assert not path_of(name).exists()


@pytest.mark.parametrize("kind", ["a link", "a file"])
def test_what_somebody_else_has_put_there_is_not_used(name: str, tmp_path: Path, kind: str) -> None:
    RuntimeDirectory(name).close()
    path = path_of(name)
    if kind == "a link":
        path.symlink_to(tmp_path)
    else:
        path.touch()
    with pytest.raises(PermissionError, match="is not our own directory: remove it"):
        RuntimeDirectory(name)
    path.unlink()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_on_the_directory(name: str) -> None:
    """Jobs that clean up /tmp leave alone what is locked like this."""
    directory = RuntimeDirectory(name)
    descriptor = os.open(directory.path, os.O_DIRECTORY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(descriptor)
    directory.close()
