"""The peer ``proxy``: libzmq's own queue device, which knows nothing of workers but round robin."""

import json
import os
import sys

import zmq

from tests.benchmarks.processes import die_with, say


def main() -> None:
    context = zmq.Context()
    front = context.socket(zmq.ROUTER)
    front.bind("tcp://127.0.0.1:*")
    back = context.socket(zmq.DEALER)
    for endpoint in json.loads(sys.argv[1]):
        back.connect(endpoint)
    say({"pid": os.getpid(), "endpoint": front.getsockopt_string(zmq.LAST_ENDPOINT)})
    zmq.proxy(front, back)


if __name__ == "__main__":
    die_with(os.getppid())
    main()
