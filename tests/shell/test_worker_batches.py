"""Batches in a real worker process: its pong, its wear, its stop, and children that are forked."""

import time
from typing import Any

import msgpack
import pytest
import zmq

from balancer.core.events import Batching, WorkerReply
from balancer.wire import tasks, values
from balancer.wire.worker_replies import decode_batch_reply, decode_pong
from tests.shell.worker_process import ask, is_running, serving, wait_for_log, wait_until_gone


def send_batch(req: zmq.SyncSocket, *requests: Any) -> None:
    headers = [(f"r{number}", 1, 5.0, None) for number in range(len(requests))]
    req.send_multipart(tasks.encode_batch(headers, [msgpack.packb(r) for r in requests]))


def receive_batch(req: zmq.SyncSocket, count: int) -> tuple[WorkerReply, ...]:
    return decode_batch_reply(req.recv_multipart(), count, 64 * 1024 * 1024, is_trusted=False)[0]


@pytest.mark.parametrize(
    ("handler", "batching"), [("fail", Batching.EACH), ("Together", Batching.WHOLE)]
)
def test_a_ping_is_told_what_becomes_of_batches(handler: str, batching: Batching) -> None:
    with serving(f"tests.shell.jobs:{handler}") as (_, req):
        req.send_multipart(tasks.PING)
        assert decode_pong(req.recv_multipart()) is batching


def test_the_largest_batch_goes_there_and_back_through_the_smallest_frames() -> None:
    count = values.BATCH_MAX
    with serving("tests.shell.jobs:fail", "--max-body", "100") as (_, req):
        send_batch(req, *["long"] * count)
        replies = receive_batch(req, count)
        assert {reply.status for reply in replies} == {500}
        assert ask(req, "x").status == 500


def test_each_request_of_a_batch_is_wear() -> None:
    with serving("workers.demo:echo", "--max-requests", "5") as (worker, req):
        for _ in range(2):
            send_batch(req, 1, 2, 3)
            assert len(receive_batch(req, 3)) == 3
        assert worker.event() == {"event": "worn", "why": "served 6 requests"}


@pytest.mark.parametrize("handler", ["sleep_then_1_mb", "Together"])
def test_sigterm_in_a_batch_lets_it_finish_and_its_whole_reply_arrives(handler: str) -> None:
    requests = ["sleep", 1] if handler == "Together" else [0.2, 0.1]
    with serving(f"tests.shell.jobs:{handler}") as (worker, req):
        send_batch(req, *requests)
        wait_for_log(worker, "began")
        worker.process.terminate()
        replies = receive_batch(req, 2)
        assert [len(reply.value) for reply in replies] == [1_000_005] * 2
        assert worker.exit_code() == 0


@pytest.mark.parametrize("handler", ["fork_and_return", "Together"])
def test_a_child_that_is_forked_in_a_batch_does_not_serve(handler: str) -> None:
    with serving(f"tests.shell.jobs:{handler}") as (worker, req):
        send_batch(req, "fork", "fork")
        for reply in receive_batch(req, 2):
            child = values.decode_payload(reply.value)
            assert child not in (0, worker.process.pid)
            wait_until_gone(child)
        assert is_running(worker.process.pid)


def test_a_child_that_comes_back_does_nothing_of_the_rest_of_a_batch() -> None:
    with serving("tests.shell.jobs:fork_and_say_so") as (worker, req):
        send_batch(req, "a", "b")
        for reply in receive_batch(req, 2):
            wait_until_gone(values.decode_payload(reply.value))
        assert worker.log().split() == ["a", "b"]


def test_system_exit_in_a_batch_ends_the_process() -> None:
    with serving("tests.shell.jobs:Together") as (worker, req):
        send_batch(req, "SystemExit", 2)
        assert worker.exit_code() == 7
        assert not req.poll(0)


def test_a_worker_goes_on_after_a_batch_that_failed() -> None:
    with serving("tests.shell.jobs:Together") as (worker, req):
        send_batch(req, "one too few", 2)
        assert [reply.status for reply in receive_batch(req, 2)] == [500, 500]
        send_batch(req, 1, 2)
        assert [reply.status for reply in receive_batch(req, 2)] == [200, 200]
        began_at = time.monotonic()
        worker.process.terminate()
        assert worker.exit_code() == 0
        assert time.monotonic() - began_at < 2.0
