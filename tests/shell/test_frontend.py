"""What clients talk to: messages become events, endings become replies, clients come and go."""

import socket
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from balancer.admission import NO_DESCRIPTORS_PAUSE_S
from balancer.core.events import (
    Answer,
    ClientGone,
    Event,
    Forget,
    Outcome,
    Reason,
    Refuse,
    RequestArrived,
    RequestUnreadable,
    WorkerId,
    WorkerReply,
)
from balancer.core.limits import Limits
from balancer.frontend import (
    BYTES_PER_MESSAGE,
    LEAST_SHARE,
    LINGER_S,
    MESSAGES_PER_TURN,
    Frontend,
    once_name,
)
from balancer.listener import CannotBind
from balancer.patience import PatientSelector
from balancer.wire import values
from balancer.wire.zmtp import OLD_FRAMING, Decoder, encode_command
from tests.shell.arrivals import one_by_one
from tests.shell.dealer import GREETING, READY
from tests.shell.peers import PATIENCE_S

LIMITS = Limits(max_body_bytes=100_000)
Connect = Callable[[], zmq.Socket[bytes]]


class Loop:
    """A frontend, and what it needs around it."""

    def __init__(self, limits: Limits = LIMITS, connections_max: int = 1000) -> None:
        self._selector = PatientSelector()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._events: list[Event] = []
        self.full_at: list[int] = []
        """How many clients there were when another had to wait."""
        self.frontend = Frontend(
            limits,
            self._selector,
            self._after,
            "cafe",
            connections_max=connections_max,
            on_full=self.full_at.append,
        )

    def _after(self, delay_s: float, what: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + delay_s, what))

    def turn(self) -> list[Event]:
        """See once to what has come, and to what is due."""
        events: list[Event] = []
        for key, _ in self._selector.select(0 if self.frontend.readable else 0.05):
            key.data()
        self.frontend.read(events.append)
        now = time.monotonic()
        due = [what for when, what in self._later if when <= now]
        self._later = [(when, what) for when, what in self._later if when > now]
        for what in due:
            what()
        return list(one_by_one(events))

    def settle(self) -> None:
        """See to all that has come, of which nothing is an event."""
        while self.frontend.readable or self._selector.select(0):
            assert self.turn() == []

    def read(self, number: int = 1) -> list[Event]:
        """Wait for so many events."""
        events: list[Event] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(events) < number:
            assert time.monotonic() < deadline, f"{number} events were expected, got {events}"
            events += self.turn()
        return events

    def arrival(self) -> RequestArrived:
        (event,) = self.read()
        assert isinstance(event, RequestArrived)
        return event

    def close(self) -> None:
        self.frontend.close()
        self._selector.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    with closing(Loop()) as loop:
        loop.frontend.bind("tcp://127.0.0.1:*")
        yield loop


@pytest.fixture
def connect(loop: Loop) -> Iterator[Connect]:
    """Opens clients, DEALERs with a context of their own."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    clients = []

    def connect() -> zmq.Socket[bytes]:
        clients.append(client := context.socket(zmq.DEALER))
        client.rcvtimeo = int(PATIENCE_S * 1000)
        client.connect(loop.frontend.address)
        return client

    yield connect
    for client in clients:
        client.close(0)
    context.term()


def answer_to(request: RequestArrived, value: Any) -> Answer:
    reply = WorkerReply(Outcome.ANSWER, value=msgpack.packb(value))
    return Answer(request.request, WorkerId("w-1", 1), reply, 1, ())


# --- in and out -----------------------------------------------------------------------------------


def test_a_message_becomes_an_event_and_its_answer_goes_back(loop: Loop, connect: Connect) -> None:
    client = connect()
    fields = {"timeout_ms": 1500, "try_timeout_ms": 200, "once": True, "priority": 0, "id": "x"}
    client.send_multipart([b"tag", b"", msgpack.packb(fields), msgpack.packb("do it")])
    request = loop.arrival()
    assert (request.timeout_s, request.try_timeout_s) == (1.5, 0.2)
    assert (request.once, request.priority) == (True, 0)
    assert request.size_bytes == len(msgpack.packb("do it"))
    assert loop.frontend.incoming(request.request).payload == msgpack.packb("do it")
    loop.frontend.answer(answer_to(request, "done"))
    loop.frontend.flush()
    *envelope, body = client.recv_multipart()
    assert envelope == [b"tag", b""]
    assert msgpack.unpackb(body) == {
        "status": 200,
        "body": "done",
        "worker": "w-1",
        "attempts": 1,
        "id": "x",
    }


def test_requests_are_numbered_and_answered_in_any_order(loop: Loop, connect: Connect) -> None:
    clients = [connect(), connect()]
    for number, client in enumerate(clients):
        client.send_multipart([b"", msgpack.packb(number)])
    requests = [event for event in loop.read(2) if isinstance(event, RequestArrived)]
    assert len({request.request for request in requests}) == 2
    assert len({request.client for request in requests}) == 2
    for request in reversed(requests):
        loop.frontend.answer(
            answer_to(request, msgpack.unpackb(loop.frontend.incoming(request.request).payload))
        )
    loop.frontend.flush()
    assert [msgpack.unpackb(c.recv_multipart()[-1])["body"] for c in clients] == [0, 1]


def test_a_hello_is_answered_with_the_life_and_is_nobodys_event(
    loop: Loop, connect: Connect
) -> None:
    client = connect()
    client.send_multipart([b"", msgpack.packb({"hello": True, "id": "x"}), b"\xc0"])
    client.send_multipart([b"", msgpack.packb("after")])
    assert loop.frontend.incoming(loop.arrival().request).payload == msgpack.packb("after")
    loop.frontend.flush()
    welcome = {"status": 200, "body": {"life": "cafe"}, "id": "x"}
    assert msgpack.unpackb(client.recv_multipart()[-1]) == welcome


def test_a_once_request_is_known_by_a_digest_of_its_id(loop: Loop, connect: Connect) -> None:
    client = connect()
    headers = [{"once": True, "id": id} for id in ("x", b"x", "x", "x" * 255)]
    for header in [*headers, {"id": "x"}, {"once": True}]:
        client.send_multipart([b"", msgpack.packb(header), b"\x01"])
    events = [event for event in loop.read(6) if isinstance(event, RequestArrived)]
    text, binary, again, long, *unnamed = [event.id for event in events]
    assert text == again
    assert len({text, binary, long}) == 3
    assert [len(name) for name in (text, binary, long) if name] == [16, 16, 16]
    assert unnamed == [None, None]
    sent = [loop.frontend.incoming(event.request).header for event in events]
    assert list(map(once_name, sent)) == [event.id for event in events]


def test_what_cannot_be_read_is_an_event_too(loop: Loop, connect: Connect) -> None:
    client = connect()
    client.send_multipart([b"", msgpack.packb({"v": 2, "id": "mine"}), b"x"])
    (event,) = loop.read()
    assert isinstance(event, RequestUnreadable)
    assert event.error == "header: v must be 1"
    loop.frontend.refuse(Refuse(event.request, Reason.MALFORMED, detail=event.error))
    loop.frontend.flush()
    reply = msgpack.unpackb(client.recv_multipart()[-1])
    assert (reply["status"], reply["reason"], reply["id"]) == (400, "malformed", "mine")


def test_of_ten_thousand_frames_only_a_few_are_kept(loop: Loop, connect: Connect) -> None:
    for client in (connect(), connect()):
        for _ in range(2):  # a client is met with its first message
            client.send_multipart([b"", *[b"x"] * 10_000])
            (event,) = loop.read()
            assert isinstance(event, RequestUnreadable)
            assert event.error == "too many frames"
            loop.frontend.refuse(Refuse(event.request, Reason.MALFORMED))
            loop.frontend.flush()
            assert client.recv_multipart()[0] == b""


def test_it_takes_a_fair_share_and_knows_that_there_is_more(loop: Loop, connect: Connect) -> None:
    client, other = connect(), connect()
    number = 2 * MESSAGES_PER_TURN + 1
    for n in range(number):
        client.send_multipart([b"", msgpack.packb(n)])
    other.send_multipart([b"", msgpack.packb("me, too")])
    shares: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(shares) < number + 1 and time.monotonic() < deadline:
        shares.append(len(loop.turn()))
        assert bool(loop.frontend.readable) >= (shares[-1] == MESSAGES_PER_TURN)
    assert sum(shares) == number + 1
    assert max(shares) <= MESSAGES_PER_TURN


def test_what_is_over_is_forgotten(loop: Loop, connect: Connect) -> None:
    client = connect()
    client.send_multipart([b"", msgpack.packb(1)])
    request = loop.arrival()
    loop.frontend.forget(Forget(request.request))
    with pytest.raises(KeyError):
        loop.frontend.incoming(request.request)


# --- clients --------------------------------------------------------------------------------------


def test_a_client_that_leaves_is_told_once(loop: Loop, connect: Connect) -> None:
    leaving, staying = connect(), connect()
    for client in (leaving, staying):
        client.send_multipart([b"", msgpack.packb(1)])
    requests = {event.client for event in loop.read(2) if isinstance(event, RequestArrived)}
    leaving.close(0)
    (gone,) = loop.read()
    assert isinstance(gone, ClientGone)
    staying.send_multipart([b"", msgpack.packb(2)])
    assert {gone.client, loop.arrival().client} == requests


def test_a_reply_to_nobody_is_counted_and_harms_nobody(loop: Loop, connect: Connect) -> None:
    leaving, staying = connect(), connect()
    leaving.send_multipart([b"", msgpack.packb(1)])
    request = loop.arrival()
    leaving.close(0)
    loop.read()
    loop.frontend.answer(answer_to(request, "too late"))
    loop.frontend.flush()
    assert loop.frontend.replies_undelivered == 1
    staying.send_multipart([b"", msgpack.packb(2)])
    loop.frontend.answer(answer_to(loop.arrival(), "in time"))
    loop.frontend.flush()
    assert msgpack.unpackb(staying.recv_multipart()[-1])["body"] == "in time"


def test_two_clients_of_one_name_get_each_its_own_answer(loop: Loop) -> None:
    with zmq.Context() as context:
        first, second = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
        with first, second:
            for client in (first, second):
                client.rcvtimeo = int(PATIENCE_S * 1000)
                client.linger = 0
                client.routing_id = b"me"
                client.connect(loop.frontend.address)
                client.send_multipart([b"", b"\xc0"])
                loop.frontend.answer(answer_to(loop.arrival(), "1st" if client is first else "2nd"))
            loop.frontend.flush()
            bodies = [
                msgpack.unpackb(client.recv_multipart()[-1])["body"] for client in (first, second)
            ]
            assert bodies == ["1st", "2nd"]


def test_a_client_of_the_first_version_of_the_protocol_is_served(loop: Loop) -> None:
    host, _, port = loop.frontend.address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
        payload = msgpack.packb("old")
        raw.sendall(b"\x01\x00" + b"\x01\x01" + bytes([len(payload) + 1, 0]) + payload)
        request = loop.arrival()
        loop.frontend.answer(answer_to(request, "still good"))
        loop.frontend.flush()
        received = b""
        while b"still good" not in received:
            received += raw.recv(1 << 16)


class Reluctant:
    """A client that reads only when it is told to; of the first version, which says least."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(loop.frontend.address.removeprefix("ipc://"))
        self._socket.sendall(b"\x01\0")
        self._decoder = Decoder(OLD_FRAMING, 1_000_000, 11)
        self.bodies: list[Any] = []

    def ask_and_answer(self, body: Any, *, is_flushed: bool = True) -> None:
        self._socket.sendall(b"\x01\x01" + b"\x02\0x")
        self._loop.frontend.answer(answer_to(self._loop.arrival(), body))
        if is_flushed:
            self._loop.frontend.flush()

    def read(self) -> bool:
        """What has come; False if there is no more and never will be."""
        if data := self._socket.recv(1 << 16):
            self._decoder.feed(data)
            messages = [frames for frames, _ in self._decoder.take(1_000)]
            self.bodies += [
                msgpack.unpackb(frames[-1])["body"] for frames in messages if frames[-1]
            ]
        return bool(data)

    def close(self) -> None:
        self._socket.close()


def turns_in(loop: Loop, duration_s: float) -> int:
    """How many of them it takes."""
    turns, end = 0, time.monotonic() + duration_s
    while time.monotonic() < end:
        assert loop.turn() == []
        turns += 1
    return turns


def test_a_client_that_never_reads_costs_nobody_else_anything(tmp_path: Path) -> None:
    limits = Limits(max_body_bytes=100_000, client_limit=4)
    with closing(Loop(limits)) as loop, zmq.Context() as context:
        loop.frontend.bind(f"ipc://{tmp_path}/socket")
        with closing(Reluctant(loop)) as client, context.socket(zmq.DEALER) as other:
            sent = [f"{number:040000}" for number in range(40)]
            for body in sent:
                client.ask_and_answer(body)
            undelivered = loop.frontend.replies_undelivered
            assert 10 < undelivered < 40 - 2 * limits.client_limit
            other.rcvtimeo = int(PATIENCE_S * 1000)
            other.linger = 0
            other.connect(loop.frontend.address)
            other.send_multipart([b"", msgpack.packb("me, too")])
            loop.frontend.answer(answer_to(loop.arrival(), "at once"))
            loop.frontend.flush()
            assert msgpack.unpackb(other.recv_multipart()[-1])["body"] == "at once"
            assert turns_in(loop, 0.2) < 50, "there is no room that it could wake up for"
            while len(client.bodies) < len(sent) - undelivered:
                client.read()
                assert loop.turn() == []
            assert client.bodies == sent[: len(client.bodies)]
            assert turns_in(loop, 0.2) < 50, "there is room, and nothing to be said"
            client.ask_and_answer("it reads again")
            assert client.read()
            assert client.bodies[-1] == "it reads again"
            assert loop.frontend.replies_undelivered == undelivered


def test_a_large_answer_goes_on_as_its_client_reads(tmp_path: Path) -> None:
    with closing(Loop()) as loop:
        loop.frontend.bind(f"ipc://{tmp_path}/socket")
        with closing(Reluctant(loop)) as client:
            client.ask_and_answer("x" * 900_000)
            while not client.bodies:
                client.read()
                assert loop.turn() == []
            assert client.bodies == ["x" * 900_000]


def test_who_sends_much_has_had_his_share_after_a_few(tmp_path: Path) -> None:
    """A turn is to be short, however many send however much."""
    message = b"\x01\0\x02" + (30_000).to_bytes(8, "big") + bytes(30_000)
    with closing(Loop()) as loop, ExitStack() as stack:
        loop.frontend.bind(f"ipc://{tmp_path}/socket")
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(16)]
        for client in clients:
            client.connect(f"{tmp_path}/socket")
            client.sendall(GREETING + READY)
        loop.settle()
        for client in clients:
            client.sendall(message)
        shares = [len(loop.turn()) for _ in range(10)]
        assert sum(shares) == 16
        assert max(shares) * len(message) <= MESSAGES_PER_TURN * BYTES_PER_MESSAGE + len(message)


def test_of_many_that_leave_at_once_each_turn_sees_to_some(tmp_path: Path) -> None:
    number, most = 300, int(MESSAGES_PER_TURN / LEAST_SHARE)
    with closing(Loop()) as loop, ExitStack() as stack:
        loop.frontend.bind(f"ipc://{tmp_path}/socket")
        for _ in range(number):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(f"{tmp_path}/socket")
            client.sendall(b"\x01\0" + b"\x01\x01" + b"\x02\0x")  # version 1
            loop.turn()
        while loop.turn():
            pass
        stack.close()
        gone = [len(loop.turn()) for _ in range(3)]
        assert gone == [most, number - most, 0]


def test_a_client_that_reads_no_pongs_is_served_when_it_reads(tmp_path: Path) -> None:
    with closing(Loop()) as loop, socket.socket(socket.AF_UNIX) as client:
        loop.frontend.bind(f"ipc://{tmp_path}/socket")
        client.settimeout(PATIENCE_S)
        client.connect(f"{tmp_path}/socket")
        client.sendall(GREETING + READY)
        for _ in range(15):
            client.sendall(encode_command(b"PING", b"\0\0" + b"x" * 16) * 2_000)
            loop.settle()
        client.sendall(b"\x01\0" + b"\0\x01x")
        loop.frontend.answer(answer_to(loop.arrival(), "served"))
        loop.frontend.flush()
        received = b""
        while b"served" not in received:
            received += client.recv(1 << 20)
            assert loop.turn() == []


def test_who_comes_when_all_places_are_taken_is_served_when_one_leaves() -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with closing(Loop(connections_max=2)) as loop:
        loop.frontend.bind("tcp://127.0.0.1:*")
        clients = [context.socket(zmq.DEALER) for _ in range(3)]
        for number, client in enumerate(clients[:2]):
            client.connect(loop.frontend.address)
            client.send_multipart([b"", msgpack.packb(number)])
            loop.arrival()
        assert loop.full_at == []
        clients[2].connect(loop.frontend.address)
        clients[2].send_multipart([b"", msgpack.packb(2)])
        deadline = time.monotonic() + PATIENCE_S
        while not loop.full_at:
            assert loop.turn() == []
            assert time.monotonic() < deadline
        looked_twice_at = time.monotonic() + 2 * NO_DESCRIPTORS_PAUSE_S
        while time.monotonic() < looked_twice_at:
            assert loop.turn() == []
        clients[0].send_multipart([b"", msgpack.packb("the others go on")])
        clients[1].close()
        events = loop.read(3)
        assert [type(event) for event in events].count(ClientGone) == 1
        payloads = [
            msgpack.unpackb(loop.frontend.incoming(event.request).payload)
            for event in events
            if isinstance(event, RequestArrived)
        ]
        assert sorted(payloads, key=str) == [2, "the others go on"]
        assert loop.full_at == [2], "it is told now and then, not each time that it is so"
    context.destroy(linger=0)


def test_of_a_burst_no_more_are_let_in_than_there_is_room_for(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with closing(Loop(connections_max=3)) as loop, ExitStack() as stack:
        loop.frontend.bind(f"ipc://{path}")
        for _ in range(5):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(path))
            client.sendall(GREETING + READY + b"\x01\0\0\x01x")
        assert len(loop.read(3)) == 3
        deadline = time.monotonic() + PATIENCE_S
        while not loop.full_at:
            assert loop.turn() == []
            assert time.monotonic() < deadline
        assert loop.full_at == [3]


@pytest.mark.parametrize("is_heard_out", [True, False])
def test_who_has_not_greeted_or_sends_what_is_large_is_beginning(
    loop: Loop, is_heard_out: bool
) -> None:
    host, _, port = loop.frontend.address.removeprefix("tcp://").rpartition(":")
    beginning = loop.frontend.beginning

    def turn_until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline
            loop.turn()

    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
        turn_until(lambda: len(beginning) == 1)
        raw.sendall(GREETING + READY)
        turn_until(lambda: not beginning)
        payload = b"\xc6" + (90_000).to_bytes(4, "big") + bytes(90_000)
        head = b"\x01\0\x02" + len(payload).to_bytes(8, "big")
        raw.sendall(head + payload[:70_000])
        turn_until(lambda: len(beginning) == 1)
        if is_heard_out:
            raw.sendall(payload[70_000:])
            turn_until(lambda: not beginning)
    turn_until(lambda: not beginning)


def test_nobody_is_told_of_a_client_that_never_asked(loop: Loop, connect: Connect) -> None:
    host, _, port = loop.frontend.address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
        raw.sendall(b"\x01\0")
    connect().send_multipart([b"", b"x"])
    assert isinstance(loop.arrival(), RequestArrived)
    turns_in(loop, 0.1)


def test_what_was_said_last_leaves_before_the_end(tmp_path: Path) -> None:
    with closing(Loop()) as loop:
        loop.frontend.bind(f"ipc://{tmp_path}/socket")
        with closing(Reluctant(loop)) as client:
            client.ask_and_answer("first")
            client.ask_and_answer("last", is_flushed=False)
            loop.frontend.close()
            while client.read():
                pass
            assert client.bodies == ["first", "last"]


def test_answers_on_their_way_leave_before_the_end(tmp_path: Path) -> None:
    with closing(Loop()) as loop:
        loop.frontend.bind(f"ipc://{tmp_path}/socket")
        with closing(Reluctant(loop)) as client, closing(Reluctant(loop)) as deaf:
            sent = [f"{number:040000}" for number in range(20)]
            for body in sent:
                client.ask_and_answer(body)
                deaf.ask_and_answer(body)

            def read_all() -> None:
                while client.read():
                    pass

            with ThreadPoolExecutor() as threads:
                reading = threads.submit(read_all)
                began_at = time.monotonic()
                loop.frontend.close()
                took_s = time.monotonic() - began_at
                reading.result(PATIENCE_S)
            assert client.bodies == sent
            assert LINGER_S <= took_s < PATIENCE_S, "who does not read is waited for a while"


def test_a_client_that_wants_signs_of_life_gets_them(loop: Loop) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.heartbeat_ivl, client.heartbeat_timeout, client.heartbeat_ttl = 100, 300, 300
        client.connect(loop.frontend.address)
        client.send_multipart([b"", b"\x01"])
        before = loop.arrival()
        turns_in(loop, 1.0)
        client.send_multipart([b"", b"\x02"])
        assert loop.arrival().client == before.client


# --- the address ----------------------------------------------------------------------------------


def another(address: str) -> None:
    """Bind a second frontend there."""
    with closing(Loop()) as loop:
        loop.frontend.bind(address)


def test_a_port_in_use_is_refused_with_the_fix(loop: Loop) -> None:
    with pytest.raises(CannotBind) as refused:
        another(loop.frontend.address)
    assert str(refused.value) == (
        f"cannot bind {loop.frontend.address}: Address already in use; stop what uses it, "
        "or give --bind another address"
    )


def test_a_path_that_is_served_is_refused_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(path))
        served.listen()
        with pytest.raises(CannotBind, match="is in use: give --bind another path"):
            another(f"ipc://{path}")
        assert path.is_socket(), "it is not ours to remove"
    another(f"ipc://{path}")
    assert not path.exists()


def test_a_path_is_for_its_owner_alone_and_removed_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with closing(Loop()) as loop:
        loop.frontend.bind(f"ipc://{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_path_in_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotBind, match="No such file or directory"):
        another(f"ipc://{tmp_path}/nowhere/socket")


def test_the_hard_limit_is_the_wires(loop: Loop, connect: Connect) -> None:
    client = connect()
    client.send_multipart([b"", bytes(values.frame_bytes_max(LIMITS.max_body_bytes))])
    assert loop.arrival().size_bytes > LIMITS.max_body_bytes
    client.send_multipart([b"", bytes(values.frame_bytes_max(LIMITS.max_body_bytes) + 1)])
    assert isinstance(loop.read()[0], ClientGone)


def test_a_client_that_left_before_it_was_read_is_gone_at_once(
    loop: Loop, connect: Connect
) -> None:
    client = connect()
    for _ in range(3):
        client.send_multipart([b"", msgpack.packb("and away")])
    client.close(1000)
    events = loop.read(4)
    arrived = {event.client for event in events if isinstance(event, RequestArrived)}
    gone = {event.client for event in events if isinstance(event, ClientGone)}
    assert arrived == gone != set()
    newcomer = connect()
    newcomer.send_multipart([b"", msgpack.packb("stays")])
    assert [type(event) for event in loop.read()] == [RequestArrived]


def test_a_file_that_is_no_socket_is_not_replaced_by_one(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear all")
    with pytest.raises(CannotBind, match="another path"):
        another(f"ipc://{path}")
    assert path.read_text() == "dear all"
