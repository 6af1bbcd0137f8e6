"""Handlers to try the cluster with: three that know one word each, and four for experiments."""

import itertools
import os
import signal
import sys
import time
from typing import Any


def server1(request: Any) -> str | None:
    return _known(request, "hello", "Hello, welcome to the Load Balancer.")


def server2(request: Any) -> str | None:
    return _known(request, "world", "World! This is server 2.")


def server3(request: Any) -> str | None:
    return _known(request, "bye", "Goodbye! Have a great day.")


def _known(request: Any, word: str, reply: str) -> str | None:
    """The reply to ``word``; None, an empty reply, tells the balancer to ask the next server."""
    is_known = isinstance(request, str) and request.strip().lower() == word
    return reply if is_known else None


def echo(request: Any) -> Any:
    return request


def slow(request: Any) -> dict[str, float]:
    """Sleep for so many seconds: ``0.5``, ``"0.5"`` or ``{"sleep_s": 0.5, …}``."""
    sleep_s = float(request["sleep_s"] if isinstance(request, dict) else request)
    time.sleep(sleep_s)
    return {"slept_s": sleep_s, "pid": os.getpid()}


def crash(request: Any) -> Any:
    """Die as asked: of a signal, ``"SIGSEGV"``, or by ``"exit 3"``. The rest is echoed."""
    words = request.split() if isinstance(request, str) else []
    match words:
        case [name] if name.upper() in signal.Signals.__members__:
            os.kill(os.getpid(), signal.Signals[name.upper()])
        case ["exit", code] if code.isdecimal():
            sys.exit(int(code))
    return request


def hang(request: Any) -> Any:
    """Never come back from ``"hang"``, holding the GIL: nothing in Python can help any more.

    The rest is echoed.
    """
    if request == "hang":
        all(itertools.repeat(True))  # One call into C, as a wild regular expression is.
    return request
