"""Handlers that the tests of the workers run in real worker processes."""

import ctypes
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import workers
from workers import Decline

NOT_CALLABLE = 1


def reply_with(request: Any) -> Any:
    """Whatever the request names; the values that Python knows and msgpack does not, too."""
    values: dict[str, Any] = {
        "None": None,
        "''": "",
        "b''": b"",
        "0": 0,
        "False": False,
        "[]": [],
        "{}": {},
        "a set": {1},
        "a big int": 2**64,
        "a lone surrogate": "\ud800",
        "1 MB": b"x" * 1_000_000,
    }
    if request == "a long failure":
        return Unpackable(a=1)
    if request == "a failure":
        return UnpackableOnce()
    if request == "nested":
        return nested(2000)
    return values[request]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def decline(request: Any) -> Any:
    raise Decline


class Unpackable(dict[str, int]):
    def items(self) -> Any:
        raise LookupError("\N{GRINNING FACE}" * 2000)


class UnpackableOnce(dict[str, int]):
    def __init__(self) -> None:
        self._has_failed = False
        super().__init__(a=1)

    def items(self) -> Any:
        if self._has_failed:
            return super().items()
        self._has_failed = True
        raise LookupError("once")


class Curious(Exception):
    def __str__(self) -> str:
        return f"about {workers.current().id}"


class Awkward(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def fail(request: Any) -> Any:
    """Raise what the request names."""
    match request:
        case "long":
            raise ValueError("\N{GRINNING FACE}" * 100_000)
        case "awkward":
            raise Awkward
        case "curious":
            raise Curious
        case "surrogate":
            raise ValueError("\ud800")
        case "recursion":
            return fail(request)
        case "SystemExit":
            sys.exit(7)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "BaseException":
            raise BaseException("the end")
    raise ValueError("no good")


def about(request: Any) -> Any:
    current = workers.current()
    return [current.id, current.attempt, current.remaining_s()]


def sleep_then_1_mb(request: Any) -> bytes:
    """Say on stderr that it began, so that a test can wait for that."""
    print("began", file=sys.stderr, flush=True)
    time.sleep(request)
    return b"x" * 1_000_000


def read_in_c(request: Any) -> int:
    """What the C library's read() returns, -1 if a signal broke into it."""
    read_fd, write_fd = os.pipe()
    threading.Timer(0.2, os.write, (write_fd, b"x")).start()
    print("began", file=sys.stderr, flush=True)
    return int(ctypes.CDLL(None).read(read_fd, ctypes.create_string_buffer(1), 1))


def listen_to_sigusr1(request: Any) -> str:
    signal.signal(signal.SIGUSR1, lambda *_: print("heard", file=sys.stderr, flush=True))
    return "listening"


def start_child(request: Any) -> int:
    return subprocess.Popen(["sleep", "1000"]).pid


def start_in_shell(request: Any) -> int:
    """A child that inherits every descriptor that may be inherited."""
    return os.system("sleep 1000 &")


class Diary:
    """Writes down what happens to it, in the file that the environment names."""

    def __init__(self) -> None:
        self._write("init")

    def setup(self) -> None:
        self._write("setup")

    def __call__(self, request: str) -> str:
        self._write(request)
        return request

    def close(self) -> None:
        self._write("close")

    @staticmethod
    def static(request: Any) -> Any:
        return {"static": request}

    def _write(self, line: str) -> None:
        with Path(os.environ["DIARY"]).open("a") as file:
            file.write(line + "\n")


class Garbage:
    """Tells whether anything is frozen, and whether garbage of ``setup()`` and new garbage stay."""

    def setup(self) -> None:
        self._old = self._make_garbage()

    def __call__(self, request: Any) -> list[bool]:
        new = self._make_garbage()
        for _ in range(100_000):
            if new() is None:
                break
            self._kept: list[list[Any]] = [
                [] for _ in range(1000)
            ]  # enough of them set the collector off
        return [gc.get_freeze_count() > 0, self._old() is not None, new() is not None]

    @staticmethod
    def _make_garbage() -> weakref.ref[Any]:
        unreachable = Awkward()
        unreachable.__cause__ = unreachable
        return weakref.ref(unreachable)


class CloseFails:
    def __call__(self, request: Any) -> bytes:
        print("began", file=sys.stderr, flush=True)
        time.sleep(request)
        return b"x" * 30_000_000

    def close(self) -> None:
        raise OSError("too late")


class SetupFails:
    def setup(self) -> None:
        raise OSError("no model file")

    def __call__(self, request: Any) -> Any:
        return request


class SetupFailsAtLength:
    def setup(self) -> None:
        fail("long")

    def __call__(self, request: Any) -> Any:
        return request


class NotCallable:
    pass


class Async:
    async def __call__(self, request: Any) -> Any:
        return request


def no_arguments() -> None:
    pass


async def asynchronous(request: Any) -> Any:
    return request


def close_stderr_and_fail(request: Any) -> None:
    sys.stderr.close()
    raise ValueError("in silence")


def fork_and_return(request: Any) -> int:
    """The child's number, from the parent; the child returns as well."""
    return os.fork()


def fork_in_c_and_return(request: Any) -> int:
    """As ``fork_and_return``, and Python is not told."""
    return int(ctypes.CDLL(None).fork())


# --- handlers that take whole batches -------------------------------------------------------------


class Together:
    """Answers each request with it and the length of its batch; does with all what the first
    names."""

    def batch(self, requests: list[Any]) -> Any:
        if not isinstance(requests[0], str):
            return [[request, len(requests)] for request in requests]
        match requests[0]:
            case "one too few":
                return requests[1:]
            case "take all out":
                answers = [request.upper() for request in requests]
                requests.clear()
                return answers
            case "reply_with":
                return [None, *[reply_with(name) for name in requests[1:]]]
            case "a tuple":
                return tuple(requests)
            case "a generator":
                return (request for request in requests)
            case "a dict":
                return dict.fromkeys(requests)
            case "decline":
                raise Decline
            case "about":
                return [about(None)] * len(requests)
            case "fork":
                return [fork_and_return(None)] * len(requests)
            case "sleep":
                return [sleep_then_1_mb(0.2)] * len(requests)
        return [fail(requests[0])]


class TogetherOnly(Together):
    """With a ``__call__`` that nobody calls, for it has ``batch``."""

    def __call__(self, request: Any) -> Any:
        raise AssertionError


class TogetherStatic:
    @staticmethod
    def batch(requests: list[Any]) -> list[Any]:
        return requests


class TogetherOfClass:
    @classmethod
    def batch(cls, requests: list[Any]) -> list[Any]:
        return [cls.__name__ for _ in requests]


TOGETHER = Together()


class OneByOneWithSize:
    """``batch`` is no method here: this is called as any other handler is."""

    batch = 32

    def __call__(self, request: Any) -> Any:
        return request


class BatchAsync:
    async def batch(self, requests: list[Any]) -> list[Any]:
        return requests


class BatchAsyncGenerator:
    async def batch(self, requests: list[Any]) -> Any:
        yield requests


class BatchOfTwo:
    def batch(self, requests: list[Any], size: int) -> list[Any]:
        return requests


class BatchOfNone:
    def batch(self) -> list[Any]:
        return []

    def __call__(self, request: Any) -> Any:
        return request


def terminate_a_child(request: Any) -> int:
    """What multiprocessing's terminate() does to a child that was forked: how it ended."""
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        os.write(tell, b"!")  # what comes before is forgotten by Python in the child
        time.sleep(10.0)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(tell)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def fork_and_say_so(request: Any) -> int:
    """The parent says what it was asked for; the child comes back in silence."""
    child = os.fork()
    print(request if child else "", file=sys.stderr, flush=True)
    return child


def take_over(request: Any) -> str:
    """Take for its own what a worker could wait by: sockets, poll and the signals' wake-up."""
    socket.socket = select.poll = None  # type: ignore[assignment, misc]
    signal.set_wakeup_fd(-1)
    return "taken"


def say(request: Any) -> str:
    """Write the request on stderr, so that a test can see in which order they come; of a number,
    sleep for so many seconds."""
    print(request, file=sys.stderr, flush=True)
    time.sleep(request if isinstance(request, float) else 0.0)
    return "said"


def hold_descriptors(request: Any) -> int:
    """Take all that there are, or with False give them back; how many that is."""
    while request:
        try:
            _held.append(os.dup(0))
        except OSError:
            break
    for descriptor in () if request else _held:
        os.close(descriptor)
    return len(_held)


_held: list[int] = []


def leave_an_alarm(request: Any) -> Any:
    """Answer with much, and raise TimeoutError so many seconds later, wherever that is; of 0 never,
    and the answer is short."""

    def too_late(*_: Any) -> None:
        raise TimeoutError("too late")

    if not request:
        return "no alarm"
    signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, request)
    return bytes(10_000_000)
