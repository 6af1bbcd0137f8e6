"""A real cluster for a test: started through run_cluster.py, watched from outside, stopped."""

import contextlib
import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, cycle
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import zmq

from balancer.control import ask

PROJECT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 20.0
T = TypeVar("T")
_numbers = count(1)


PORTS_EACH = 3_000
_runner = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
_first_port = 20_000 + _runner * PORTS_EACH
_ports = cycle(random.sample(range(_first_port, _first_port + PORTS_EACH), PORTS_EACH))


def free_port() -> int:
    """One that nobody has at the moment, nor will be told by others that run tests beside us, nor
    is given to whoever connects somewhere: systems take those from 32768 on."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def free_address() -> str:
    """An address on loopback that nobody has at the moment."""
    return f"tcp://127.0.0.1:{free_port()}"


def wait_until(condition: Callable[[], T], timeout_s: float = 10.0, what: str = "") -> T:
    """Wait for the condition to give something true and return that; fail if it does not."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout_s} s: {what or condition}")


def run_cluster_command(*arguments: str, cwd: Path = PROJECT) -> list[str]:
    return [sys.executable, str(PROJECT / "run_cluster.py"), *arguments]


def processes_of_session_tree(pid: int) -> set[int]:
    """The process and everything that descends from it at this moment."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    tree, pending = set(), [pid]
    while pending:
        tree.add(one := pending.pop())
        pending += children.get(one, [])
    return tree


def is_alive(pid: int) -> bool:
    """Whether the process runs: a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Cluster:
    """A running cluster of its own name on an address of its own; use it as a context manager."""

    def __init__(
        self,
        *arguments: str,
        cwd: Path = PROJECT,
        env: dict[str, str] | None = None,
        bind: str | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """``prefix`` is a command that runs the launcher's own, ``bind`` an address if not any."""
        self.name = f"test-{os.getpid()}-{next(_numbers)}"
        self.address = bind or free_address()
        self._arguments = arguments
        self._prefix = prefix
        self._cwd = cwd
        self._env = {**os.environ, **(env or {})}
        self._log_lines: list[str] = []

    def __enter__(self) -> "Cluster":
        self.start()
        try:
            self.wait_for_log("ready on", START_TIMEOUT_S)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the launcher and do not wait for anything."""
        self.started_at = time.monotonic()
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        self._log_pipe = read_end
        self._partial = b""
        arguments = [*self._arguments, "--name", self.name, "--bind", self.address]
        self.launcher = subprocess.Popen(
            [*self._prefix, *run_cluster_command(*arguments)],
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
        )
        os.close(write_end)

    def close(self) -> None:
        """Stop it if it runs; it is a failure if anything of it stays alive."""
        tree = processes_of_session_tree(self.launcher.pid)
        if self.launcher.poll() is None:
            self.launcher.send_signal(signal.SIGTERM)
            try:
                self.launcher.wait(5)
            except subprocess.TimeoutExpired:
                self.launcher.kill()
                self.launcher.wait(5)
        wait_until(lambda: not any(map(is_alive, tree)), 5, "every process of the cluster is gone")
        self.log()
        os.close(self._log_pipe)

    def log(self) -> str:
        """Everything that it has printed so far."""
        try:
            while data := os.read(self._log_pipe, 1 << 16):
                *lines, self._partial = (self._partial + data).split(b"\n")
                self._log_lines += [line.decode(errors="replace") for line in lines]
        except (BlockingIOError, OSError):
            pass
        return "\n".join(self._log_lines)

    def unread_log_bytes(self) -> int:
        """How much of its log lies in the pipe; what a pipe can hold is 64 KiB."""
        size = fcntl.ioctl(self._log_pipe, termios.FIONREAD, bytes(4))
        return int.from_bytes(size, sys.byteorder)

    def wait_for_log(self, text: str, timeout_s: float = 10.0) -> str:
        """Wait for a line that holds the text, and return the line."""

        def find() -> str | None:
            return next((line for line in self.log().splitlines() if text in line), None)

        def found_or_dead() -> str | None:
            return find() or (self.launcher.poll() is not None and find()) or None

        try:
            line = wait_until(found_or_dead, timeout_s, f"{text!r} in the log")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None
        assert line is not None
        return line

    def status(self) -> dict[str, Any]:
        """What ``status --json`` says."""
        done = subprocess.run(
            run_cluster_command("status", "--json", "--name", self.name),
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def look(self) -> dict[str, Any]:
        """The same, without the time that it takes to start a process."""
        return ask(self.name, "status")

    def worker(self, name: str) -> dict[str, Any]:
        """The worker of that name in ``status --json``."""
        return next(w for w in self.look()["workers"] if w["name"] == name)

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send the signal to the worker of that name; returns the pid that it went to."""
        pid = int(self.worker(name)["pid"])
        os.kill(pid, number)
        return pid

    def wait_for_workers(self, number: int, timeout_s: float = 10.0) -> None:
        """Wait until so many workers are in rotation."""

        def is_complete() -> bool:
            workers = self.look()["workers"]
            return sum(w["state"] in ("idle", "busy") for w in workers) >= number

        wait_until(is_complete, timeout_s, f"{number} workers in rotation")

    def wait_for_holder(self, but: str = "", timeout_s: float = 5.0) -> dict[str, Any]:
        """Wait until some worker is busy, another than ``but``, and return it."""
        return wait_until(
            lambda: next(
                (w for w in self.look()["workers"] if w["state"] == "busy" and w["name"] != but),
                {},
            ),
            timeout_s,
            "a busy worker",
        )


@contextmanager
def plain_client(address: str, kind: int = zmq.REQ) -> Iterator["PlainClient"]:
    """A client written with pyzmq alone, as a user of another library would."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    client = PlainClient(context.socket(kind))
    client.socket.linger = 0
    client.socket.rcvtimeo = 35_000
    client.socket.connect(address)
    try:
        yield client
    finally:
        client.socket.close()
        context.term()


class PlainClient:
    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    def send(self, request: Any, **header: Any) -> None:
        frames = [msgpack.packb(header), msgpack.packb(request)] if header else []
        self.socket.send_multipart(frames or [msgpack.packb(request)])

    def receive(self) -> dict[str, Any]:
        reply: dict[str, Any] = msgpack.unpackb(self.socket.recv())
        return reply

    def ask(self, request: Any, **header: Any) -> dict[str, Any]:
        """Send a request and wait for its reply (REQ only)."""
        self.send(request, **header)
        return self.receive()
