"""What the balancer process asks of the system for its pool."""

import subprocess
import sys

from tests.cluster.running import PROJECT

LIMITS = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
from balancer import descriptors
assert descriptors.raise_limit() == hard
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard, "not raised"
"""

MANY_LINKS = """
import time
from balancer.core.events import WorkerConnected, WorkerId
from balancer.core.limits import Limits
from balancer import descriptors
from balancer.server import SOCKETS_MAX
from balancer.transport import Transport

workers = 400  # libzmq's own limit, 1023 sockets, is reached at 341
descriptors.raise_limit()
transport = Transport(Limits(), "many", SOCKETS_MAX)
import zmq
context = zmq.Context()
peer = context.socket(zmq.REP)
peer.bind("tcp://127.0.0.1:*")
for number in range(workers):
    address = peer.getsockopt_string(zmq.LAST_ENDPOINT)
    transport.links.dial(WorkerId(f"w-{number}", 1), address, is_ours=True, must_ping=False)
connected, deadline = 0, time.monotonic() + 20
while connected < workers and time.monotonic() < deadline:
    events = []
    transport.poll(deadline, events.append)
    connected += sum(isinstance(event, WorkerConnected) for event in events)
assert connected == workers, connected
transport.close()
context.destroy(0)
"""

LATE_LINK = """
import json, socket, threading
import zmq
from balancer.config import Config, Pool
from balancer.server import LauncherGone, Server

ours, theirs = socket.socketpair()
pool = Pool(name="w", handler="jobs:handle", workers=1)
server = Server(Config(bind="tcp://127.0.0.1:*", pools=(pool,)), theirs)

def serve():
    try:
        server.run()
    except LauncherGone:
        pass

def worker(context):
    peer = context.socket(zmq.REP)
    peer.linger = 0
    port = peer.bind_to_random_port("tcp://127.0.0.1")
    def answer():
        try:
            while True:
                peer.recv_multipart()
                peer.send(b"here")
        except zmq.ContextTerminated:
            peer.close()
    threading.Thread(target=answer, daemon=True).start()
    return f"tcp://127.0.0.1:{port}"

def dial(incarnation, address):
    order = {"op": "dial", "slot": "w-1", "incarnation": incarnation, "endpoint": address}
    ours.sendall(json.dumps(order).encode() + b"\\n")

def wait_for(op):
    return next(m for m in map(json.loads, lines) if m["op"] == op)["incarnation"]

threading.Thread(target=serve, daemon=True).start()
ours.settimeout(5.0)
lines = ours.makefile("rb")
context = zmq.Context()
old, new = worker(context), worker(context)
dial(2, new)
assert wait_for("ready") == 2
dial(1, old)
assert wait_for("released") == 1
ours.sendall(b'{"op": "status", "id": 1}\\n')
snapshot = next(m for m in map(json.loads, lines) if m["op"] == "status")
assert snapshot["workers"]["w-1"]["state"] == "idle", snapshot
lines.close()
ours.close()
context.term()
"""


def run(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_limit_of_descriptors_is_raised_as_far_as_allowed() -> None:
    run(LIMITS)


def test_there_are_sockets_for_more_workers_than_libzmq_allows_by_itself() -> None:
    run(MANY_LINKS)


def test_a_link_that_comes_about_after_a_newer_one_is_released() -> None:
    run(LATE_LINK)
