"""``python -m balancer.dashboard``: the dashboard process as its launcher starts it."""

import argparse
import asyncio
import json
import signal
import socket
import sys
from typing import Any

from balancer.dashboard.binding import CannotBind, known_hosts, listen, parse_address
from balancer.lifeline import die_with_parent, watch

EXIT_CANNOT_BIND = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m balancer.dashboard", description=__doc__)
    parser.add_argument("--launcher-fd", type=int, required=True)
    parser.add_argument("--launcher-pid", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.launcher_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the launcher's to handle
    launcher = socket.socket(fileno=arguments.launcher_fd)
    with launcher.makefile("rb") as lines:
        line = lines.readline()
    if not line:
        raise SystemExit("the launcher is gone")
    return _run(launcher, json.loads(line))


def _run(launcher: socket.socket, configuration: dict[str, Any]) -> int:
    try:
        # Only now: whoever has not installed them is told so by the launcher, not by a traceback.
        from balancer.dashboard.serving import serve

        address = parse_address(configuration["address"])
        listener = listen(address)
    except ModuleNotFoundError as error:
        fix = "pip install 'failover-cluster[web]', or -e '.[web]' in a clone"
        return _give_up(launcher, f"the dashboard needs {error.name}: {fix}")
    except CannotBind as error:
        return _give_up(launcher, str(error))
    address = address._replace(port=listener.getsockname()[1])
    _tell(launcher, {"op": "bound", "url": f"http://{address.origin}/"})
    watch(launcher.fileno())
    hosts = known_hosts(address, configuration["hosts"])
    asyncio.run(serve(configuration["name"], configuration["token"], hosts, listener))
    return 0


def _give_up(launcher: socket.socket, error: str) -> int:
    _tell(launcher, {"op": "cannot_bind", "error": error})
    return EXIT_CANNOT_BIND


def _tell(launcher: socket.socket, message: dict[str, Any]) -> None:
    launcher.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
