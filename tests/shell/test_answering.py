"""What a worker makes of a batch: one call for each request, or one for all of them."""

import time
from typing import Any

import msgpack
import pytest

from balancer.core.events import Outcome, WorkerReply
from balancer.wire import tasks
from balancer.wire.worker_replies import decode_batch_reply, decode_worker_reply
from tests.shell import jobs
from workers.answering import answer
from workers.handler import load

MAX_BODY_BYTES = 2_000_000
EMPTY, EXPIRED = WorkerReply(Outcome.EMPTY), WorkerReply(Outcome.EXPIRED)
UNREADABLE = b"\xc1"
HOUR_S = 3600.0


def answered(value: Any) -> WorkerReply:
    return WorkerReply(Outcome.ANSWER, value=msgpack.packb(value))


def failed(error: str, status: int = 500) -> WorkerReply:
    return WorkerReply(Outcome.ANSWER, status, error=error)


def replies_of(
    handler: str, *requests: Any, expires_in_s: dict[int, float] | None = None
) -> list[WorkerReply]:
    """What becomes of requests in one message; those at the numbers named expire so soon."""
    now, count = time.monotonic(), len(requests)
    headers = [
        (f"r{n}", 1 + n % 3, 5.0 + (n - 1) ** 2, now + (expires_in_s or {}).get(n, HOUR_S))
        for n in range(count)
    ]
    payloads = [r if r is UNREADABLE else msgpack.packb(r) for r in requests]
    frames = tasks.encode_batch(headers, payloads)
    reply = answer(frames, load(f"tests.shell.jobs:{handler}"), MAX_BODY_BYTES)
    return list(decode_batch_reply(reply, count, MAX_BODY_BYTES, is_trusted=False)[0])


def alone(handler: str, request: Any, expires_in_s: float = HOUR_S) -> WorkerReply:
    expires_at = time.monotonic() + expires_in_s
    frames = tasks.encode_task("r0", 2, 5.0, expires_at, msgpack.packb(request))
    reply = answer(frames, load(f"tests.shell.jobs:{handler}"), MAX_BODY_BYTES)
    return decode_worker_reply(reply, MAX_BODY_BYTES, is_trusted=False)


def error_of(replies: list[WorkerReply]) -> str:
    """The one error that all of them are."""
    assert {reply.status for reply in replies} == {500}
    [error] = {reply.error for reply in replies}
    return error


# --- a plain handler ------------------------------------------------------------------------------


def test_a_plain_handler_is_called_for_each_and_each_gets_its_own_reply() -> None:
    assert replies_of("reply_with", "0", "None", "no such", "[]") == [
        answered(0),
        EMPTY,
        failed("KeyError: 'no such'"),
        answered([]),
    ]


def test_each_request_has_its_own_current() -> None:
    values = [msgpack.unpackb(reply.value) for reply in replies_of("about", "x", "x", "x")]
    assert [value[:2] for value in values] == [["r0", 1], ["r1", 2], ["r2", 3]]
    assert [round(value[2]) for value in values] == [6, 5, 6]


def test_each_that_cannot_be_read_or_has_expired_is_refused_alone() -> None:
    replies = replies_of("reply_with", "0", UNREADABLE, "0", "0", expires_in_s={2: 0.0})
    assert replies == [answered(0), failed("not msgpack: FormatError", 400), EXPIRED, answered(0)]


def test_what_expires_while_the_others_are_handled_is_not_begun() -> None:
    replies = replies_of("sleep_then_1_mb", 0.05, 0.0, 0.0, expires_in_s={1: 0.03})
    assert [reply.outcome for reply in replies] == ["answer", "expired", "answer"]


def test_each_result_that_cannot_be_sent_is_an_error_alone() -> None:
    replies = replies_of("reply_with", "a set", "0")
    assert replies[0].error.startswith("the result cannot be packed as msgpack: ")
    assert replies[1] == answered(0)


# --- a handler that takes them whole --------------------------------------------------------------


@pytest.mark.parametrize("handler", ["Together", "TOGETHER", "TogetherOnly"])
def test_batch_is_called_once_for_all(handler: str) -> None:
    assert replies_of(handler, 7, 8) == [answered([7, 2]), answered([8, 2])]


def test_batch_is_called_for_a_request_that_comes_alone() -> None:
    assert alone("Together", 7) == answered([7, 1])
    assert alone("TogetherOnly", 7) == answered([7, 1])
    assert alone("Together", "decline") == EMPTY
    assert alone("Together", "x") == failed("ValueError: no good")
    assert alone("Together", 7, expires_in_s=0.0) == EXPIRED


def test_batch_may_need_no_instance() -> None:
    assert replies_of("TogetherStatic", 1, 2) == [answered(1), answered(2)]
    assert replies_of("TogetherOfClass", 1, 2) == [answered("TogetherOfClass")] * 2


def test_a_number_called_batch_makes_no_batches() -> None:
    assert replies_of("OneByOneWithSize", 1, 2) == [answered(1), answered(2)]


def test_who_cannot_be_read_or_has_expired_is_not_in_the_list() -> None:
    replies = replies_of("Together", UNREADABLE, 7, 8, 9, expires_in_s={2: 0.0})
    unreadable = failed("not msgpack: FormatError", 400)
    assert replies == [unreadable, answered([7, 2]), EXPIRED, answered([9, 2])]


def test_batch_is_not_called_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.Together, "batch", lambda self, requests: 1 / 0)
    assert replies_of("Together", 1, 2, expires_in_s={0: 0.0, 1: 0.0}) == [EXPIRED, EXPIRED]


def test_a_tuple_will_do() -> None:
    assert replies_of("Together", "a tuple", 2) == [answered("a tuple"), answered(2)]


def test_what_is_nothing_from_a_plain_handler_is_nothing_here() -> None:
    names = ("None", "''", "b''", "0", "False", "[]", "{}")
    expected = [EMPTY, EMPTY, EMPTY, EMPTY, *map(answered, (0, False, [], {}))]
    assert replies_of("Together", "reply_with", *names) == expected


def test_decline_is_an_empty_reply_for_all() -> None:
    assert replies_of("Together", "decline", 2, 3) == [EMPTY] * 3


def test_an_exception_is_the_answer_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert error_of(replies_of("Together", "x", 2, 3)) == "ValueError: no good"
    log = capsys.readouterr().err
    assert "request 'r0' and 2 more in its batch failed (try 1): Traceback" in log
    assert log.count("Traceback") == 1
    assert "handler.py" not in log
    assert "answering.py" not in log


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ("one too few", "ValueError: batch() returned 2 results for 3 requests"),
        ("a generator", "TypeError: batch() must return a list of results, not generator"),
        ("a dict", "TypeError: batch() must return a list of results, not dict"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("awkward", "Awkward: (it has no readable message)"),
    ],
)
def test_what_is_no_list_of_so_many_results_is_everybodys_error(request_: str, error: str) -> None:
    assert error_of(replies_of("Together", request_, 2, 3)) == error


def test_the_list_is_user_codes_own() -> None:
    replies = replies_of("Together", "take all out", "b")
    assert replies == [answered("TAKE ALL OUT"), answered("B")]


def test_a_result_that_cannot_be_sent_fails_alone() -> None:
    replies = replies_of("Together", "reply_with", "a set", "0", "1 MB")
    assert replies[1].error.startswith("the result cannot be packed as msgpack: ")
    assert (replies[2], replies[3].status) == (answered(0), 200)


def test_current_speaks_for_all_of_them() -> None:
    """The id of the first, the highest attempt and the earliest deadline."""
    for reply in replies_of("Together", "about", 2, 3):
        id, attempt, remaining_s = msgpack.unpackb(reply.value)
        assert (id, attempt, round(remaining_s)) == ("r0", 3, 5)
    [about] = replies_of("Together", "about", UNREADABLE)[:1]
    assert msgpack.unpackb(about.value)[:2] == ["r0", 1]


def test_system_exit_is_nobodys_answer() -> None:
    with pytest.raises(SystemExit):
        replies_of("Together", "SystemExit", 2)
    with pytest.raises(SystemExit):
        replies_of("fail", "SystemExit", 2)


def test_a_batch_that_makes_no_sense_is_answered_400_in_one() -> None:
    for handler in ("workers.demo:echo", "tests.shell.jobs:Together"):
        reply = answer([b"\xc1", b"\x01", b"\x01"], load(handler), MAX_BODY_BYTES)
        assert decode_worker_reply(reply, MAX_BODY_BYTES, is_trusted=False).status == 400
