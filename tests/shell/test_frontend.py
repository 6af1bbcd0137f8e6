"""The ROUTER: messages become events, endings become replies, clients come and go."""

import select
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

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
from balancer.frontend import MESSAGES_PER_TURN, CannotBind, Frontend, once_name
from balancer.wire import values
from tests.shell.peers import PATIENCE_S

LIMITS = Limits(max_body_bytes=100_000)
Connect = Callable[[], zmq.Socket[bytes]]


@pytest.fixture
def frontend() -> Iterator[Frontend]:
    with zmq.Context() as context:
        frontend = Frontend(context, LIMITS, "cafe")
        frontend.bind("tcp://127.0.0.1:*")
        yield frontend
        frontend.close()


@pytest.fixture
def connect(frontend: Frontend) -> Iterator[Connect]:
    """Opens clients, DEALERs with a context of their own."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    clients = []

    def connect() -> zmq.Socket[bytes]:
        clients.append(client := context.socket(zmq.DEALER))
        client.rcvtimeo = int(PATIENCE_S * 1000)
        client.connect(frontend.address)
        return client

    yield connect
    for client in clients:
        client.close(0)
    context.term()


def read(frontend: Frontend, number: int = 1) -> list[Event]:
    """Wait for so many events."""
    events: list[Event] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(events) < number:
        assert time.monotonic() < deadline, f"{number} events were expected, got {events}"
        frontend.watch(events.append)
        if not frontend.read(events.append):
            select.select(frontend.filenos(), [], [], 0.05)
    return events


def arrival(frontend: Frontend) -> RequestArrived:
    (event,) = read(frontend)
    assert isinstance(event, RequestArrived)
    return event


def answer_to(request: RequestArrived, value: Any) -> Answer:
    reply = WorkerReply(Outcome.ANSWER, value=msgpack.packb(value))
    return Answer(request.request, WorkerId("w-1", 1), reply, 1, ())


# --- in and out -----------------------------------------------------------------------------------


def test_a_message_becomes_an_event_and_its_answer_goes_back(
    frontend: Frontend, connect: Connect
) -> None:
    client = connect()
    fields = {"timeout_ms": 1500, "try_timeout_ms": 200, "once": True, "priority": 0, "id": "x"}
    client.send_multipart([b"tag", b"", msgpack.packb(fields), msgpack.packb("do it")])
    request = arrival(frontend)
    assert (request.timeout_s, request.try_timeout_s) == (1.5, 0.2)
    assert (request.once, request.priority) == (True, 0)
    assert request.size_bytes == len(msgpack.packb("do it"))
    assert frontend.incoming(request.request).payload == msgpack.packb("do it")
    frontend.answer(answer_to(request, "done"))
    frontend.flush()
    *envelope, body = client.recv_multipart()
    assert envelope == [b"tag", b""]
    assert msgpack.unpackb(body) == {
        "status": 200,
        "body": "done",
        "worker": "w-1",
        "attempts": 1,
        "id": "x",
    }


def test_requests_are_numbered_and_answered_in_any_order(
    frontend: Frontend, connect: Connect
) -> None:
    clients = [connect(), connect()]
    for number, client in enumerate(clients):
        client.send_multipart([b"", msgpack.packb(number)])
    requests = [event for event in read(frontend, 2) if isinstance(event, RequestArrived)]
    assert len({request.request for request in requests}) == 2
    assert len({request.client for request in requests}) == 2
    for request in reversed(requests):
        frontend.answer(
            answer_to(request, msgpack.unpackb(frontend.incoming(request.request).payload))
        )
    frontend.flush()
    assert [msgpack.unpackb(c.recv_multipart()[-1])["body"] for c in clients] == [0, 1]


def test_a_hello_is_answered_with_the_life_and_is_nobodys_event(
    frontend: Frontend, connect: Connect
) -> None:
    client = connect()
    client.send_multipart([b"", msgpack.packb({"hello": True, "id": "x"}), b"\xc0"])
    client.send_multipart([b"", msgpack.packb("after")])
    assert frontend.incoming(arrival(frontend).request).payload == msgpack.packb("after")
    frontend.flush()
    welcome = {"status": 200, "body": {"life": "cafe"}, "id": "x"}
    assert msgpack.unpackb(client.recv_multipart()[-1]) == welcome


def test_a_once_request_is_known_by_a_digest_of_its_id(
    frontend: Frontend, connect: Connect
) -> None:
    client = connect()
    headers = [{"once": True, "id": id} for id in ("x", b"x", "x", "x" * 255)]
    for header in [*headers, {"id": "x"}, {"once": True}]:
        client.send_multipart([b"", msgpack.packb(header), b"\x01"])
    events = [event for event in read(frontend, 6) if isinstance(event, RequestArrived)]
    text, binary, again, long, *unnamed = [event.id for event in events]
    assert text == again
    assert len({text, binary, long}) == 3
    assert [len(name) for name in (text, binary, long) if name] == [16, 16, 16]
    assert unnamed == [None, None]
    sent = [frontend.incoming(event.request).header for event in events]
    assert list(map(once_name, sent)) == [event.id for event in events]


def test_what_cannot_be_read_is_an_event_too(frontend: Frontend, connect: Connect) -> None:
    client = connect()
    client.send_multipart([b"", msgpack.packb({"v": 2, "id": "mine"}), b"x"])
    (event,) = read(frontend)
    assert isinstance(event, RequestUnreadable)
    assert event.error == "header: v must be 1"
    frontend.refuse(Refuse(event.request, Reason.MALFORMED, detail=event.error))
    frontend.flush()
    reply = msgpack.unpackb(client.recv_multipart()[-1])
    assert (reply["status"], reply["reason"], reply["id"]) == (400, "malformed", "mine")


def test_of_ten_thousand_frames_only_a_few_are_kept(frontend: Frontend, connect: Connect) -> None:
    for client in (connect(), connect()):
        for _ in range(2):  # a client is met with its first message
            client.send_multipart([b"", *[b"x"] * 10_000])
            (event,) = read(frontend)
            assert isinstance(event, RequestUnreadable)
            assert event.error == "too many frames"
            frontend.refuse(Refuse(event.request, Reason.MALFORMED))
            frontend.flush()
            assert client.recv_multipart()[0] == b""


def test_it_takes_a_fair_share_and_says_that_there_is_more(
    frontend: Frontend, connect: Connect
) -> None:
    client = connect()
    number = 2 * MESSAGES_PER_TURN + 1
    for n in range(number):
        client.send_multipart([b"", msgpack.packb(n)])
    shares: list[int] = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(shares) < number and time.monotonic() < deadline:
        events: list[Event] = []
        has_more = frontend.read(events.append)
        shares += [len(events)] if events else []
        assert has_more == (len(events) == MESSAGES_PER_TURN)
    assert sum(shares) == number
    assert max(shares) <= MESSAGES_PER_TURN


def test_what_is_over_is_forgotten(frontend: Frontend, connect: Connect) -> None:
    client = connect()
    client.send_multipart([b"", msgpack.packb(1)])
    request = arrival(frontend)
    frontend.forget(Forget(request.request))
    with pytest.raises(KeyError):
        frontend.incoming(request.request)


# --- clients --------------------------------------------------------------------------------------


def test_a_client_that_leaves_is_told_once(frontend: Frontend, connect: Connect) -> None:
    leaving, staying = connect(), connect()
    for client in (leaving, staying):
        client.send_multipart([b"", msgpack.packb(1)])
    requests = {event.client for event in read(frontend, 2) if isinstance(event, RequestArrived)}
    leaving.close(0)
    (gone,) = read(frontend)
    assert isinstance(gone, ClientGone)
    staying.send_multipart([b"", msgpack.packb(2)])
    assert {gone.client, arrival(frontend).client} == requests


def test_a_reply_to_nobody_is_counted_and_harms_nobody(
    frontend: Frontend, connect: Connect
) -> None:
    leaving, staying = connect(), connect()
    leaving.send_multipart([b"", msgpack.packb(1)])
    request = arrival(frontend)
    leaving.close(0)
    read(frontend)
    frontend.answer(answer_to(request, "too late"))
    frontend.flush()
    assert frontend.replies_undelivered == 1
    staying.send_multipart([b"", msgpack.packb(2)])
    frontend.answer(answer_to(arrival(frontend), "in time"))
    frontend.flush()
    assert msgpack.unpackb(staying.recv_multipart()[-1])["body"] == "in time"


def test_a_client_cannot_take_over_the_name_of_another(frontend: Frontend) -> None:
    with zmq.Context() as context:
        first, second = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
        with first, second:
            for client in (first, second):
                client.rcvtimeo = int(PATIENCE_S * 1000)
                client.linger = 0
                client.routing_id = b"me"
                client.connect(frontend.address)
                client.send_multipart([b"", msgpack.packb("mine")])
                if client is first:
                    request = arrival(frontend)
            frontend.answer(answer_to(request, "yours"))
            frontend.flush()
            assert msgpack.unpackb(first.recv_multipart()[-1])["body"] == "yours"
            assert not second.poll(50)


def test_a_client_of_the_first_version_of_the_protocol_is_served(frontend: Frontend) -> None:
    """Its messages come without the descriptor by which others are known to leave."""
    host, _, port = frontend.address.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
        payload = msgpack.packb("old")
        raw.sendall(b"\x01\x00" + b"\x01\x01" + bytes([len(payload) + 1, 0]) + payload)
        request = arrival(frontend)
        frontend.answer(answer_to(request, "still good"))
        frontend.flush()
        received = b""
        while b"still good" not in received:
            received += raw.recv(1 << 16)


# --- the address ----------------------------------------------------------------------------------


def another(address: str) -> None:
    """Bind a second frontend there."""
    with zmq.Context() as context:
        frontend = Frontend(context, LIMITS)
        try:
            frontend.bind(address)
        finally:
            frontend.close()


def test_a_port_in_use_is_refused_with_the_fix(frontend: Frontend) -> None:
    with pytest.raises(CannotBind) as refused:
        another(frontend.address)
    assert str(refused.value) == (
        f"cannot bind {frontend.address}: Address already in use; stop what uses it, "
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
    with zmq.Context() as context:
        frontend = Frontend(context, LIMITS)
        frontend.bind(f"ipc://{path}")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        frontend.close()
    assert not path.exists()


def test_a_path_in_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CannotBind, match="No such file or directory"):
        another(f"ipc://{tmp_path}/nowhere/socket")


def test_two_processes_give_their_clients_different_routing_ids() -> None:
    """Or a reply that comes late, after a restart, would find somebody else under its id."""
    code = """if True:
        import zmq
        from balancer.frontend import seed_routing_ids
        seed_routing_ids()
        context = zmq.Context()
        router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        router.bind("tcp://127.0.0.1:*")
        dealer.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
        dealer.send(b"")
        print(router.recv().hex())
        context.destroy(linger=0)
    """
    ids = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
        for _ in range(3)
    }
    assert len(ids) == 3


def test_the_hard_limit_is_the_wires(frontend: Frontend, connect: Connect) -> None:
    client = connect()
    client.send_multipart([b"", bytes(values.frame_bytes_max(LIMITS.max_body_bytes))])
    assert arrival(frontend).size_bytes > LIMITS.max_body_bytes
    client.send_multipart([b"", bytes(values.frame_bytes_max(LIMITS.max_body_bytes) + 1)])
    assert isinstance(read(frontend)[0], ClientGone)


def test_a_client_that_left_before_it_was_read_is_gone_at_once(
    frontend: Frontend, connect: Connect
) -> None:
    client = connect()
    for _ in range(3):
        client.send_multipart([b"", msgpack.packb("and away")])
    client.close(1000)
    time.sleep(0.3)  # nothing tells of the end but what is to be read first
    events = read(frontend, 4)
    arrived = {event.client for event in events if isinstance(event, RequestArrived)}
    gone = {event.client for event in events if isinstance(event, ClientGone)}
    assert arrived == gone != set()
    newcomer = connect()
    newcomer.send_multipart([b"", msgpack.packb("stays")])
    assert [type(event) for event in read(frontend)] == [RequestArrived]


def test_a_file_that_is_no_socket_is_not_replaced_by_one(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("dear all")
    with zmq.Context() as context:
        frontend = Frontend(context, LIMITS)
        with pytest.raises(CannotBind, match="another path"):
            frontend.bind(f"ipc://{path}")
        frontend.close()
    assert path.read_text() == "dear all"
