"""What a worker says on its socket."""

import signal
import time
from typing import Any

import msgpack
import pytest

from balancer.core.events import Outcome, WorkerReply
from balancer.wire import tasks
from balancer.wire.worker_replies import decode_worker_reply
from tests.shell.worker_process import (
    ask,
    receive,
    send,
    serving,
)
from workers.answering import answer
from workers.handler import load

EMPTY = WorkerReply(Outcome.EMPTY)
MAX_BODY_BYTES = 2_000_000


def error(status: int, text: str) -> WorkerReply:
    return WorkerReply(Outcome.ANSWER, status=status, error=text)


def reply_of(handler: str, request: Any, max_body_bytes: int = MAX_BODY_BYTES) -> WorkerReply:
    """What a handler of tests.shell.jobs comes to, without a process."""
    frames = tasks.encode_task("r1", 2, 5.0, None, msgpack.packb(request))
    reply = answer(frames, load(f"tests.shell.jobs:{handler}"), max_body_bytes)
    return decode_worker_reply(reply, max_body_bytes, is_trusted=False)


def test_none_and_empty_texts_are_empty_and_other_falsy_values_are_answers() -> None:
    with serving("tests.shell.jobs:reply_with") as (_, req):
        for name in ("None", "''", "b''"):
            assert ask(req, name) == EMPTY
        for name, value in {"0": 0, "False": False, "[]": [], "{}": {}}.items():
            assert ask(req, name) == WorkerReply(Outcome.ANSWER, value=msgpack.packb(value))


def test_decline_is_an_empty_reply(capsys: pytest.CaptureFixture[str]) -> None:
    assert reply_of("decline", "x") == EMPTY
    assert capsys.readouterr().err == ""


def test_an_error_is_answered_with_type_and_message_and_its_traceback_stays_in_the_log() -> None:
    with serving("tests.shell.jobs:fail") as (worker, req):
        send(req, "x")
        frames = req.recv_multipart()
        assert decode_worker_reply(frames, 1000, False) == error(500, "ValueError: no good")
        assert b"Traceback" not in b"".join(frames)
        assert "request 'r1' failed (try 2): Traceback" in worker.log()
        assert 'raise ValueError("no good")' in worker.log()
        assert "runtime.py" not in worker.log()
        assert ask(req, "again").status == 500


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("awkward", "Awkward: (it has no readable message)"),
        ("surrogate", "ValueError: ?"),
        ("recursion", "RecursionError: maximum recursion depth exceeded"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_every_exception_of_a_handler_gets_words(request_: str, expected: str) -> None:
    reply = reply_of("fail", request_)
    assert reply.status == 500
    assert reply.error.startswith(expected)


def test_a_message_is_cut_so_that_it_fits_the_header(capsys: pytest.CaptureFixture[str]) -> None:
    reply = reply_of("fail", "long")
    assert reply.error.startswith("ValueError: \N{GRINNING FACE}")
    assert len(reply.error) == 1000
    assert len(capsys.readouterr().err) < 20_000


@pytest.mark.parametrize(
    "request_", ["a set", "a big int", "a lone surrogate", "nested", "a long failure"]
)
def test_a_result_that_msgpack_cannot_carry_is_an_error_that_says_so(
    request_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = reply_of("reply_with", request_)
    assert reply.status == 500
    assert reply.error.startswith("the result cannot be packed as msgpack: ")
    assert reply.error in capsys.readouterr().err


def test_a_result_above_max_body_is_an_error_that_says_the_limit() -> None:
    with serving("tests.shell.jobs:reply_with", "--max-body", "1000004") as (_, req):
        text = "result of 1000005 bytes is above max_body (1000004)"
        assert ask(req, "1 MB") == error(500, text)
    assert reply_of("reply_with", "1 MB", max_body_bytes=1_000_005).status == 200


@pytest.mark.parametrize(
    "frames",
    [
        [msgpack.packb({}), b"\xc1"],
        [msgpack.packb({}), b""],
        [msgpack.packb({}), b"\x91" * 100_000 + b"\x00"],
        [b"no map", msgpack.packb(1)],
        [msgpack.packb({"attempt": "one"}), msgpack.packb(1)],
        [b"", b"", b""],
    ],
)
def test_what_cannot_be_read_is_answered_400(frames: list[bytes]) -> None:
    reply = answer(frames, load("workers.demo:echo"), MAX_BODY_BYTES)
    assert decode_worker_reply(reply, MAX_BODY_BYTES, is_trusted=False).status == 400


def test_after_a_message_that_cannot_be_read_the_worker_goes_on() -> None:
    with serving("workers.demo:echo") as (_, req):
        for frames in ([b"\xc1"], [b"", b"", b""], [b"x"] * 1000):
            req.send_multipart(frames)
            assert receive(req).status == 400
        assert ask(req, "on") == WorkerReply(Outcome.ANSWER, value=msgpack.packb("on"))


def test_a_lone_payload_needs_no_header() -> None:
    with serving("workers.demo:echo") as (_, req):
        req.send(msgpack.packb([1, {2: 3}]))
        assert receive(req) == WorkerReply(Outcome.ANSWER, value=msgpack.packb([1, {2: 3}]))


def test_a_ping_is_answered_without_the_handler() -> None:
    with serving("tests.shell.jobs:fail") as (_, req):
        req.send_multipart(tasks.PING)
        assert req.recv_multipart() == tasks.PONG_EACH


def test_work_that_expired_is_refused_before_user_code_runs() -> None:
    with serving("tests.shell.jobs:fail") as (worker, req):
        send(req, "x", expires_in_s=0.0)
        assert receive(req) == WorkerReply(Outcome.EXPIRED)
        assert worker.log() == ""
        send(req, "x", expires_in_s=60.0)
        assert receive(req).error == "ValueError: no good"


def test_a_thawed_worker_does_not_run_what_expired_meanwhile() -> None:
    with serving("workers.demo:echo") as (worker, req):
        worker.process.send_signal(signal.SIGSTOP)
        send(req, "x", expires_in_s=0.05)
        time.sleep(0.06)  # Not to wait for something: this is the time that passes.
        worker.process.send_signal(signal.SIGCONT)
        assert receive(req) == WorkerReply(Outcome.EXPIRED)


def test_current_tells_the_handler_about_its_request() -> None:
    with serving("tests.shell.jobs:about") as (_, req):
        id, attempt, remaining_s = msgpack.unpackb(ask(req, "x").value)
        assert (id, attempt) == ("r1", 2)
        assert 4.0 < remaining_s <= 5.0
