"""What clients were told last reaches them, whatever they still send."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from balancer.client_connection import ClientConnection
from balancer.core.events import ClientId
from balancer.farewell import part
from balancer.wire.greeting import Peer
from balancer.wire.zmtp import FRAMING
from tests.shell.dealer import GREETING, READY
from tests.shell.peers import PATIENCE_S

ENVELOPE = b"\x01\0"
REQUEST = ENVELOPE + FRAMING.write(0, 1) + b"x"
BODY = bytes(200_000)
ANSWER = ENVELOPE + FRAMING.write(0, len(BODY)) + BODY


@contextmanager
def told() -> Iterator[tuple[socket.socket, ClientConnection]]:
    """A client, and our end of its connection: it was told more than it takes at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE_S)
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        accepted.setblocking(False)
        ours = ClientConnection(accepted, ClientId(b"1"), Peer(1_000_000, 11), 8)
        client.sendall(GREETING + READY)
        deadline = time.monotonic() + PATIENCE_S
        while not ours.is_greeted:
            assert time.monotonic() < deadline
            ours.receive(64)
        assert ours.say(ENVELOPE, BODY)
        ours.flush()
        yield client, ours
        ours.close()


def read_all(client: socket.socket) -> bytes:
    received = b""
    while piece := client.recv(10_000):
        received += piece
    return received


def test_a_client_that_goes_on_asking_gets_its_last_answer_whole() -> None:
    received = []

    def ask_and_read(client: socket.socket) -> None:
        for _ in range(10):
            client.sendall(REQUEST)
            received.append(client.recv(2_000))
        received.append(read_all(client))
        client.close()

    with told() as (client, ours):
        client.sendall(REQUEST)
        thread = threading.Thread(target=ask_and_read, args=(client,))
        thread.start()
        part([ours], PATIENCE_S)
        assert ours.has_ended, "nobody waits longer than the client stays"
        ours.close()
        thread.join()
    assert b"".join(received).endswith(ANSWER)


def test_who_does_not_read_is_waited_for_no_longer_than_said() -> None:
    with told() as (client, ours):
        while not ours.is_stuck:
            assert ours.say(ENVELOPE, BODY)
            ours.flush()
        began_at = time.monotonic()
        part([ours], 0.2)
        assert 0.2 <= time.monotonic() - began_at < 0.2 + PATIENCE_S / 2
        assert not ours.has_ended
        assert client.recv(10), "and all the while it was there"


def test_what_was_kept_for_a_slow_client_is_sent_when_it_reads() -> None:
    received = []
    with told() as (client, ours):
        count = 1
        while not ours.is_stuck:
            assert ours.say(ENVELOPE, BODY)
            ours.flush()
            count += 1

        def read_and_leave() -> None:
            received.append(read_all(client))
            client.close()

        thread = threading.Thread(target=read_and_leave)
        thread.start()
        part([ours], PATIENCE_S)
        assert ours.has_ended
        ours.close()
        thread.join()
    assert received[0].endswith(ANSWER * count)
