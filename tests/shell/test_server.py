"""What the balancer process asks of the system for its pool."""

import subprocess
import sys

from tests.cluster.running import PROJECT

LIMITS = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
from balancer.server import raise_descriptor_limit
raise_descriptor_limit()
assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard, "not raised"
"""

MANY_LINKS = """
import time
from balancer.core.events import WorkerConnected, WorkerId
from balancer.core.limits import Limits
from balancer.server import SOCKETS_MAX, raise_descriptor_limit
from balancer.transport import Transport

workers = 400  # libzmq's own limit, 1023 sockets, is reached at 341
raise_descriptor_limit()
transport = Transport(Limits(), "many", SOCKETS_MAX)
import zmq
context = zmq.Context()
peer = context.socket(zmq.REP)
peer.bind("tcp://127.0.0.1:*")
for number in range(workers):
    address = peer.getsockopt_string(zmq.LAST_ENDPOINT)
    transport.dial(WorkerId(f"w-{number}", 1), address, is_ours=True, must_ping=False)
connected, deadline = 0, time.monotonic() + 20
while connected < workers and time.monotonic() < deadline:
    events = transport.poll(until=deadline)
    connected += sum(isinstance(event, WorkerConnected) for event in events)
assert connected == workers, connected
transport.close()
context.destroy(0)
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
