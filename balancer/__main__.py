"""``python -m balancer``: the balancer process as its launcher starts it, over a socket."""

import argparse
import gc
import json
import signal
import socket
import sys

from balancer.allocator import keep_freed_memory
from balancer.config import from_json
from balancer.lifeline import die_with_parent
from balancer.listener import CannotBind
from balancer.server import LauncherGone, Server

EXIT_CANNOT_BIND = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m balancer", description=__doc__)
    parser.add_argument("--launcher-fd", type=int, required=True)
    parser.add_argument("--launcher-pid", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.launcher_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # so is the order of a stop
    launcher = socket.socket(fileno=arguments.launcher_fd)
    start = json.loads(_read_line(launcher))
    once_names = map(bytes.fromhex, start["once_names"])
    keep_freed_memory()
    server = Server(from_json(start["config"]), launcher, life=start["life"], once_names=once_names)
    # What exists by now lives as long as the process: a collection need not look at it again.
    gc.freeze()
    try:
        server.run()
    except CannotBind:
        return EXIT_CANNOT_BIND
    except LauncherGone:
        return 1
    return 0


def _read_line(connection: socket.socket) -> bytes:
    """The configuration, which the launcher sends first; no byte beyond it is taken."""
    line = b""
    while not line.endswith(b"\n"):
        peeked = connection.recv(1 << 16, socket.MSG_PEEK)
        if not peeked:
            raise SystemExit("the launcher is gone")
        end = peeked.find(b"\n")
        line += connection.recv(end + 1 if end >= 0 else len(peeked))
    return line


if __name__ == "__main__":
    sys.exit(main())
