"""The handler: does what each request says, well or badly, and writes down when it starts and ends.

The file that it writes to is named by the environment variable CHAOS_RUNS, which marks, too,
every process of the cluster.
"""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.chaos.history import Journal, digest
from workers import Decline, current

RUNS_VARIABLE = "CHAOS_RUNS"
LARGE_BYTES = 10 * 1024 * 1024
LEAK_BYTES = 16 * 1024 * 1024
CHATTER_LINES = 1500
"""More of them than a pipe can hold."""

_leaked: list[bytes] = []


class Worker:
    """What it answers is different each time, so that every body can be told from all others."""

    def __init__(self) -> None:
        self._journal = Journal(os.environ[RUNS_VARIABLE])
        self._name = f"{os.getpid()}.{time.monotonic_ns()}"
        self._numbers = itertools.count(1)

    def __call__(self, request: dict[str, Any]) -> Any:
        run = f"{self._name}/{next(self._numbers)}"
        self._journal.append(
            "start",
            run=run,
            op=request["op"],
            worker=self._name,
            attempt=current().attempt,
            started_at=time.monotonic(),
        )
        body, is_empty = None, False
        try:
            time.sleep(request["sleep_s"])
            body = {"op": request["op"], "run": run, "more": DEEDS[request["do"]](request)}
        except Decline:
            is_empty = True
            raise
        finally:
            self._journal.append(
                "end",
                run=run,
                at=time.monotonic(),
                digest=body and digest(body),
                is_empty=is_empty,
            )
        return body


def __getattr__(name: str) -> type[Worker]:
    """The handler by a name for each configuration, so that its processes can be told apart."""
    if name.startswith("Worker"):
        return Worker
    raise AttributeError(name)


def _echo(request: dict[str, Any]) -> str:
    return str(request["op"])


def _crash(request: dict[str, Any]) -> None:
    os.kill(os.getpid(), request["signal"])
    signal.pause()


def _hang(request: dict[str, Any]) -> None:
    if request["spins"]:
        all(itertools.repeat(True))  # one call into C that never ends and holds the GIL
    time.sleep(1_000_000)


def _leak(request: dict[str, Any]) -> None:
    _leaked.append(os.urandom(1) * LEAK_BYTES)


def _decline(request: dict[str, Any]) -> None:
    if current().attempt <= request["declines"]:
        raise Decline


def _raise(request: dict[str, Any]) -> None:
    raise ValueError(request["op"])


def _answer_much(request: dict[str, Any]) -> bytes:
    return str(request["op"]).encode().ljust(64) * (LARGE_BYTES // 64)


def _chatter(request: dict[str, Any]) -> None:
    for number in range(CHATTER_LINES):
        print(f"line {number} of {CHATTER_LINES}, which says nothing at all", file=sys.stderr)


DEEDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "echo": _echo,
    "crash": _crash,
    "hang": _hang,
    "leak": _leak,
    "decline": _decline,
    "raise": _raise,
    "large": _answer_much,
    "chatter": _chatter,
}
