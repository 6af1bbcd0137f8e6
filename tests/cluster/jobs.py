"""A handler that does as each request says and writes down every time that it runs."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workers import current

READY_AT = time.monotonic()


def work(request: Any) -> dict[str, Any]:
    """Take ``sleep_s``, then do what ``do`` says, only in its first ``tries`` if that is given.

    Each run is a line in the file ``record``, so that no run stays unseen, whatever becomes of it.
    """
    started_at = time.monotonic()
    if "record" in request:
        _write_down(request, started_at)
    time.sleep(request.get("sleep_s", 0.0))
    if current().attempt <= request.get("tries", sys.maxsize):
        _DEEDS[request.get("do", "answer")]()
    return {"pid": os.getpid(), "started_at": started_at, "ended_at": time.monotonic()}


def _write_down(request: dict[str, Any], started_at: float) -> None:
    run = {
        "name": request.get("name", ""),
        "pid": os.getpid(),
        "attempt": current().attempt,
        "started_at": started_at,
        "ready_at": READY_AT,
    }
    # One write to a file opened for appending: lines of several processes do not mix.
    with Path(request["record"]).open("a") as file:
        file.write(json.dumps(run) + "\n")


def _answer() -> None:
    pass


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _spin() -> None:
    while True:
        pass


def _hold_the_gil() -> None:
    all(itertools.repeat(True))  # One call into C that never ends.


def _start_a_process() -> None:
    subprocess.Popen(["sleep", "1000"])
    _hold_the_gil()


def _leave_a_daemon() -> None:
    if os.fork() == 0:
        os.setsid()  # out of everybody's reach, with a copy of each of our descriptors
        time.sleep(3.0)
        os._exit(0)
    time.sleep(3.0)


_DEEDS: dict[str, Callable[[], None]] = {
    "answer": _answer,
    "crash": _crash,
    "spin": _spin,
    "hold the gil": _hold_the_gil,
    "leave a daemon": _leave_a_daemon,
    "start a process and hold the gil": _start_a_process,
}


class Together:
    """Answers each request with how many came with it; ``"crash"`` takes all of them along."""

    def batch(self, requests: list[Any]) -> list[Any]:
        if "crash" in requests:
            _crash()
        time.sleep(0.005)
        return [[request, len(requests)] for request in requests]
