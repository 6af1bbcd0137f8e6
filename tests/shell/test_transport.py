"""All sockets on one loop: events in, actions out, and nothing that grows with idle workers."""

import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count, pairwise
from pathlib import Path

import msgpack
import pytest
import zmq

from balancer import transport
from balancer.core.events import (
    Action,
    Answer,
    ClientGone,
    ClientId,
    Event,
    Forget,
    Forward,
    ForwardBatch,
    Outcome,
    Reason,
    Refuse,
    ReplyArrived,
    ReplyDropped,
    RequestArrived,
    RequestId,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
    WorkerReply,
)
from balancer.core.limits import Limits
from balancer.links import EXIT_GRACE_S
from balancer.transport import SETTLE_MAX_S, STALL_S, Transport
from balancer.wire import tasks
from tests.shell.arrivals import one_by_one
from tests.shell.peers import PATIENCE_S, Peer, StreamPeer, descriptors, peer, peer_process

WORKER, OTHER = WorkerId("w-1", 1), WorkerId("w-2", 1)
NOBODY = "ipc:///tmp/there-is-no-such-socket"


class Loop:
    """A transport, with a client, and a memory for the events that nobody has asked for yet."""

    def __init__(self, links: int = 4) -> None:
        self.once_names: list[bytes] = []
        self.is_launcher_stuck = False
        self.transport = Transport(Limits(), "boot", 3 * links + 64, tell_once=self._note_once_name)
        self.transport.frontend.bind("tcp://127.0.0.1:*")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.client = self._context.socket(zmq.DEALER)
        self.client.rcvtimeo = int(PATIENCE_S * 1000)
        self.client.connect(self.transport.frontend.address)
        self._pending: list[Event] = []

    def close(self) -> None:
        self.transport.close()
        self.close_client()

    def _note_once_name(self, name: bytes) -> bool:
        self.once_names.append(name)
        return not self.is_launcher_stuck

    def close_client(self) -> None:
        self.client.close(0)
        self._context.term()

    def next(self, timeout_s: float = PATIENCE_S) -> Event:
        """The next event."""
        deadline = time.monotonic() + timeout_s
        while not self._pending:
            assert time.monotonic() < deadline, f"no event within {timeout_s} s"
            self.transport.poll(deadline, self._pend)
        return self._pending.pop(0)

    def _pend(self, event: Event) -> None:
        self._pending += one_by_one([event])

    def stays_quiet(self, duration_s: float) -> bool:
        """Whether no event comes for so long."""
        end = time.monotonic() + duration_s
        while not self._pending and time.monotonic() < end:
            self.transport.poll(end, self._pend)
        return not self._pending

    def request(self, payload: object, **header: object) -> RequestId:
        """Send a request from the client and take it in."""
        self.client.send_multipart([b"", msgpack.packb(header), msgpack.packb(payload)])
        event = self.next()
        assert isinstance(event, RequestArrived)
        return event.request

    def connect(
        self,
        address: str,
        worker: WorkerId = WORKER,
        *,
        is_ours: bool = False,
        stream_path: str = "",
    ) -> None:
        """Open a link and wait until it is ready."""
        self.transport.links.dial(
            worker, address, stream_path=stream_path, is_ours=is_ours, must_ping=False
        )
        assert [self.next(), self.next()] == [WorkerConnected(worker), WorkerReady(worker)]

    def perform(self, *actions: Action) -> None:
        self.transport.perform(actions)
        self.transport.flush()

    def forward(self, request: RequestId, worker: WorkerId = WORKER) -> None:
        """It leaves at once: nothing is flushed."""
        self.transport.perform([Forward(worker, request, 1, 2.5, 1_000.25)])


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def worker() -> Iterator[Peer]:
    with peer() as worker:
        yield worker


@pytest.fixture
def other() -> Iterator[Peer]:
    with peer() as other:
        yield other


# --- one request ----------------------------------------------------------------------------------


def test_a_request_goes_to_its_worker_and_the_answer_to_its_client(
    loop: Loop, worker: Peer
) -> None:
    loop.connect(worker.address)
    request = loop.request("do it")
    loop.forward(request)
    header, payload = worker.receive()
    name = loop.transport.request_name(request)
    assert msgpack.unpackb(header) == {"id": name, "attempt": 1, "remaining_ms": 2500}
    assert msgpack.unpackb(payload) == "do it"
    worker.reply(msgpack.packb("done"))
    event = loop.next()
    assert isinstance(event, ReplyArrived)
    loop.perform(Answer(request, WORKER, event.reply, 1, ()))
    assert msgpack.unpackb(loop.client.recv_multipart()[-1])["body"] == "done"


@pytest.mark.parametrize("ends", ["at once", "after its stream"])
def test_a_task_goes_by_the_stream_a_large_one_by_the_socket_and_their_ends_cost_nothing(
    loop: Loop, tmp_path: Path, ends: str
) -> None:
    worker = Peer()
    with closing(StreamPeer(str(tmp_path / "stream"))) as beside:
        loop.connect(worker.address, stream_path=beside.path)
        stream = beside.accept()
        loop.forward(loop.request("small"))
        assert msgpack.unpackb((stream.receive() or [])[-1]) == "small"
        stream.send([msgpack.packb("done")])
        assert isinstance(loop.next(), ReplyArrived)
        request = loop.request(bytes(100_000))
        loop.forward(request)
        assert len(worker.receive()[-1]) > 100_000
        stream.close()
        if ends == "after its stream":
            assert loop.stays_quiet(0.1)
            used_s = time.process_time()
            assert loop.stays_quiet(0.3)
            assert time.process_time() - used_s < 0.1, "it is told again and again"
        worker.reply(msgpack.packb("the last"))
        worker.close()
        event = loop.next()
        assert isinstance(event, ReplyArrived)
        assert event.reply.value == msgpack.packb("the last")
        assert loop.next() == WorkerLost(WORKER, "its connection closed")
        assert WORKER not in loop.transport.links.open
        with peer() as successor:  # its descriptors are those that have become free
            loop.connect(successor.address, WorkerId("w-1", 2), stream_path=beside.path)
            assert loop.stays_quiet(0.05)


def test_only_a_worker_that_shares_our_clock_is_told_the_instant(loop: Loop, worker: Peer) -> None:
    loop.connect(worker.address, is_ours=True)
    loop.forward(loop.request("x"))
    assert tasks.decode_task(worker.receive()).expires_at == 1_000.25


def test_so_it_is_of_each_in_a_batch(loop: Loop, worker: Peer, other: Peer) -> None:
    for end, id, is_ours in ((worker, WORKER, True), (other, WorkerId("w-2", 1), False)):
        loop.connect(end.address, id, is_ours=is_ours)
        tries = (
            Forward(id, loop.request("x"), 1, 0.25, 1_000.25),
            Forward(id, loop.request("y"), 2, 0.5, 1_000.5),
        )
        loop.perform(ForwardBatch(id, tries))
        told = [task.expires_at for task in tasks.decode_batch(end.receive())]
        assert told == ([1_000.25, 1_000.5] if is_ours else [None, None])


def test_a_once_request_is_told_of_or_no_worker_gets_it(loop: Loop, worker: Peer) -> None:
    loop.connect(worker.address)
    for is_stuck in (True, False):
        loop.is_launcher_stuck = is_stuck
        header = msgpack.packb({"once": True, "id": str(is_stuck)})
        loop.client.send_multipart([b"", header, msgpack.packb("x")])
        arrived = loop.next()
        assert isinstance(arrived, RequestArrived)
        loop.forward(arrived.request)
        assert loop.once_names.pop() == arrived.id
        if is_stuck:
            # The worker is free for others, and the request has not run.
            assert loop.next() == ReplyArrived(WORKER, WorkerReply(Outcome.EXPIRED))
            assert not worker.has_message(0.05)
    assert worker.receive()[-1] == msgpack.packb("x")
    loop.forward(loop.request("often"))
    assert loop.once_names == []


def test_a_refusal_goes_to_its_client(loop: Loop) -> None:
    request = loop.request("x")
    loop.perform(Refuse(request, Reason.NO_WORKERS))
    assert msgpack.unpackb(loop.client.recv_multipart()[-1])["reason"] == "no_workers"


def test_what_only_tells_of_something_does_nothing(loop: Loop) -> None:
    request = loop.request("x")
    loop.perform(ReplyDropped(WORKER, request), Forget(request))
    assert loop.stays_quiet(0.05)


def test_a_task_for_nobody_is_undelivered(loop: Loop) -> None:
    loop.forward(loop.request("x"))
    assert loop.next() == WorkerLost(WORKER, "it was gone already", undelivered=True)


def test_a_task_for_a_worker_that_owes_a_reply_is_undelivered(loop: Loop, worker: Peer) -> None:
    loop.connect(worker.address)
    first, second = loop.request(1), loop.request(2)
    loop.forward(first)
    loop.forward(second)
    assert loop.next() == WorkerLost(WORKER, "it was gone already", undelivered=True)


# --- the loop -------------------------------------------------------------------------------------


def test_it_sleeps_until_the_instant_and_no_longer(loop: Loop) -> None:
    started_at, started_cpu_s = time.monotonic(), time.thread_time()
    assert loop.stays_quiet(0.3)
    assert 0.3 <= time.monotonic() - started_at < 1.5
    assert time.thread_time() - started_cpu_s < 0.05


def test_what_is_due_does_not_wait_for_all_that_goes_on_arriving_after_a_stall(loop: Loop) -> None:
    """Every arrival is a reason to read on, but requests arrive for as long as there are clients;
    so a request whose time was up would be answered seconds late."""
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.015):
            loop.client.send_multipart([b"", b"\xc0"])

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        loop.next()
        arrived: list[Event] = []
        for _ in range(20):  # where the machine is busy, nothing may arrive in so short a time
            stalled_at = time.monotonic()
            loop.transport.poll(stalled_at - 2 * STALL_S, arrived.append)
            assert time.monotonic() - stalled_at < SETTLE_MAX_S + 0.25
    finally:
        is_over.set()
        asking.join()
    assert arrived, "what arrives right after a stall is still read first"


def test_an_event_of_our_own_is_not_waited_for(loop: Loop) -> None:
    loop.transport.emit(ClientGone(ClientId(b"somebody")))
    started_at, events = time.monotonic(), list[Event]()
    loop.transport.poll(started_at + 5.0, events.append)
    assert len(events) == 1
    assert time.monotonic() - started_at < 1.0


def test_no_message_is_left_lying_where_wake_ups_are_swallowed(loop: Loop) -> None:
    """Everybody sends while everybody reads, and the loop may sleep only when nothing is left."""
    number = 500
    with peer_process() as worker:
        loop.connect(worker.address)
        thread = threading.Thread(target=_send_many, args=(loop.client, number))
        thread.start()
        waiting: list[RequestId] = []
        current: RequestId | None = None
        answered = 0
        while answered < number:
            event = loop.next()
            if isinstance(event, RequestArrived):
                waiting.append(event.request)
            elif isinstance(event, ReplyArrived) and current is not None:
                loop.perform(Answer(current, WORKER, event.reply, 1, ()))
                current, answered = None, answered + 1
            if current is None and waiting:
                current = waiting.pop(0)
                loop.forward(current)
        thread.join()
        bodies = [msgpack.unpackb(loop.client.recv_multipart()[-1])["body"] for _ in range(number)]
        assert bodies == list(range(number))


def _ask_while_nobody_is_free(loop: Loop, monkeypatch: pytest.MonkeyPatch, nap_s: float) -> None:
    """One request has just been read; another lies there to be read."""
    monkeypatch.setattr(transport, "NAP_S", nap_s)
    loop.request("first")
    loop.client.send_multipart([b"", msgpack.packb("second")])
    assert loop.transport.selector.select(PATIENCE_S)


def _poll(loop: Loop, timeout_s: float, *, newcomers_wait: bool = True) -> list[type[Event]]:
    until, events = time.monotonic() + timeout_s, list[Event]()
    loop.transport.poll(until, events.append, newcomers_wait=newcomers_wait)
    return [type(event) for event in one_by_one(events)]


def test_while_nobody_is_free_a_request_may_lie_unread_for_a_while_and_no_longer(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask_while_nobody_is_free(loop, monkeypatch, nap_s=0.5)
    asked_at = time.monotonic()
    assert _poll(loop, PATIENCE_S) == [RequestArrived]
    assert 0.3 < time.monotonic() - asked_at < PATIENCE_S / 2


def test_a_large_request_lies_unread_no_longer_than_a_small_one(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read in many pieces: each of them is no reason to wait for the next."""
    monkeypatch.setattr(transport, "NAP_S", 0.5)
    loop.request("first")
    asked_at = time.monotonic()
    loop.client.send_multipart([b"", msgpack.packb(bytes(8_000_000))])
    while not _poll(loop, PATIENCE_S):
        assert time.monotonic() - asked_at < PATIENCE_S
    assert time.monotonic() - asked_at < 1.5


def test_where_somebody_is_free_a_request_is_read_at_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask_while_nobody_is_free(loop, monkeypatch, nap_s=PATIENCE_S)
    asked_at = time.monotonic()
    assert _poll(loop, PATIENCE_S, newcomers_wait=False) == [RequestArrived]
    assert time.monotonic() - asked_at < PATIENCE_S / 2


def test_what_is_due_does_not_wait_because_nobody_is_free(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask_while_nobody_is_free(loop, monkeypatch, nap_s=PATIENCE_S)
    asked_at = time.monotonic()
    assert _poll(loop, 0.05) == [RequestArrived]
    assert time.monotonic() - asked_at < PATIENCE_S / 2


@pytest.mark.parametrize(
    ("nap_s", "priority", "first_turn"),
    [
        (PATIENCE_S, 1, [ReplyArrived]),
        (0.2, 1, [ReplyArrived, RequestArrived]),
        (PATIENCE_S, 2, [RequestArrived, ReplyArrived]),
    ],
)
def test_a_reply_comes_before_what_lay_unread_unless_that_may_be_more_urgent_than_others(
    loop: Loop,
    worker: Peer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nap_s: float,
    priority: int,
    first_turn: list[type[Event]],
) -> None:
    """And in the first half of a nap nobody looks whether a request lies there at all."""
    with closing(StreamPeer(str(tmp_path / "stream"))) as beside:
        loop.connect(worker.address, stream_path=beside.path)
        loop.forward(loop.request("work", priority=priority))
        with closing(beside.accept()) as stream:
            assert stream.receive()
            _ask_while_nobody_is_free(loop, monkeypatch, nap_s=nap_s)
            half_over_at = time.monotonic() + 0.1
            stream.send([msgpack.packb("done")])
            _wait_until(lambda: time.monotonic() > half_over_at)
            assert _poll(loop, PATIENCE_S) == first_turn
            if RequestArrived not in first_turn:
                assert _poll(loop, PATIENCE_S, newcomers_wait=False) == [RequestArrived]


def test_who_is_only_about_to_ask_is_looked_at_with_each_reply(
    loop: Loop, worker: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To greet, or to send what is large, takes many looks; each would take half of a nap."""
    host, _, port = loop.transport.frontend.address.removeprefix("tcp://").rpartition(":")
    with closing(StreamPeer(str(tmp_path / "stream"))) as beside:
        loop.connect(worker.address, stream_path=beside.path)
        loop.forward(loop.request("work"))
        with closing(beside.accept()) as stream, socket.create_connection((host, int(port))):
            assert stream.receive()
            _poll_until(loop, lambda: bool(loop.transport.frontend.beginning))
            _ask_while_nobody_is_free(loop, monkeypatch, nap_s=PATIENCE_S)
            stream.send([msgpack.packb("done")])
            assert _poll(loop, PATIENCE_S) == [ReplyArrived, RequestArrived]


def _poll_until(loop: Loop, condition: Callable[[], bool]) -> None:
    _wait_until(lambda: _poll(loop, 0.01, newcomers_wait=False) == [] and condition())


def test_a_nap_makes_nobody_late(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "NAP_S", PATIENCE_S)
    loop.request("first")
    slept_at = time.monotonic()
    assert _poll(loop, 0.6) == []
    assert 0.6 <= time.monotonic() - slept_at < 1.0


def test_what_does_not_come_from_clients_is_not_waited_for(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask_while_nobody_is_free(loop, monkeypatch, nap_s=PATIENCE_S)
    loop.transport.emit(ClientGone(ClientId(b"somebody")))
    assert _poll(loop, PATIENCE_S) == [ClientGone, RequestArrived]


def _send_many(client: zmq.Socket[bytes], number: int) -> None:
    for n in range(number):
        client.send_multipart([b"", msgpack.packb(n)])


def test_a_turn_costs_no_more_with_many_idle_workers() -> None:
    few_s, many_s = (_turn_s(idle) for idle in (4, 256))
    print(f"a round trip beside 4 idle workers: {few_s * 1e6:.0f} us, 256: {many_s * 1e6:.0f} us")
    assert many_s < 3 * few_s


def _turn_s(idle: int) -> float:
    """What a round trip to one worker costs this thread, beside so many idle ones."""
    loop = Loop(links=idle + 1)
    with peer() as crowd, peer_process() as worker:
        for number in range(idle):
            loop.connect(crowd.address, WorkerId(f"idle-{number}", 1))
        loop.connect(worker.address)
        request = loop.request("x")
        costs_s = []
        for _ in range(200):
            started_s = time.thread_time()
            loop.forward(request)
            assert isinstance(loop.next(), ReplyArrived)
            costs_s.append(time.thread_time() - started_s)
        loop.close()
    return min(costs_s)


# --- the end of a worker --------------------------------------------------------------------------


def test_a_lost_worker_is_told_once_and_its_link_closed(loop: Loop, other: Peer) -> None:
    loop.connect(other.address, OTHER)  # the first socket brings descriptors that stay
    request = loop.request("x")
    before = descriptors()
    worker = Peer()
    loop.connect(worker.address)
    worker.close()
    assert loop.next() == WorkerLost(WORKER, "its connection closed")
    assert loop.stays_quiet(0.1)
    loop.forward(request)
    assert loop.next() == WorkerLost(WORKER, "it was gone already", undelivered=True)
    _wait_until(lambda: descriptors() <= before)


def test_a_worker_that_is_found_dead_by_a_once_task_is_told_of_and_closed(
    loop: Loop, other: Peer
) -> None:
    """Whether the task was delivered decides whether another worker may have it; and to look reads
    the news of the death, for which nothing else will wake the loop."""
    loop.connect(other.address, OTHER)  # the first socket brings descriptors that stay
    request = loop.request("x", once=True)
    before = descriptors()
    worker = Peer()
    loop.connect(worker.address)
    worker.close()
    assert loop.transport.selector.select(PATIENCE_S), "the news lies there unread"
    loop.forward(request)
    first, second = loop.next(), loop.next(timeout_s=1.0)
    assert (first, second) == (
        WorkerLost(WORKER, "it was gone already", undelivered=True),
        WorkerLost(WORKER, "its connection closed", undelivered=True),
    )
    _wait_until(lambda: descriptors() <= before)


def test_any_other_task_for_a_dead_worker_is_taken_back_by_the_news_of_its_death(
    loop: Loop,
) -> None:
    request = loop.request("x")
    worker = Peer()
    loop.connect(worker.address)
    worker.close()
    assert loop.transport.selector.select(PATIENCE_S), "the news lies there unread"
    loop.forward(request)
    assert loop.next(timeout_s=1.0) == WorkerLost(WORKER, "its connection closed")


def test_what_is_decided_in_the_turn_of_a_death_was_certainly_not_delivered(loop: Loop) -> None:
    """The worker's last reply and its end come in one turn; the reply brings it the next task."""
    first, second = loop.request("x"), loop.request("y", once=True)
    worker = Peer()
    loop.connect(worker.address)
    loop.forward(first)
    worker.receive()
    worker.reply(b"\xc0")
    worker.close()
    link = loop.transport.links.open[WORKER]
    for descriptor in link.filenos():
        assert select.select([descriptor], [], [], PATIENCE_S)[0]
    events: list[Event] = []

    def handle(event: Event) -> None:
        events.append(event)
        if len(events) == 1:
            loop.transport.perform([Forward(WORKER, second, 1, 2.5, 1_000.25)])

    loop.transport.poll(time.monotonic() + PATIENCE_S, handle)
    assert isinstance(events.pop(0), ReplyArrived)
    lost = [event for event in events if isinstance(event, WorkerLost)]
    assert [event.undelivered for event in lost] == [True, True]


def test_of_several_that_die_together_none_is_said_to_have_had_what_it_was_just_refused(
    loop: Loop,
) -> None:
    """A request that was lost with the first of them is decided to go to the second."""
    request = loop.request("x", once=True)
    workers = {WORKER: Peer(), OTHER: Peer()}
    for name, worker in workers.items():
        loop.connect(worker.address, name)
    for name, worker in workers.items():
        worker.close()
        news, *_ = loop.transport.links.open[name].filenos()
        assert select.select([news], [], [], PATIENCE_S)[0]
    lost: list[WorkerLost] = []

    def handle(event: Event) -> None:
        if isinstance(event, WorkerLost):
            lost.append(event)
            if len(lost) == 1:
                second = OTHER if event.worker == WORKER else WORKER
                loop.transport.perform([Forward(second, request, 1, 2.5, 1_000.25)])

    loop.transport.poll(time.monotonic() + PATIENCE_S, handle)
    assert {event.worker for event in lost[:2]} == {WORKER, OTHER}
    assert lost[1].undelivered


def test_an_exit_that_the_link_does_not_notice_is_told_by_the_launcher(
    loop: Loop, worker: Peer
) -> None:
    """A child of the dead worker may still hold its connection."""
    loop.connect(worker.address)
    noted_at = time.monotonic()
    loop.transport.links.note_exit(WORKER, "killed by SIGKILL")
    assert loop.next() == WorkerLost(WORKER, "killed by SIGKILL")
    assert time.monotonic() - noted_at >= EXIT_GRACE_S
    assert loop.stays_quiet(0.1)


def test_the_last_reply_comes_before_the_launchers_news(loop: Loop, worker: Peer) -> None:
    loop.connect(worker.address)
    loop.forward(loop.request("x"))
    worker.receive()
    worker.reply(b"\x01")
    loop.transport.links.note_exit(WORKER, "exited with code 0")
    reply = WorkerReply(Outcome.ANSWER, value=b"\x01")
    assert loop.next() == ReplyArrived(WORKER, reply)
    assert loop.next() == WorkerLost(WORKER, "exited with code 0")


def test_an_exit_that_the_link_has_noticed_is_told_once(loop: Loop) -> None:
    worker = Peer()
    loop.connect(worker.address)
    loop.transport.links.note_exit(WORKER, "killed by SIGKILL")
    worker.close()
    assert loop.next() == WorkerLost(WORKER, "its connection closed")
    assert loop.stays_quiet(2 * EXIT_GRACE_S)


def test_the_exit_of_an_old_incarnation_is_not_that_of_its_successor(
    loop: Loop, worker: Peer
) -> None:
    successor = WorkerId("w-1", 2)
    loop.connect(worker.address, successor)
    loop.transport.links.note_exit(WORKER, "killed by SIGKILL")
    assert loop.stays_quiet(2 * EXIT_GRACE_S)


# --- endpoints that are not ours ------------------------------------------------------------------


def test_an_endpoint_is_dialed_again_with_a_new_number_each_time(loop: Loop) -> None:
    worker = Peer()
    loop.transport.links.endpoints.add("static-1", worker.address, probe=False)
    numbers = count(1)
    for _ in range(3):
        current = _wait_for_ready(loop, "static-1")
        assert current.incarnation >= next(numbers)
        loop.transport.links.endpoints.note_ready(current)
        worker.close()
        lost = loop.next()
        assert isinstance(lost, WorkerLost)
        assert lost.worker == current
        worker = Peer(worker.address)
    _wait_for_ready(loop, "static-1")
    worker.close()


def _wait_for_ready(loop: Loop, slot: str) -> WorkerId:
    """Skip failed dials until one succeeds."""
    while True:
        event = loop.next()
        if isinstance(event, WorkerReady):
            assert event.worker.slot == slot
            return event.worker


def test_an_endpoint_that_stays_away_is_dialed_less_and_less_often(loop: Loop) -> None:
    loop.transport.links.endpoints.add("static-1", NOBODY, probe=False)
    lost_at = []
    for number in range(1, 6):
        event = loop.next()
        assert event == WorkerLost(WorkerId("static-1", number), "nobody listens at its address")
        lost_at.append(time.monotonic())
    pauses_s = [b - a for a, b in pairwise(lost_at)]
    assert pauses_s[3] > 3 * pauses_s[0]


def test_a_probe_that_is_not_answered_keeps_the_endpoint_out(loop: Loop, worker: Peer) -> None:
    loop.transport.links.endpoints.add("static-1", worker.address, probe=True)
    assert loop.next() == WorkerConnected(WorkerId("static-1", 1))
    assert loop.stays_quiet(0.1)
    assert worker.receive() == tasks.PING
    worker.reply(b"pong")
    assert loop.next() == WorkerReady(WorkerId("static-1", 1))


def test_a_frozen_endpoint_is_lost_and_found_again(loop: Loop) -> None:
    with peer_process() as worker:
        loop.transport.links.endpoints.add("static-1", worker.address, probe=True)
        first = _wait_for_ready(loop, "static-1")
        worker.signal(signal.SIGSTOP)
        lost = loop.next()
        assert isinstance(lost, WorkerLost)
        worker.signal(signal.SIGCONT)
        assert _wait_for_ready(loop, "static-1").incarnation > first.incarnation


# --- closing --------------------------------------------------------------------------------------


def test_closing_sends_the_last_reply_and_leaves_no_descriptor(worker: Peer) -> None:
    before = descriptors()
    loop = Loop()
    loop.connect(worker.address)
    request = loop.request("x")
    loop.transport.links.endpoints.add("static-1", NOBODY, probe=False)
    loop.perform(Refuse(request, Reason.DRAINING))
    loop.transport.close()
    assert msgpack.unpackb(loop.client.recv_multipart()[-1])["reason"] == "draining"
    loop.close_client()
    _wait_until(lambda: descriptors() <= before + 1)


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
