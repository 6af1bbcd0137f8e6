"""The fast path of a worker does what the long way does, or nothing."""

import time
from typing import Any

import msgpack
import pytest

import workers
from balancer.wire import tasks
from balancer.wire.framing import Assembler, encode
from balancer.wire.task import pack_message, task_of
from balancer.wire.values import LARGE_BYTES
from workers.answering import answer
from workers.fast_path import answer_lone
from workers.handler import Handler, load

MAX_BODY_BYTES = 200_000
HOUR_S = 3600.0
OUTCOMES = [
    *[("reply_with", name) for name in ("None", "''", "b''", "0", "False", "[]", "{}")],
    *[("reply_with", name) for name in ("a set", "a big int", "a lone surrogate", "nested")],
    ("reply_with", "1 MB"),
    ("reply_with", "a long failure"),
    ("reply_with", "a failure"),
    ("fail", "curious"),
    ("reply_with", "no such"),
    ("decline", "x"),
    *[("fail", name) for name in ("x", "long", "awkward", "surrogate", "KeyboardInterrupt")],
]


def task(request: Any, expires_in_s: float = HOUR_S, *, wants_time: bool = False) -> list[bytes]:
    expires_at = time.monotonic() + expires_in_s
    return tasks.encode_task("r-1", 2, 5.0, expires_at, msgpack.packb(request), wants_time)


def echo() -> Handler:
    return Handler(lambda request: request, None)


def frames_of(reply: bytes | list[bytes] | None) -> list[bytes] | None:
    return Assembler(MAX_BODY_BYTES).take(reply) if isinstance(reply, bytes) else reply


@pytest.mark.parametrize(("handler", "request_"), OUTCOMES, ids=lambda value: str(value))
def test_both_ways_come_to_the_same(
    handler: str, request_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded, frames = load(f"tests.shell.jobs:{handler}"), task(request_)
    expected = answer(frames, loaded, MAX_BODY_BYTES)
    log = capsys.readouterr().err.replace("answering.py", "")
    reply = frames_of(answer_lone(encode(frames), loaded, MAX_BODY_BYTES))
    assert reply == expected
    assert capsys.readouterr().err.replace("fast_path.py", "") == log


def test_a_usual_reply_is_whole() -> None:
    carried: list[Any] = [{"x": [1, 2.5]}, {1: None}, [], 0]
    for value in carried:
        reply = answer_lone(encode(task(value)), echo(), MAX_BODY_BYTES)
        assert reply == encode(tasks.encode_value(value))


@pytest.mark.parametrize("size_bytes", [LARGE_BYTES + 8, MAX_BODY_BYTES, MAX_BODY_BYTES + 1])
def test_a_large_result_is_not_copied_and_has_its_limit(
    size_bytes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    head_bytes = len(tasks.encode_value(bytes(LARGE_BYTES))[0]) - LARGE_BYTES
    handler = Handler(lambda request: bytes(size_bytes - head_bytes), None)
    frames = task(None)
    reply = answer_lone(encode(frames), handler, MAX_BODY_BYTES)
    assert isinstance(reply, list)
    assert reply == answer(frames, handler, MAX_BODY_BYTES)
    assert (len(reply) == 1) == (size_bytes <= MAX_BODY_BYTES) == (not capsys.readouterr().err)


def test_a_small_limit_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert frames_of(answer_lone(encode(task("abc")), echo(), 4)) == tasks.encode_value("abc")
    assert answer_lone(encode(task("abc")), echo(), 3) == answer(task("abc"), echo(), 3)
    assert "result of 4 bytes is above max_body (3)" in capsys.readouterr().err


def test_it_tells_of_the_current_request_while_it_is_handled() -> None:
    reply = frames_of(answer_lone(encode(task("x")), load("tests.shell.jobs:about"), 1000))
    assert reply is not None
    id, attempt, remaining_s = msgpack.unpackb(reply[0])
    assert (id, attempt) == ("r-1", 2)
    assert 4.0 < remaining_s <= 5.0
    for handler in ("about", "fail"):
        answer_lone(encode(task("x")), load(f"tests.shell.jobs:{handler}"), 1000)
        with pytest.raises(RuntimeError, match="only known while"):
            workers.current()


def test_the_end_of_the_process_is_raised() -> None:
    with pytest.raises(SystemExit):
        answer_lone(encode(task("SystemExit")), load("tests.shell.jobs:fail"), 1000)


# --- what is left alone ---------------------------------------------------------------------------


def is_left_alone(message: bytes) -> bool:
    """Whether it has no reply, and no user code has run."""
    called: list[Any] = []
    reply = answer_lone(message, Handler(called.append, None), MAX_BODY_BYTES)
    assert (reply is None) == (not called)
    return reply is None


def test_whatever_is_no_lone_task_for_a_worker_of_ours_is_left_alone() -> None:
    assert not is_left_alone(encode(task("x")))
    header, payload = task("x")
    entry = "r-1", 2, 5.0, time.monotonic() + HOUR_S
    for frames in (
        task("x", expires_in_s=0.0),
        task("x", wants_time=True),
        tasks.encode_task("r-1", 2, 5.0, None, payload),
        tasks.encode_batch([entry, entry], [payload, payload]),
        [header, b"\xc1"],
        [header, b""],
        [payload],
        [header[:-4], b"\x41"],  # shorter than what is fixed of it, and with its end in an hour
        [b"\x90" + header[1:], payload],
        [header, payload, payload],
        tasks.PING,
    ):
        assert is_left_alone(encode(frames))


def test_pieces_and_what_is_too_long_are_left_alone() -> None:
    message = encode(task("x"))
    for end in range(len(message)):
        assert is_left_alone(message[:end])
    assert is_left_alone(message + b"\0")
    assert is_left_alone(b"\x03" + message[1:])
    assert is_left_alone(message + message)


def test_a_handler_that_takes_batches_is_left_alone() -> None:
    assert answer_lone(encode(task(7)), load("tests.shell.jobs:Together"), 1000) is None


def test_a_message_packed_in_one_go_is_the_same() -> None:
    for wants_time in (False, True):
        frames = tasks.encode_task("r-7", 3, 1.5, 1001.25, b"\x01", wants_time)
        message = pack_message("r-7", 3, 1.5, 1001.25, wants_time, b"\x01")
        assert message == encode(frames)
        assert task_of(message) == tasks.decode_task(frames)
