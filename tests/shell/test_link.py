"""One REQ to one worker: its handshake, its replies, and every way to lose it."""

import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgpack
import pytest
import zmq

from balancer.core.events import (
    BatchReplied,
    Event,
    Outcome,
    ReplyArrived,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
    WorkerReply,
)
from balancer.link import Link
from balancer.stream import Stream
from balancer.wire import tasks, values
from balancer.wire.framing import encode
from tests.shell.peers import PATIENCE_S, Peer, StreamPeer, descriptors, peer, peer_process

WORKER = WorkerId("w-1", 1)
MAX_BODY_BYTES = 1000
TASK = [msgpack.packb({"id": "r1"}), msgpack.packb("do it")]
LARGE_TASK = [TASK[0], bytes(values.LARGE_BYTES)]
ANSWER = msgpack.packb("done")
Dial = Callable[..., Link]


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Opens links, and closes them in the end."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    links = []

    def dial(
        address: str, *, stream_path: str = "", is_ours: bool = False, must_ping: bool = False
    ) -> Link:
        link = Link(
            context,
            WORKER,
            address,
            stream_path=stream_path,
            is_ours=is_ours,
            must_ping=must_ping,
            max_body_bytes=MAX_BODY_BYTES,
        )
        links.append(link)
        return link

    yield dial
    for link in links:
        link.close()
    context.term()


@pytest.fixture
def worker() -> Iterator[Peer]:
    with peer() as worker:
        yield worker


def read_until(link: Link, kind: type[Event], timeout_s: float = PATIENCE_S) -> list[Event]:
    """What the link tells, up to the first event of that kind."""
    events = list(link.read())
    deadline = time.monotonic() + timeout_s
    while not any(isinstance(event, kind) for event in events):
        left_s = deadline - time.monotonic()
        assert left_s > 0, f"no {kind.__name__} within {timeout_s} s, but {events}"
        select.select(link.filenos(), [], [], left_s)
        events += link.read()
    return events


def ready(link: Link) -> Link:
    assert read_until(link, WorkerReady) == [WorkerConnected(WORKER), WorkerReady(WORKER)]
    return link


def lost(link: Link, timeout_s: float = PATIENCE_S) -> WorkerLost:
    """The last thing that it tells."""
    event = read_until(link, WorkerLost, timeout_s)[-1]
    assert isinstance(event, WorkerLost)
    return event


# --- the start ------------------------------------------------------------------------------------


def test_a_worker_is_ready_with_the_handshake(dial: Dial, worker: Peer) -> None:
    ready(dial(worker.address))
    assert not worker.has_message(0.05)


def test_a_worker_that_must_be_pinged_is_ready_when_it_has_answered(
    dial: Dial, worker: Peer
) -> None:
    link = dial(worker.address, must_ping=True)
    assert read_until(link, WorkerConnected) == [WorkerConnected(WORKER)]
    assert worker.receive() == tasks.PING
    assert list(link.read()) == []
    worker.reply(b"whatever")
    assert read_until(link, WorkerReady) == [WorkerReady(WORKER)]


def test_a_ping_that_is_answered_with_nothing_is_no_sign_of_life(dial: Dial, worker: Peer) -> None:
    link = dial(worker.address, must_ping=True)
    read_until(link, WorkerConnected)
    worker.receive()
    worker.reply(b"")
    assert lost(link) == WorkerLost(WORKER, "it answered the ping with nothing")


def test_nobody_at_the_address_is_told_at_once(dial: Dial) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        link = dial(f"tcp://127.0.0.1:{taken.getsockname()[1]}")
        assert lost(link, 2.0) == WorkerLost(WORKER, "nobody listens at its address")


def test_a_path_without_a_socket_is_told_at_once(dial: Dial) -> None:
    link = dial("ipc:///tmp/there-is-no-such-socket")
    assert lost(link, 2.0) == WorkerLost(WORKER, "nobody listens at its address")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener


def test_a_peer_that_is_frozen_from_the_start_is_given_up(
    dial: Dial, listener: socket.socket
) -> None:
    """The kernel accepts the connection, and nobody speaks."""
    link = dial(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    started_at = time.monotonic()
    lost(link, 5.0)
    assert time.monotonic() - started_at < 4.0  # 1 s


def test_a_server_of_another_kind_is_no_worker(dial: Dial, listener: socket.socket) -> None:
    link = dial(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    connection, _ = listener.accept()
    with connection:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    lost(link)


def test_a_socket_of_another_kind_is_no_worker(dial: Dial) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.PULL) as pull:
        pull.bind("tcp://127.0.0.1:*")
        lost(dial(pull.getsockopt_string(zmq.LAST_ENDPOINT)))


# --- replies --------------------------------------------------------------------------------------


def test_a_task_is_sent_and_its_reply_read(dial: Dial, worker: Peer) -> None:
    link = ready(dial(worker.address))
    for _ in range(3):
        assert link.send(TASK)
        assert worker.receive() == TASK
        worker.reply(ANSWER)
        assert read_until(link, ReplyArrived) == [
            ReplyArrived(WORKER, WorkerReply(Outcome.ANSWER, value=ANSWER))
        ]


@pytest.mark.parametrize(
    ("frames", "reply"),
    [
        ([b""], WorkerReply(Outcome.EMPTY)),
        ([b"\xc1"], WorkerReply(Outcome.GARBLED)),
        ([b"a", b"b", b"c"], WorkerReply(Outcome.GARBLED)),
        ([msgpack.packb(bytes(MAX_BODY_BYTES))], WorkerReply(Outcome.GARBLED)),
        (tasks.encode_error(500, "no"), WorkerReply(Outcome.ANSWER, 500, error="no")),
    ],
)
def test_a_reply_is_what_its_frames_say(
    dial: Dial, worker: Peer, frames: list[bytes], reply: WorkerReply
) -> None:
    link = ready(dial(worker.address))
    link.send(TASK)
    worker.receive()
    worker.reply(*frames)
    assert read_until(link, ReplyArrived) == [ReplyArrived(WORKER, reply)]
    assert link.send(TASK), "it is free again"


def test_only_our_own_workers_are_believed_to_send_msgpack(dial: Dial, worker: Peer) -> None:
    link = ready(dial(worker.address, is_ours=True))
    link.send(TASK)
    worker.receive()
    worker.reply(b"\xc1")
    assert read_until(link, ReplyArrived) == [
        ReplyArrived(WORKER, WorkerReply(Outcome.ANSWER, value=b"\xc1"))
    ]


def test_a_worker_that_owes_a_reply_gets_no_second_task(dial: Dial, worker: Peer) -> None:
    link = ready(dial(worker.address))
    assert link.send(TASK)
    assert not link.send(TASK)
    assert worker.receive() == TASK
    assert not worker.has_message(0.05)


# --- the end --------------------------------------------------------------------------------------


def test_the_reply_is_told_before_the_death(dial: Dial) -> None:
    worker = Peer()
    link = ready(dial(worker.address))
    link.send(TASK)
    worker.receive()
    worker.reply(ANSWER)
    worker.close()
    assert read_until(link, WorkerLost) == [
        ReplyArrived(WORKER, WorkerReply(Outcome.ANSWER, value=ANSWER)),
        WorkerLost(WORKER, "its connection closed"),
    ]


def test_the_last_reply_of_a_dead_worker_waits_for_its_reader(dial: Dial) -> None:
    """The connection has been gone for 100 ms when somebody comes to read what it brought."""
    for _ in range(3):
        worker = Peer()
        link = ready(dial(worker.address))
        link.send(TASK)
        worker.receive()
        worker.reply(ANSWER)
        worker.close()
        died_at = time.monotonic()
        select.select([link.filenos()[0]], [], [], PATIENCE_S)  # the monitor knows
        while time.monotonic() < died_at + 0.1:
            time.sleep(0.01)
        reply, end = read_until(link, WorkerLost)
        assert isinstance(reply, ReplyArrived)
        assert end == WorkerLost(WORKER, "its connection closed")


def test_a_task_for_a_dead_worker_is_undelivered_or_its_death_is_told(dial: Dial) -> None:
    for _ in range(5):
        worker = Peer()
        link = ready(dial(worker.address))
        worker.close(linger_ms=0)
        link.send(TASK)
        assert lost(link) == WorkerLost(WORKER, "its connection closed")
        assert not link.send(TASK)


def test_a_task_for_a_worker_that_is_known_to_be_dead_is_undelivered(dial: Dial) -> None:
    worker = Peer()
    link = ready(dial(worker.address))
    worker.close(linger_ms=0)
    select.select([link.filenos()[0]], [], [], PATIENCE_S)
    link.watch()
    assert not link.send(TASK)


def test_what_was_sent_to_nobody_does_not_reach_who_comes_later(dial: Dial) -> None:
    """libzmq keeps it, and would deliver it to whoever binds the address, if it tried again."""
    worker = Peer()
    worker.close()
    link = dial(worker.address)
    link.send(TASK)
    lost(link)
    with peer(worker.address) as successor:
        assert not successor.has_message(0.5)


def test_a_reply_above_the_hard_limit_ends_the_link(dial: Dial, worker: Peer) -> None:
    link = ready(dial(worker.address))
    link.send(TASK)
    worker.receive()
    worker.reply(msgpack.packb(bytes(values.worker_frame_bytes_max(MAX_BODY_BYTES))))
    assert lost(link) == WorkerLost(WORKER, "its connection closed")


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_killed_process_is_lost_at_once(dial: Dial, is_busy: bool) -> None:
    with peer_process() as worker:
        link = ready(dial(worker.address))
        if is_busy:
            worker.signal(signal.SIGSTOP)
            link.send(TASK)
        killed_at = time.monotonic()
        worker.signal(signal.SIGKILL)
        lost(link)
        assert time.monotonic() - killed_at < 0.5  # 2 ms


def test_a_frozen_process_is_noticed_by_its_heart(dial: Dial) -> None:
    with peer_process() as worker:
        link = ready(dial(worker.address))
        worker.signal(signal.SIGSTOP)
        frozen_at = time.monotonic()
        link.send(TASK)
        assert lost(link, 6.0) == WorkerLost(WORKER, "its connection closed")
        assert 1.0 < time.monotonic() - frozen_at < 5.0  # 2 s


# --- the stream beside it -------------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[StreamPeer]:
    with closing(StreamPeer(str(tmp_path / "stream"))) as beside:
        yield beside


@pytest.fixture
def streaming(
    dial: Dial, worker: Peer, beside: StreamPeer
) -> Iterator[tuple[Link, Peer, StreamPeer, Stream]]:
    """A link that is ready, and the worker's ends of it."""
    link = ready(dial(worker.address, stream_path=beside.path, is_ours=True))
    with closing(beside.accept()) as stream:
        yield link, worker, beside, stream


Streaming = tuple[Link, Peer, StreamPeer, Stream]


def answered(link: Link) -> None:
    assert read_until(link, ReplyArrived) == [
        ReplyArrived(WORKER, WorkerReply(Outcome.ANSWER, value=ANSWER))
    ]


def test_tasks_go_by_the_stream_and_large_ones_by_zeromq(streaming: Streaming) -> None:
    link, worker, _, stream = streaming
    for _ in range(3):
        assert link.send(TASK)
        assert stream.receive() == TASK
        stream.send([ANSWER])
        answered(link)
        assert link.send(LARGE_TASK)
        assert worker.receive() == LARGE_TASK
        worker.reply(ANSWER)
        answered(link)
    assert list(link.read()) == []


def test_a_task_may_come_whole_as_it_goes_by_the_stream(streaming: Streaming) -> None:
    link, _, _, stream = streaming
    assert link.has_stream
    assert link.send(encode(TASK))
    assert stream.receive() == TASK
    stream.send([ANSWER])
    answered(link)


@pytest.mark.parametrize(
    ("frames", "reply"),
    [
        ([b""], WorkerReply(Outcome.EMPTY)),
        ([b"x"], WorkerReply(Outcome.ANSWER, value=b"x")),
        ([bytes(MAX_BODY_BYTES)], WorkerReply(Outcome.ANSWER, value=bytes(MAX_BODY_BYTES))),
        ([bytes(MAX_BODY_BYTES + 1)], WorkerReply(Outcome.GARBLED)),
        ([b"a", b"b", b"c"], WorkerReply(Outcome.GARBLED)),
        (tasks.encode_error(500, "no"), WorkerReply(Outcome.ANSWER, 500, error="no")),
    ],
)
def test_a_reply_by_the_stream_is_what_its_frames_say(
    streaming: Streaming, frames: list[bytes], reply: WorkerReply
) -> None:
    link, _, _, stream = streaming
    link.send(TASK)
    stream.receive()
    stream.send(frames)
    assert read_until(link, ReplyArrived) == [ReplyArrived(WORKER, reply)]


def test_a_piece_of_a_reply_that_looks_like_another_is_but_a_piece(streaming: Streaming) -> None:
    link, _, _, stream = streaming
    inner = encode([ANSWER])
    value = bytes(100) + inner
    for _ in range(2):
        link.send(TASK)
        stream.receive()
        stream.send_message(encode([value])[: -len(inner)])
        assert list(link.read()) == []
        stream.send_message(inner)
        [reply] = read_until(link, ReplyArrived)
        assert reply == ReplyArrived(WORKER, WorkerReply(Outcome.ANSWER, value=value))
        link.send(TASK)
        stream.receive()
        stream.send([ANSWER])
        answered(link)


def test_a_reply_to_a_batch_that_is_for_one_is_garbled(streaming: Streaming) -> None:
    link, _, _, stream = streaming
    link.send([msgpack.packb({"batch": []}), ANSWER, ANSWER], requests=2)
    stream.receive()
    stream.send([ANSWER])
    [event] = read_until(link, BatchReplied)
    assert event == BatchReplied(WORKER, (WorkerReply(Outcome.GARBLED),) * 2)


def test_the_ping_goes_by_the_stream(dial: Dial, worker: Peer, beside: StreamPeer) -> None:
    link = dial(worker.address, stream_path=beside.path, must_ping=True)
    assert read_until(link, WorkerConnected) == [WorkerConnected(WORKER)]
    with closing(beside.accept()) as stream:
        assert stream.receive() == tasks.PING
        stream.send([b"whatever"])
        assert read_until(link, WorkerReady) == [WorkerReady(WORKER)]


def test_without_a_stream_all_goes_by_zeromq(dial: Dial, worker: Peer, tmp_path: Path) -> None:
    link = ready(dial(worker.address, stream_path=str(tmp_path / "nobody")))
    assert not link.has_stream
    assert link.send(TASK)
    assert worker.receive() == TASK
    worker.reply(ANSWER)
    answered(link)


def test_a_batch_and_its_replies_go_by_the_stream(streaming: Streaming) -> None:
    link, _, _, stream = streaming
    batch = [msgpack.packb({"batch": []}), ANSWER, ANSWER]
    assert link.send(batch, requests=2)
    assert stream.receive() == batch
    stream.send(tasks.encode_batch_reply([[ANSWER], [ANSWER]], 0.5))
    [event] = read_until(link, BatchReplied)
    assert event == BatchReplied(WORKER, (WorkerReply(Outcome.ANSWER, value=ANSWER),) * 2, 0.5)


def test_who_owes_a_reply_by_the_stream_gets_no_second_task(streaming: Streaming) -> None:
    link, worker, _, stream = streaming
    assert link.send(TASK)
    assert not link.send(TASK)
    assert not link.send(LARGE_TASK)
    assert stream.receive() == TASK
    assert stream.receive() is None
    assert not worker.has_message(0.05)


def test_the_reply_by_the_stream_is_told_before_the_death(streaming: Streaming) -> None:
    link, worker, _, stream = streaming
    link.send(TASK)
    stream.receive()
    stream.send([ANSWER])
    stream.close()
    worker.close()
    assert read_until(link, WorkerLost) == [
        ReplyArrived(WORKER, WorkerReply(Outcome.ANSWER, value=ANSWER)),
        WorkerLost(WORKER, "its connection closed"),
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="its kernel tells")
@pytest.mark.parametrize("has_read", [False, True])
def test_a_task_that_was_never_read_is_undelivered(streaming: Streaming, has_read: bool) -> None:
    link, worker, _, stream = streaming
    link.send(TASK)
    if has_read:
        stream.receive()
    stream.close()
    worker.close(linger_ms=0)
    assert lost(link) == WorkerLost(WORKER, "its connection closed", undelivered=not has_read)


def test_who_dies_with_nothing_in_hand_has_been_delivered_nothing(streaming: Streaming) -> None:
    link, worker, _, stream = streaming
    stream.close()
    worker.close(linger_ms=0)
    assert lost(link) == WorkerLost(WORKER, "its connection closed")


def test_a_task_for_who_has_closed_its_stream_is_undelivered(streaming: Streaming) -> None:
    link, _, _, stream = streaming
    stream.close()
    assert not link.send(TASK)
    assert lost(link) == WorkerLost(WORKER, "its connection closed", undelivered=True)


@pytest.mark.parametrize("is_busy", [False, True])
def test_a_link_is_lost_with_its_stream(streaming: Streaming, is_busy: bool) -> None:
    link, _, _, stream = streaming
    if is_busy:
        link.send(TASK)
        stream.receive()
    stream.close()
    assert lost(link) == WorkerLost(WORKER, "its connection closed")


def test_the_last_reply_by_the_socket_may_come_after_the_end_of_the_stream(
    streaming: Streaming,
) -> None:
    link, worker, _, stream = streaming
    link.send(LARGE_TASK)
    worker.receive()
    stream.close()
    select.select(link.filenos(), [], [], PATIENCE_S)
    assert list(link.read()) == []
    spent = link.spent_stream()
    assert spent is not None
    spent.close()
    assert link.spent_stream() is None
    assert select.select(link.filenos(), [], [], 0.05)[0] == []
    worker.reply(ANSWER)
    select.select(link.filenos(), [], [], PATIENCE_S)
    assert link.read_reply() == ReplyArrived(WORKER, WorkerReply(Outcome.ANSWER, value=ANSWER))
    assert not link.send(TASK), "that was its last"
    assert lost(link) == WorkerLost(WORKER, "its connection closed", undelivered=True)


def test_a_death_without_a_last_reply_is_told_by_the_socket(streaming: Streaming) -> None:
    link, worker, _, stream = streaming
    link.send(LARGE_TASK)
    worker.receive()
    stream.close()
    worker.close(linger_ms=0)
    assert read_until(link, WorkerLost) == [WorkerLost(WORKER, "its connection closed")]


def test_a_stream_that_is_open_is_not_spent(streaming: Streaming) -> None:
    link, worker, _, _ = streaming
    link.send(LARGE_TASK)
    worker.receive()
    assert list(link.read()) == []
    assert link.spent_stream() is None


def test_who_speaks_by_the_stream_without_being_asked_is_lost(streaming: Streaming) -> None:
    link, _, _, stream = streaming
    stream.send([ANSWER])
    assert lost(link) == WorkerLost(WORKER, "it spoke without being asked")


def test_nothing_of_a_link_stays_readable_when_all_was_read(streaming: Streaming) -> None:
    link, _, _, stream = streaming
    link.send(TASK)
    stream.receive()
    assert list(link.read()) == []
    assert select.select(link.filenos(), [], [], 0.05)[0] == []
    stream.send([ANSWER])
    answered(link)
    assert link.read_reply() is None
    assert select.select(link.filenos(), [], [], 0.05)[0] == []


def test_links_that_come_and_go_leave_no_descriptor_behind(beside: StreamPeer) -> None:
    """Ready ones, ones that nobody answers, and ones that are closed in the middle."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, peer() as worker:
        nobody = "ipc:///tmp/there-is-no-such-socket"

        def cycle(number: int) -> None:
            address = nobody if number % 3 == 1 else worker.address
            with (
                closing(
                    Link(
                        context,
                        WORKER,
                        address,
                        stream_path=beside.path,
                        is_ours=True,
                        must_ping=False,
                        max_body_bytes=1,
                    )
                ) as link,
                closing(beside.accept()),
            ):
                if number % 3 < 2:
                    read_until(link, WorkerLost if address == nobody else WorkerReady)

        for number in range(6):
            cycle(number)
        before = descriptors()
        for number in range(200):
            cycle(number)
        deadline = time.monotonic() + PATIENCE_S
        while descriptors() > before + 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # libzmq closes behind our back
        assert descriptors() <= before + 3
