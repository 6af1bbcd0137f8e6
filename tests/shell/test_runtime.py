"""What a worker process says on its socket, and how it comes and goes."""

import signal
import time
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from balancer import wire
from balancer.core.events import Outcome, WorkerReply
from tests.shell.worker_process import (
    PATIENCE_S,
    Worker,
    ask,
    link,
    receive,
    send,
    serving,
    started,
    wait_until_gone,
)
from workers.handler import load
from workers.runtime import answer

EMPTY = WorkerReply(Outcome.EMPTY)
MAX_BODY_BYTES = 2_000_000


def wait_for_log(worker: Worker, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in worker.log():
        assert time.monotonic() < deadline, f"{text!r} is not in the log: {worker.log()}"
        time.sleep(0.005)


def error(status: int, text: str) -> WorkerReply:
    return WorkerReply(Outcome.ANSWER, status=status, error=text)


# --- replies --------------------------------------------------------------------------------------


def reply_of(handler: str, request: Any, max_body_bytes: int = MAX_BODY_BYTES) -> WorkerReply:
    """What a handler of tests.shell.jobs comes to, without a process."""
    frames = wire.encode_task("r1", 2, 5.0, None, msgpack.packb(request))
    reply = answer(frames, load(f"tests.shell.jobs:{handler}"), max_body_bytes)
    return wire.decode_worker_reply(reply, max_body_bytes, is_trusted=False)


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
        assert wire.decode_worker_reply(frames, 1000, False) == error(500, "ValueError: no good")
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
    assert wire.decode_worker_reply(reply, MAX_BODY_BYTES, is_trusted=False).status == 400


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
        req.send_multipart(wire.PING)
        assert req.recv_multipart() == wire.PONG


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


# --- coming and going -----------------------------------------------------------------------------


def test_sigterm_while_idle_ends_the_worker_at_once() -> None:
    with serving("workers.demo:echo") as (worker, req):
        assert ask(req, "x").status == 200
        began_at = time.monotonic()
        worker.process.terminate()
        assert worker.exit_code() == 0
        assert time.monotonic() - began_at < 2.0


def test_sigterm_in_a_request_lets_it_finish_and_its_whole_reply_arrives() -> None:
    with serving("tests.shell.jobs:sleep_then_1_mb") as (worker, req):
        send(req, 0.2)
        wait_for_log(worker, "began")
        worker.process.terminate()
        reply = receive(req)
        assert reply.status == 200
        assert len(reply.value) == 1_000_005
        assert worker.exit_code() == 0


def test_after_sigterm_nothing_more_is_handled() -> None:
    with serving("tests.shell.jobs:sleep_then_1_mb") as (worker, req):
        send(req, 0.2)
        wait_for_log(worker, "began")
        worker.process.terminate()
        with link(req.getsockopt_string(zmq.LAST_ENDPOINT)) as second:
            send(second, 0.0)
            assert receive(req).status == 200
            assert worker.exit_code() == 0
            assert not second.poll(0)
            assert worker.log().count("began") == 1


def test_sigint_is_ignored() -> None:
    with serving("tests.shell.jobs:sleep_then_1_mb") as (worker, req):
        worker.process.send_signal(signal.SIGINT)
        send(req, 0.1)
        wait_for_log(worker, "began")
        worker.process.send_signal(signal.SIGINT)
        assert receive(req).status == 200
        assert ask(req, 0).status == 200


def test_sigterm_does_not_break_into_a_call_of_c_code() -> None:
    with serving("tests.shell.jobs:read_in_c") as (worker, req):
        send(req, "x")
        wait_for_log(worker, "began")
        worker.process.terminate()
        assert receive(req).value == msgpack.packb(1)
        assert worker.exit_code() == 0


def test_the_last_reply_leaves_even_if_close_fails() -> None:
    with serving("tests.shell.jobs:CloseFails", "--max-body", "40000000") as (worker, req):
        send(req, 0.2)
        wait_for_log(worker, "began")
        worker.process.terminate()
        assert len(receive(req).value) == 30_000_005
        assert worker.exit_code() == 1
        assert "OSError: too late" in worker.log()


def test_a_class_is_built_once_and_closed_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary = tmp_path / "diary"
    monkeypatch.setenv("DIARY", str(diary))
    with serving("tests.shell.jobs:Diary") as (worker, req):
        assert diary.read_text().split() == ["init", "setup"]
        assert ask(req, "one").value == msgpack.packb("one")
        assert ask(req, "two").value == msgpack.packb("two")
        worker.process.terminate()
        assert worker.exit_code() == 0
        assert diary.read_text().split() == ["init", "setup", "one", "two", "close"]


def test_system_exit_of_a_handler_ends_the_process() -> None:
    with serving("tests.shell.jobs:fail") as (worker, req):
        send(req, "SystemExit")
        assert worker.exit_code() == 7
        assert not req.poll(0)


def test_another_base_exception_crashes_the_worker() -> None:
    with serving("tests.shell.jobs:fail") as (worker, req):
        send(req, "BaseException")
        assert worker.exit_code() == 1
        assert "BaseException: the end" in worker.log()


def test_sigabrt_writes_the_stack_of_a_worker_that_holds_the_gil() -> None:
    with serving("workers.demo:hang") as (worker, req):
        send(req, "hang")
        wait_for_spin(worker.process.pid)
        worker.process.send_signal(signal.SIGABRT)
        wait_until_gone(worker.process.pid)
        assert worker.exit_code() == -signal.SIGABRT
        assert "in hang" in worker.log()


def wait_for_spin(pid: int) -> None:
    """Until the process has used more of the processor than a start takes."""
    deadline = time.monotonic() + PATIENCE_S
    first = cpu_ticks(pid)
    while cpu_ticks(pid) < first + 10:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_class_that_fails_in_setup_ends_with_its_traceback_and_code_3() -> None:
    with started("tests.shell.jobs:SetupFails") as worker:
        event = worker.event()
        assert event["event"] == "boot_error"
        assert event["error"] == "OSError: no model file"
        assert 'raise OSError("no model file")' in event["traceback"]
        assert "handler.py" not in event["traceback"]
        assert worker.exit_code() == 3


def test_an_unknown_handler_ends_with_one_clear_line_and_code_2() -> None:
    with started("workers.demo:ecko") as worker:
        text = "workers.demo:ecko: there is no attribute 'ecko', did you mean 'echo'?"
        assert worker.event() == {"event": "unknown_handler", "error": text}
        assert worker.exit_code() == 2


def test_an_address_in_use_ends_with_code_3() -> None:
    with started("workers.demo:echo") as first:
        endpoint = first.event()["endpoint"]
        with started("workers.demo:echo", bind=endpoint) as second:
            event = second.event()
            assert event["event"] == "boot_error"
            assert f"Address already in use (addr='{endpoint}')" in event["error"]
            assert second.exit_code() == 3


def test_an_ipc_socket_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "w"
    with started("workers.demo:echo", bind=f"ipc://{path}") as worker:
        assert worker.event() == {"event": "ready", "endpoint": f"ipc://{path}"}
        assert path.stat().st_mode & 0o777 == 0o600
        with link(f"ipc://{path}") as req:
            assert ask(req, "x").status == 200
