"""A real worker process, started the way a launcher starts it, and a strict REQ to talk to it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import zmq

from balancer.core.events import WorkerReply
from balancer.wire import tasks
from balancer.wire.worker_replies import decode_worker_reply

PATIENCE_S = 10.0
ANY_PORT = "tcp://127.0.0.1:*"


@dataclass
class Worker:
    process: subprocess.Popen[bytes]
    launcher: socket.socket
    stderr: Path

    def event(self) -> dict[str, Any]:
        """The next line that the worker tells its launcher."""
        with self.launcher.makefile("r") as lines:
            return dict(json.loads(lines.readline()))

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE_S)

    def log(self) -> str:
        # Opened anew: the place in the file that we hand on to the worker is the worker's, too.
        return self.stderr.read_text()


@contextlib.contextmanager
def started(
    handler: str, *options: str, bind: str = ANY_PORT, leads_group: bool = True
) -> Iterator[Worker]:
    """A worker that is tied to us; killed in the end, with its whole group if it leads one."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE_S)
    command = [sys.executable, "-m", "workers", handler, "--bind", bind, *options]
    command += ["--launcher-fd", str(theirs.fileno()), "--launcher-pid", str(os.getpid())]
    with ours, theirs, tempfile.NamedTemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stderr=stderr,
            start_new_session=leads_group,
        )
        theirs.close()
        try:
            yield Worker(process, ours, Path(stderr.name))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()


@contextlib.contextmanager
def link(endpoint: str) -> Iterator[zmq.SyncSocket]:
    context: zmq.SyncContext = zmq.Context()
    try:
        req = context.socket(zmq.REQ)
        req.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        req.connect(endpoint)
        yield req
    finally:
        context.destroy(linger=0)


@contextlib.contextmanager
def serving(handler: str, *options: str) -> Iterator[tuple[Worker, zmq.SyncSocket]]:
    """A worker that is ready, and a link to it."""
    with started(handler, *options) as worker:
        ready = worker.event()
        assert ready["event"] == "ready", ready
        with link(ready["endpoint"]) as req:
            yield worker, req


def send(req: zmq.SyncSocket, request: Any, expires_in_s: float | None = None) -> None:
    expires_at = None if expires_in_s is None else time.monotonic() + expires_in_s
    req.send_multipart(tasks.encode_task("r1", 2, 5.0, expires_at, msgpack.packb(request)))


def receive(req: zmq.SyncSocket) -> WorkerReply:
    """The worker's reply, read as the balancer reads that of a stranger."""
    return decode_worker_reply(req.recv_multipart(), 64 * 1024 * 1024, is_trusted=False)


def ask(req: zmq.SyncSocket, request: Any) -> WorkerReply:
    send(req, request)
    return receive(req)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.005)


def wait_for_log(worker: Worker, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in worker.log():
        assert time.monotonic() < deadline, f"{text!r} is not in the log: {worker.log()}"
        time.sleep(0.005)


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def cpu_ticks_within(duration_s: float, pid: int) -> int:
    """How much processor time it uses while nobody wants anything of it."""
    before = cpu_ticks(pid)
    time.sleep(duration_s)  # Not to wait for something: this is the time that it must not use.
    return cpu_ticks(pid) - before
