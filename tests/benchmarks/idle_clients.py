"""Clients that have asked once and stay connected. ``idle_clients ENDPOINT COUNT``."""

import os
import resource
import signal
import sys

import msgpack
import zmq

from tests.benchmarks.processes import die_with, say

AT_ONCE = 50
"""Few enough for the shortest backlog."""
ANSWER_TIMEOUT_MS = 15_000


def main() -> None:
    endpoint, count = sys.argv[1], int(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    context = zmq.Context()
    context.max_sockets = count + 16
    clients: list[zmq.Socket[bytes]] = []
    while len(clients) < count:
        fresh = [context.socket(zmq.REQ) for _ in range(min(AT_ONCE, count - len(clients)))]
        for client in fresh:
            client.rcvtimeo = ANSWER_TIMEOUT_MS
            client.connect(endpoint)
            client.send(msgpack.packb("here"))
        for client in fresh:
            client.recv()
        clients += fresh
    say({"clients": len(clients)})
    signal.pause()


if __name__ == "__main__":
    die_with(os.getppid())
    main()
