"""A worker's two doors: the REP socket for everybody, the plain stream for its own balancer."""

import resource
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from balancer.core.events import Outcome, WorkerReply
from balancer.stream import Stream, connect
from balancer.wire import tasks, values
from balancer.wire.framing import encode
from balancer.wire.values import Blob
from balancer.wire.worker_replies import decode_batch_reply, decode_worker_reply
from tests.shell.worker_process import (
    PATIENCE_S,
    Worker,
    ask,
    cpu_ticks_within,
    is_running,
    link,
    receive,
    send,
    started,
    wait_for_log,
    wait_until_gone,
)
from workers.fast_path import answer_lone
from workers.handler import Handler
from workers.mailbox import Mailbox
from workers.rep_socket import RepSocket
from workers.stop_signal import StopSignal

MAX_BODY_BYTES = 40_000_000
Doors = tuple[Worker, str, str]


@contextmanager
def serving(handler: str, path: Path, *options: str) -> Iterator[Doors]:
    """A worker that is ready, its endpoint, and the path of its stream."""
    stream_path = str(path / "stream")
    with started(handler, "--stream", stream_path, *options) as worker:
        ready = worker.event()
        assert ready["event"] == "ready", ready
        yield worker, ready["endpoint"], stream_path


def stream_to(path: str) -> closing[Stream]:
    return closing(connect(path, MAX_BODY_BYTES))


def task(request: Any) -> list[bytes]:
    return tasks.encode_task("r1", 1, 5.0, time.monotonic() + 3600, msgpack.packb(request))


def received(stream: Stream) -> list[bytes]:
    deadline = time.monotonic() + PATIENCE_S
    while (frames := stream.receive()) is None:
        assert not stream.has_ended, "the worker closed the stream"
        left_s = deadline - time.monotonic()
        assert left_s > 0
        select.select([stream], [], [], left_s)
    return frames


def ask_by(stream: Stream, request: Any) -> WorkerReply:
    assert stream.offer(task(request))
    return decode_worker_reply(received(stream), MAX_BODY_BYTES, is_trusted=False)


def wait_for_end(stream: Stream, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not stream.has_ended:
        assert stream.receive() is None
        left_s = deadline - time.monotonic()
        assert stream.has_ended or left_s > 0
        select.select([stream], [], [], max(0.0, left_s))


def answer(value: Any) -> WorkerReply:
    return WorkerReply(Outcome.ANSWER, value=msgpack.packb(value))


def test_both_doors_are_open(tmp_path: Path) -> None:
    with serving("workers.demo:echo", tmp_path) as (_, endpoint, path):
        with link(endpoint) as req, stream_to(path) as stream:
            for number in range(5):
                assert ask_by(stream, number) == answer(number)
                assert ask(req, -number) == answer(-number)
            assert stream.offer(tasks.PING)
            assert received(stream) == tasks.PONG_EACH
        assert Path(path).stat().st_mode & 0o777 == 0o600


def test_a_batch_comes_by_the_stream(tmp_path: Path) -> None:
    with serving("workers.demo:echo", tmp_path) as (_, _, path), stream_to(path) as stream:
        payloads = [msgpack.packb(number) for number in range(3)]
        stream.offer(tasks.encode_batch([("r", 1, 5.0, None)] * 3, payloads))
        replies, _ = decode_batch_reply(received(stream), 3, MAX_BODY_BYTES, is_trusted=False)
        assert replies == tuple(answer(number) for number in range(3))


def test_a_large_answer_to_a_small_task_comes_whole(tmp_path: Path) -> None:
    handler = "tests.shell.jobs:sleep_then_1_mb"
    with serving(handler, tmp_path) as (_, _, path), stream_to(path) as stream:
        for _ in range(3):
            assert len(ask_by(stream, 0.0).value) == 1_000_005


def test_many_at_the_one_door_do_not_keep_the_other_waiting(tmp_path: Path) -> None:
    with serving("tests.shell.jobs:say", tmp_path) as (worker, endpoint, path), ExitStack() as open:
        stream = open.enter_context(stream_to(path))
        crowd = [open.enter_context(link(endpoint)) for _ in range(6)]
        assert ask_by(stream, "ready").status == 200
        send(crowd[0], 0.3)
        wait_for_log(worker, "0.3")
        for req in crowd[1:]:
            send(req, "rep")
        assert ask_by(stream, "stream").status == 200
        for req in crowd:
            assert receive(req).status == 200
        assert worker.log().split() == ["ready", "0.3", "stream"] + ["rep"] * 5


@contextmanager
def opened(path: str) -> Iterator[tuple[RepSocket, Mailbox]]:
    """A mailbox in this process, with both of its doors."""
    before = signal.getsignal(signal.SIGTERM)
    with (
        zmq.Context() as context,
        closing(StopSignal()) as stop,
        closing(RepSocket(context, "tcp://127.0.0.1:*", MAX_BODY_BYTES)) as rep,
        closing(Mailbox(rep, path, MAX_BODY_BYTES, stop)) as mailbox,
    ):
        yield rep, mailbox
    signal.signal(signal.SIGTERM, before)


def frames_of(mailbox: Mailbox) -> Sequence[Blob]:
    """Those of the next message."""
    message = mailbox.receive()
    frames = mailbox.assemble(message) if isinstance(message, bytes) else message
    assert frames is not None
    return frames


def test_new_arrivals_at_the_one_door_do_not_keep_the_other_waiting(tmp_path: Path) -> None:
    path = str(tmp_path / "stream")
    with (
        opened(path) as (rep, mailbox),
        link(rep.endpoint) as first,
        link(rep.endpoint) as second,
        stream_to(path) as stream,
    ):

        def serve(expected: bytes) -> None:
            assert frames_of(mailbox) == [expected]
            mailbox.send([b"done"])

        stream.offer([b"stream"])
        serve(b"stream")
        assert received(stream) == [b"done"]
        first.send(b"first")
        serve(b"first")
        second.send(b"second")
        assert select.select([rep], [], [], PATIENCE_S)[0], "its descriptor tells of it"
        stream.offer([b"stream"])
        serve(b"stream")
        serve(b"second")


def test_a_stream_that_always_has_something_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    path, served = str(tmp_path / "stream"), list[bytes]()
    with (
        opened(path) as (rep, mailbox),
        link(rep.endpoint) as client,
        stream_to(path) as stream,
    ):
        client.send(b"first")
        assert mailbox.receive() == [b"first"]
        mailbox.send([b"done"])
        assert mailbox._take({}) is None  # so that its next news is that of a message
        client.recv()
        for number in range(3):
            stream.offer([b"stream"])
            if number == 1:
                client.send(b"rep")
                assert select.select([rep], [], [], PATIENCE_S)[0]
            while not served or served[-1] != b"stream":
                [frame] = frames_of(mailbox)
                mailbox.send([b"done"])
                served.append(bytes(frame))  # type: ignore[arg-type]
            assert received(stream) == [b"done"]
            served.append(b"")
    assert b"rep" in served[:4], served


def test_a_piece_of_a_task_that_looks_like_another_is_but_a_piece(tmp_path: Path) -> None:
    path = str(tmp_path / "stream")
    with opened(path) as (_, mailbox), stream_to(path) as stream:
        stream.offer(task("first"))
        assert len(frames_of(mailbox)) == 2
        inner = encode(task("inner"))
        outer = [task("outer")[0], msgpack.packb(bytes(100) + inner)]
        stream.send_message(encode(outer)[: -len(inner)])
        piece = mailbox.receive()
        assert isinstance(piece, bytes)
        assert mailbox.assemble(piece) is None
        stream.send_message(inner)
        assert mailbox.receive() == outer
        stream.offer(task("last"))
        message = mailbox.receive()
        assert isinstance(message, bytes)
        assert answer_lone(message, Handler(lambda request: request, None), 100) is not None


def test_the_newest_balancer_is_served_and_the_last_one_let_go(tmp_path: Path) -> None:
    with serving("workers.demo:echo", tmp_path) as (_, _, path), stream_to(path) as older:
        assert ask_by(older, 1) == answer(1)
        for number in range(3):
            with stream_to(path) as newer:
                assert ask_by(newer, number) == answer(number)
        wait_for_end(older)


def test_the_task_of_a_balancer_that_is_gone_is_not_begun(tmp_path: Path) -> None:
    with serving("tests.shell.jobs:say", tmp_path) as (worker, endpoint, path):
        with link(endpoint) as req, stream_to(path) as older:
            assert ask_by(older, "first").status == 200
            send(req, 0.3)
            wait_for_log(worker, "0.3")
            assert older.offer(task("for nobody"))
            older.close()
            assert receive(req).status == 200
        with stream_to(path) as newer:
            assert ask_by(newer, "last").status == 200
        assert worker.log().split() == ["first", "0.3", "last"]


def test_nonsense_by_the_stream_ends_it_and_nobody_else_suffers(tmp_path: Path) -> None:
    with serving("workers.demo:echo", tmp_path) as (_, endpoint, path):
        for nonsense in (b"GET / HTTP/1.1\r\n\r\n", bytes(1000)):
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.settimeout(PATIENCE_S)
                stranger.connect(path)
                stranger.sendall(nonsense)
                assert stranger.recv(100) == b""
        with link(endpoint) as req, stream_to(path) as stream:
            assert ask(req, 1) == answer(1)
            assert ask_by(stream, 2) == answer(2)


def test_sigterm_ends_an_idle_worker_at_once_whoever_is_connected(tmp_path: Path) -> None:
    with serving("workers.demo:echo", tmp_path) as (worker, _, path), stream_to(path) as stream:
        assert ask_by(stream, 1) == answer(1)
        began_at = time.monotonic()
        worker.process.terminate()
        wait_for_end(stream)
        assert worker.exit_code() == 0
        assert time.monotonic() - began_at < 2.0  # 0.02 s
        assert not stream.was_unread


def test_the_last_reply_leaves_by_the_stream(tmp_path: Path) -> None:
    handler = "tests.shell.jobs:sleep_then_1_mb"
    with serving(handler, tmp_path) as (worker, _, path), stream_to(path) as stream:
        stream.offer(task(0.2))
        wait_for_log(worker, "began")
        worker.process.terminate()
        assert len(received(stream)[-1]) == 1_000_005
        wait_for_end(stream)
        assert worker.exit_code() == 0


def test_a_task_that_comes_after_sigterm_is_left_unread(tmp_path: Path) -> None:
    handler = "tests.shell.jobs:sleep_then_1_mb"
    with serving(handler, tmp_path) as (worker, _, path), stream_to(path) as stream:
        stream.offer(task(0.2))
        wait_for_log(worker, "began")
        worker.process.terminate()
        with stream_to(path) as newer:
            assert newer.offer(task(0.0))
            assert len(received(stream)[-1]) == 1_000_005
            wait_for_end(newer)
            assert newer.was_unread
        assert worker.exit_code() == 0
        assert worker.log().count("began") == 1


def test_user_code_that_takes_over_sockets_and_signals_does_not_stop_us(tmp_path: Path) -> None:
    with serving("tests.shell.jobs:take_over", tmp_path) as (worker, endpoint, path):
        with link(endpoint) as req:
            assert ask(req, "x") == answer("taken")
        with stream_to(path) as stream:
            assert ask_by(stream, "x") == answer("taken")
            worker.process.terminate()
            assert worker.exit_code() == 0


def test_a_balancer_waits_for_a_worker_that_has_no_descriptor_left(tmp_path: Path) -> None:
    with serving("tests.shell.jobs:hold_descriptors", tmp_path) as (worker, endpoint, path):
        resource.prlimit(worker.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        with link(endpoint) as req:
            assert ask(req, True).status == 200
            with stream_to(path) as stream:
                assert stream.offer(task(True))
                assert cpu_ticks_within(0.5, worker.process.pid) < 25
                assert stream.receive() is None
                assert ask(req, False).status == 200
                assert received(stream)


@pytest.mark.parametrize("handler", ["fork_and_return", "fork_in_c_and_return"])
def test_a_child_that_the_handler_forks_does_not_answer(tmp_path: Path, handler: str) -> None:
    with (
        serving(f"tests.shell.jobs:{handler}", tmp_path) as (worker, _, path),
        stream_to(path) as stream,
    ):
        for _ in range(3):
            child = values.decode_payload(ask_by(stream, "fork").value)
            assert child not in (0, worker.process.pid), "it is the parent that answers"
            wait_until_gone(child)
            assert stream.receive() is None, "and nobody else"
        assert is_running(worker.process.pid)


def test_a_worker_whose_balancer_is_gone_uses_no_time(tmp_path: Path) -> None:
    with serving("workers.demo:echo", tmp_path) as (worker, endpoint, path), link(endpoint) as req:
        with stream_to(path) as stream:
            assert ask_by(stream, 1) == answer(1)
        assert ask(req, 2) == answer(2)
        assert cpu_ticks_within(0.5, worker.process.pid) < 10


def test_half_of_a_reply_is_all_that_there_will_be(tmp_path: Path) -> None:
    """User code has left an alarm behind, which goes off while its large answer is being sent."""
    handler = "tests.shell.jobs:leave_an_alarm"
    with serving(handler, tmp_path) as (_, endpoint, path), link(endpoint) as req:
        with stream_to(path) as stream:
            assert stream.offer(task(0.3))
            assert select.select([stream], [], [], PATIENCE_S)[0]
            time.sleep(0.6)  # Not to wait for something: so long nobody reads.
            wait_for_end(stream)
        assert ask(req, 0) == answer("no alarm")


def test_a_path_in_use_ends_with_code_3(tmp_path: Path) -> None:
    (tmp_path / "stream").touch()
    with started("workers.demo:echo", "--stream", str(tmp_path / "stream")) as worker:
        event = worker.event()
        assert event["event"] == "boot_error"
        assert "Address already in use" in event["error"]
        assert worker.exit_code() == 3
