"""The demo servers know one word each; the others sleep, crash and hang as asked."""

import signal
import time

import msgpack
import pytest

from tests.shell.worker_process import ask, send, serving
from workers import demo


def test_each_server_knows_its_word() -> None:
    assert demo.server1("hello") == "Hello, welcome to the Load Balancer."
    assert demo.server2("world") == "World! This is server 2."
    assert demo.server3("bye") == "Goodbye! Have a great day."


def test_case_and_space_do_not_matter() -> None:
    assert demo.server1("  HeLLo\n") == demo.server1("hello")


@pytest.mark.parametrize("request_", ["world", "", "hello world", b"hello", 1, None, ["hello"], {}])
def test_anything_else_is_empty(request_: object) -> None:
    assert demo.server1(request_) is None


@pytest.mark.parametrize("request_", [0.02, "0.02", {"sleep_s": 0.02, "more": 1}])
def test_slow_sleeps_as_asked(request_: object) -> None:
    began_at = time.monotonic()
    assert demo.slow(request_)["slept_s"] == 0.02
    assert time.monotonic() - began_at >= 0.02


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ("SIGKILL", -signal.SIGKILL),
        ("sigsegv", -signal.SIGSEGV),
        ("exit 3", 3),
    ],
)
def test_crash_dies_as_asked(request_: str, code: int) -> None:
    with serving("workers.demo:crash") as (worker, req):
        assert ask(req, "something else").value == msgpack.packb("something else")
        send(req, request_)
        assert worker.exit_code() == code


def test_crash_and_hang_echo_the_rest() -> None:
    for request in ("", "exit", "exit now", "SIGNAL", 1, None, {"exit": 3}):
        assert demo.crash(request) == request
        assert demo.hang(request) == request


def test_hang_does_not_even_let_go_of_the_gil() -> None:
    with serving("workers.demo:hang") as (worker, req):
        send(req, "hang")
        assert not req.poll(200)
        worker.launcher.close()
        # No thread of Python's can notice that; what ends it is the kernel.
        assert worker.exit_code() == -signal.SIGKILL
