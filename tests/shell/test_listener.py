"""Where clients find us: all addresses that can be given, and one connection after another."""

import os
import resource
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from balancer.listener import CannotBind, Listener, NoDescriptors
from tests.cluster.running import PROJECT
from tests.shell.peers import PATIENCE_S
from tests.shell.test_frontend import Loop

SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"
OLD_ID = b"\x01\0"
LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux that has it")


def dial(address: str) -> socket.socket:
    """A client's end."""
    scheme, _, place = address.partition("://")
    if scheme == "ipc":
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE_S)
        client.connect("\0" + place[1:] if place.startswith("@") else place)
        return client
    host, _, port = place.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S)


def accept(listener: Listener) -> socket.socket:
    deadline = time.monotonic() + PATIENCE_S
    while (accepted := listener.accept()) is None:
        assert time.monotonic() < deadline, "nobody has come"
    return accepted


def check_is_met(listener: Listener) -> None:
    """Whoever dials its address is who is accepted, and neither end waits."""
    assert listener.accept() is None
    with dial(listener.address) as client, accept(listener) as accepted:
        assert not accepted.getblocking()
        assert not accepted.get_inheritable()
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        accepted.settimeout(PATIENCE_S)
        assert accepted.recv(100) == b"hello"
    assert listener.accept() is None


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "[::1]"])
def test_a_port_is_met_by_the_address_that_is_told(host: str) -> None:
    if host == "[::1]" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("this machine has no IPv6")
    with closing(Listener(f"tcp://{host}:*")) as listener:
        check_is_met(listener)
        place, _, port = listener.address.removeprefix("tcp://").rpartition(":")
        assert place == host.replace("localhost", "127.0.0.1")
        assert int(port) > 0
        with pytest.raises(CannotBind, match="Address already in use"):
            Listener(f"tcp://{host}:{port}")
    with closing(Listener(f"tcp://{host}:{port}")) as again:
        assert again.address == f"tcp://{place}:{port}"


def test_a_port_is_to_be_had_again_at_once_where_we_hung_up() -> None:
    with closing(Listener("tcp://127.0.0.1:*")) as listener, dial(listener.address) as client:
        accept(listener).close()
        assert client.recv(1) == b""
        address = listener.address
    with closing(Listener(address)) as again:
        assert again.address == address


def test_a_path_is_met_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    before = os.umask(0)
    try:
        with closing(Listener(f"ipc://{path}")) as listener:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert listener.address == f"ipc://{path}"
            check_is_met(listener)
        assert os.umask(0) == 0, "the process goes on as it was"
    finally:
        os.umask(before)
    assert not path.exists()


@LINUX_ONLY
def test_an_abstract_name_is_met_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"@listener-{os.getpid()}"
    (tmp_path / name).write_text("of no concern")
    with closing(Listener(f"ipc://{name}")) as listener:
        assert listener.address == f"ipc://{name}"
        check_is_met(listener)
        with pytest.raises(CannotBind, match="is in use"):
            Listener(f"ipc://{name}")
    with closing(Listener(f"ipc://{name}")) as again:
        check_is_met(again)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@LINUX_ONLY
def test_a_path_whose_owner_accepts_nobody_is_in_use_all_the_same(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with ExitStack() as stack:
        owner = stack.enter_context(socket.socket(socket.AF_UNIX))
        owner.bind(path)
        owner.listen(0)
        error = 0
        while not error:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            error = waiting.connect_ex(path)
        with pytest.raises(CannotBind, match="is in use"):
            Listener(f"ipc://{path}")


@pytest.mark.parametrize("place", ["nowhere/socket", "x" * 200])
def test_what_cannot_be_bound_is_said_with_the_fix(tmp_path: Path, place: str) -> None:
    address = f"ipc://{tmp_path}/{place}"
    with pytest.raises(CannotBind) as refused:
        Listener(address)
    assert str(refused.value).startswith(f"cannot bind {address}: ")
    assert str(refused.value).endswith("; stop what uses it, or give --bind another address")


# --- connections --------------------------------------------------------------------------------


def test_what_is_small_leaves_at_once_and_a_vanished_machine_is_found_out() -> None:
    with (
        closing(Listener("tcp://127.0.0.1:*")) as listener,
        dial(listener.address),
        accept(listener) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if sys.platform == "linux":
            names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
            options = [
                accepted.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in names
            ]
            assert options == [15, 5, 3]


def test_who_has_left_before_is_no_accident() -> None:
    with closing(Listener("tcp://127.0.0.1:*")) as listener:
        for _ in range(3):
            client = dial(listener.address)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
        with dial(listener.address) as staying:
            name = staying.getsockname()
            while True:
                with accept(listener) as accepted:
                    accepted.settimeout(PATIENCE_S)
                    try:
                        if accepted.getpeername() == name:
                            break
                    except OSError:
                        pass


def test_who_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("balancer.frontend.GREETING_TIMEOUT_S", 0.1)
    with closing(Loop()) as loop:
        loop.frontend.bind("tcp://127.0.0.1:*")
        dial(loop.frontend.address).close()
        with dial(loop.frontend.address) as silent, dial(loop.frontend.address) as greeted:
            greeted.sendall(OLD_ID)
            silent.sendall(SIGNATURE)
            turn_until(loop, lambda: is_at_end(silent))
            greeted.sendall(b"\x01\x01" + b"\x02\0x")
            assert loop.arrival().size_bytes == 1


def turn_until(loop: Loop, is_over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_over():
        assert time.monotonic() < deadline, "it takes too long"
        loop.turn()


def is_at_end(client: socket.socket) -> bool:
    """Whatever was said to it is read."""
    client.setblocking(False)
    try:
        while client.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


# --- descriptors --------------------------------------------------------------------------------


def test_where_descriptors_are_used_up_the_others_wait_until_some_leave() -> None:
    script = "from tests.shell.test_listener import use_up; use_up()"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "served\n"), done.stderr


def is_met(client: socket.socket) -> bool:
    """Our signature has come to it."""
    try:
        return client.recv(10, socket.MSG_PEEK) == SIGNATURE
    except BlockingIOError:
        return False


def use_up() -> None:
    """In a process of its own."""
    loop = Loop()
    loop.frontend.bind("tcp://127.0.0.1:*")
    clients = [dial(loop.frontend.address) for _ in range(8)]
    for client in clients:
        client.setblocking(False)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (clients[-1].fileno() + 1 + 3, hard))
    turn_until(loop, lambda: sum(map(is_met, clients)) == 3)
    turns, end = 0, time.monotonic() + 0.3
    while time.monotonic() < end:
        loop.turn()
        turns += 1
    assert turns < 50, "it asks again and again"
    assert sum(map(is_met, clients)) == 3
    for client in clients[:3]:
        client.close()
    turn_until(loop, lambda: all(map(is_met, clients[3:])))
    print("served")


def test_that_there_is_no_descriptor_left_is_told() -> None:
    script = "from tests.shell.test_listener import ask_for_more; ask_for_more()"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr


def ask_for_more() -> None:
    """In a process of its own."""
    listener = Listener("tcp://127.0.0.1:*")
    client = dial(listener.address)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, hard))
    try:
        accept(listener)
    except NoDescriptors:
        print("told")
