"""The dashboard as a process: what its launcher tells it and hears, and that it dies with it."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from balancer.dashboard.binding import CannotBind, parse_address
from tests.cluster.running import PROJECT, is_alive, wait_until
from tests.dashboard.running import Dashboard

LAUNCHER = """
import json, os, socket, subprocess, sys, time
ours, theirs = socket.socketpair()
fd = str(theirs.fileno())
child = subprocess.Popen(
    [sys.executable, "-P", "-m", "balancer.dashboard", "--launcher-fd", fd,
     "--launcher-pid", str(os.getpid())], pass_fds=[theirs.fileno()], start_new_session=True)
theirs.close()
ours.sendall(json.dumps({"op": "configure", "name": "nobody", "address": "127.0.0.1:0",
                         "token": None, "hosts": []}).encode() + b"\\n")
print(child.pid, ours.recv(1000).decode().strip(), flush=True)
time.sleep(1000)
"""


def test_it_is_bound_before_it_says_so() -> None:
    with Dashboard("nobody") as dashboard:
        assert dashboard.told == {"op": "bound", "url": f"http://127.0.0.1:{dashboard.port}/"}
        assert dashboard.get("/healthz").text == "ok\n"


def test_it_speaks_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    dashboard = Dashboard("nobody", address="[::1]:0")
    dashboard.start()
    dashboard.close()
    assert dashboard.told["url"].startswith("http://[::1]:")


def test_a_taken_address_is_told() -> None:
    with Dashboard("nobody") as first:
        second = Dashboard("nobody", address=first.host)
        second.start()
        assert second.told["op"] == "cannot_bind"
        assert f"{first.host}: somebody else does" in second.told["error"]
        assert second.process.wait(5) == 3
        second.close()


def test_what_is_not_installed_is_told(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'uvicorn'\", name='uvicorn')"
    (tmp_path / "uvicorn.py").write_text(missing)
    dashboard = Dashboard("nobody")
    dashboard.start(str(tmp_path))
    assert dashboard.told["op"] == "cannot_bind"
    assert "needs uvicorn: pip install 'failover-cluster[web]'" in dashboard.told["error"]
    assert dashboard.process.wait(5) == 3
    dashboard.close()


@pytest.mark.parametrize(
    "address", ["0.0.0.0:8080", "[::]:8080", "192.168.1.4:8080", "example.org:8080", "10.0.0.1:80"]
)
def test_only_loopback(address: str) -> None:
    with pytest.raises(CannotBind, match=r"loopback only: .* put a TLS proxy before it"):
        parse_address(address)


@pytest.mark.parametrize(
    "address", ["", "8080", "localhost", "127.0.0.1:", "127.0.0.1:99999", "::1:8"]
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(CannotBind, match=r"write 127\.0\.0\.1:8080"):
        parse_address(address)


@pytest.mark.parametrize(
    ("address", "host"),
    [("127.0.0.1:8080", "127.0.0.1"), ("localhost:8080", "127.0.0.1"), ("[::1]:8080", "::1")],
)
def test_what_is_one(address: str, host: str) -> None:
    assert parse_address(address) == (host, 8080)


def test_it_dies_with_the_socket_of_its_launcher() -> None:
    with Dashboard("nobody") as dashboard:
        dashboard.connection.close()
        wait_until(lambda: dashboard.process.poll() is not None, 5, "the end of the dashboard")


def test_it_dies_with_its_launcher() -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert launcher.stdout is not None
    pid, told = launcher.stdout.readline().split(" ", 1)
    assert json.loads(told)["op"] == "bound"
    launcher.kill()
    launcher.wait(5)
    wait_until(lambda: not is_alive(int(pid)), 5, "the end of the dashboard")
    launcher.stdout.close()


def test_ctrl_c_is_the_launchers_and_a_sigterm_ends_it_at_once() -> None:
    with Dashboard("nobody") as dashboard:
        reader = dashboard.connect()
        reader.sendall(f"GET /stream HTTP/1.1\r\nHost: {dashboard.host}\r\n\r\n".encode())
        assert reader.recv(15) == b"HTTP/1.1 200 OK"
        dashboard.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert dashboard.get("/healthz").status == 200
        dashboard.process.send_signal(signal.SIGTERM)
        assert dashboard.process.wait(2) == -signal.SIGTERM
        reader.close()
