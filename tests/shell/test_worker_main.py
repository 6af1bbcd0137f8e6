"""How a worker process comes and goes."""

import signal
import time
from pathlib import Path

import msgpack
import pytest
import zmq

from balancer.wire import tasks, values
from tests.shell.worker_process import (
    PATIENCE_S,
    ask,
    cpu_ticks,
    cpu_ticks_within,
    is_running,
    link,
    receive,
    send,
    serving,
    started,
    wait_for_log,
    wait_until_gone,
)


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


def test_what_arrives_during_a_request_is_handled_next() -> None:
    """Its news may be swallowed by the sending of the reply: the worker must look once more."""
    with (
        serving("tests.shell.jobs:sleep_then_1_mb") as (worker, req),
        link(req.getsockopt_string(zmq.LAST_ENDPOINT)) as second,
    ):
        assert ask(second, 0.0).status == 200
        for count in range(2, 12, 2):
            send(req, 0.02)
            wait_for_log(worker, "began\n" * count)
            send(second, 0.0)
            assert receive(req).status == 200
            assert receive(second).status == 200


def test_what_is_loaded_is_frozen_its_garbage_is_gone_and_new_garbage_is_collected() -> None:
    with serving("tests.shell.jobs:Garbage") as (_, req):
        is_frozen, has_old, has_new = msgpack.unpackb(ask(req, "x").value)
        assert (is_frozen, has_old, has_new) == (True, False, False)


def test_a_signal_that_is_user_codes_own_does_not_keep_an_idle_worker_busy() -> None:
    with serving("tests.shell.jobs:listen_to_sigusr1") as (worker, req):
        assert ask(req, "x").status == 200
        worker.process.send_signal(signal.SIGUSR1)
        wait_for_log(worker, "heard")
        assert cpu_ticks_within(0.3, worker.process.pid) < 10
        assert ask(req, "x").status == 200


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


def test_whatever_else_user_code_raises_is_its_answer() -> None:
    with serving("tests.shell.jobs:fail") as (_, req):
        for _ in range(2):
            reply = ask(req, "BaseException")
            assert (reply.status, reply.error) == (500, "BaseException: the end")


def test_an_error_is_answered_even_where_nobody_can_write_it_down() -> None:
    with serving("tests.shell.jobs:close_stderr_and_fail") as (_, req):
        for _ in range(2):
            reply = ask(req, "now")
            assert (reply.status, reply.error) == (500, "ValueError: in silence")


def test_a_child_that_the_handler_forks_does_not_serve() -> None:
    with serving("tests.shell.jobs:fork_and_return") as (worker, req):
        child = values.decode_payload(ask(req, "fork").value)
        assert child != worker.process.pid
        wait_until_gone(child)
        assert is_running(worker.process.pid)


def test_sigterm_to_a_child_that_the_handler_forked_ends_the_child_alone() -> None:
    with serving("tests.shell.jobs:terminate_a_child") as (worker, req):
        for _ in range(3):
            assert values.decode_payload(ask(req, "x").value) == -signal.SIGTERM
        assert is_running(worker.process.pid)


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


def test_a_class_that_fails_in_setup_ends_with_its_traceback_and_code_3() -> None:
    with started("tests.shell.jobs:SetupFails") as worker:
        event = worker.event()
        assert event["event"] == "boot_error"
        assert event["error"] == "OSError: no model file"
        assert 'raise OSError("no model file")' in event["traceback"]
        assert "handler.py" not in event["traceback"]
        assert worker.exit_code() == 3


def test_a_report_is_short_enough_to_be_written_while_nobody_reads() -> None:
    with started("tests.shell.jobs:SetupFailsAtLength") as worker:
        assert worker.exit_code() == 3
        assert "ValueError: \N{GRINNING FACE}" in worker.event()["traceback"]


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


def test_a_worn_worker_says_so_once_and_goes_on_serving() -> None:
    with serving("workers.demo:echo", "--max-requests", "3") as (worker, req):
        req.send_multipart(tasks.PING)
        assert req.recv_multipart()[-1], "a ping is no request"
        assert [ask(req, "x").status for _ in range(6)] == [200] * 6
        assert worker.event() == {"event": "worn", "why": "served 3 requests"}
        worker.process.terminate()
        assert worker.exit_code() == 0
        worker.launcher.settimeout(1.0)
        assert worker.launcher.recv(100) == b""
