"""The peer ``loop``: the textbook's balancer, one request at a time to each worker, no promises."""

import json
import os
import resource
import sys
from collections import deque

import zmq

from tests.benchmarks.processes import die_with, say


def main() -> None:
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    context = zmq.Context()
    context.max_sockets = 4096
    front = context.socket(zmq.ROUTER)
    front.bind("tcp://127.0.0.1:*")
    poller = zmq.Poller()
    poller.register(front, zmq.POLLIN)
    idle = []
    for endpoint in json.loads(sys.argv[1]):
        worker = context.socket(zmq.REQ)
        worker.connect(endpoint)
        poller.register(worker, zmq.POLLIN)
        idle.append(worker)
    say({"pid": os.getpid(), "endpoint": front.getsockopt_string(zmq.LAST_ENDPOINT)})
    waiting: deque[list[bytes]] = deque()
    envelopes: dict[zmq.Socket[bytes], list[bytes]] = {}
    while True:
        for socket, _ in poller.poll():
            frames = socket.recv_multipart()
            if socket is front:
                waiting.append(frames)
            else:
                front.send_multipart(envelopes.pop(socket) + frames)
                idle.append(socket)
        while waiting and idle:
            *envelope, payload = waiting.popleft()
            worker = idle.pop(0)  # the longest idle, as in the ZeroMQ guide
            envelopes[worker] = envelope
            worker.send_multipart([payload])


if __name__ == "__main__":
    die_with(os.getppid())
    main()
