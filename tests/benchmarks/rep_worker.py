"""The worker of the peers: a plain REP loop. ``rep_worker JOB ENDPOINT FIRST COUNT``."""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import msgpack
import zmq

from tests.benchmarks.processes import die_with, say


def serve(job: Callable[[Any], Any], endpoint: str) -> None:
    """Say where, and answer for ever."""
    socket = zmq.Context().socket(zmq.REP)
    socket.bind(endpoint)
    say({"pid": os.getpid(), "endpoint": socket.getsockopt_string(zmq.LAST_ENDPOINT)})
    while True:
        request = msgpack.unpackb(socket.recv())
        socket.send(msgpack.packb(job(request)))


def main() -> None:
    """Serve, or with a COUNT above 1 fork so many servers, which is quicker than to start them."""
    spec, endpoint, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    module, _, name = spec.partition(":")
    job = getattr(import_module(module), name)
    if count == 1:
        serve(job, endpoint.format(number=first))
    crew = os.getpid()
    for number in range(first, first + count):
        if os.fork() == 0:
            die_with(crew)
            serve(job, endpoint.format(number=number))
    signal.pause()


if __name__ == "__main__":
    die_with(os.getppid())
    main()
