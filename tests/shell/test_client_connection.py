"""One client's connection neither waits nor loses a byte, whether or not the client reads."""

import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from balancer import client_connection
from balancer.client_connection import ClientConnection
from balancer.core.events import ClientId
from balancer.wire.greeting import Peer
from balancer.wire.values import LARGE_BYTES
from balancer.wire.zmtp import FRAMING, Message, encode_command
from tests.shell.dealer import GREETING, READY
from tests.shell.peers import PATIENCE_S

UNREAD_MAX = 8
ENVELOPE = b"\x01\0"
PING = encode_command(b"PING", b"\0\0context")


@dataclass
class Ends:
    """The client's end of a connection, and ours."""

    client: socket.socket
    ours: ClientConnection

    def receive(self, number: int = 1, most: int = 64) -> list[Message]:
        """Wait for so many messages."""
        messages: list[Message] = []
        until(lambda: len(messages) >= number, lambda: messages.extend(self.ours.receive(most)))
        return messages

    def read(self, most_bytes: int = 1 << 20) -> bytes:
        """What has come to the client."""
        received = b""
        while select.select([self.client], [], [], 0)[0]:
            received += (piece := self.client.recv(most_bytes - len(received)))
            if not piece or len(received) == most_bytes:
                break
        return received

    def fill(self) -> bytes:
        """Say things until the client does not read any more; what was said."""
        said = b""
        number = 0
        while not self.ours.is_stuck:
            said += self.say(number.to_bytes(4, "big") * 5_000)
            number += 1
            self.ours.flush()
        return said

    def say(self, body: bytes) -> bytes:
        assert self.ours.say(ENVELOPE, body)
        return ENVELOPE + FRAMING.write(0, len(body)) + body


def until(is_over: Callable[[], bool], act: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_over():
        assert time.monotonic() < deadline, "it takes too long"
        act()


def request(body: bytes) -> bytes:
    return ENVELOPE + FRAMING.write(0, len(body)) + body


def connection(accepted: socket.socket) -> ClientConnection:
    accepted.setblocking(False)
    return ClientConnection(accepted, ClientId(b"1"), Peer(1_000_000, 11), UNREAD_MAX)


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Whose greeting is over."""
    client, accepted = socket.socketpair()
    ours = connection(accepted)
    with client:
        ends = Ends(client, ours)
        client.sendall(GREETING + READY)
        until(lambda: ours.is_greeted, lambda: ours.receive(64))
        assert ends.read().startswith(GREETING)
        yield ends
    ours.close()


# --- the way in ---------------------------------------------------------------------------------


def test_it_is_greeted_when_the_client_has_told_what_it_is() -> None:
    client, accepted = socket.socketpair()
    ours = connection(accepted)
    with client:
        assert client.recv(100) == GREETING[:10]
        client.sendall(GREETING)
        assert ours.receive(64) == []
        assert not ours.is_greeted
        client.sendall(READY + request(b"x"))
        assert ours.receive(64) == [([b"", b"x"], ENVELOPE)]
        assert ours.is_greeted
    ours.close()


def test_nothing_to_read_is_no_end(ends: Ends) -> None:
    assert ends.ours.receive(64) == []
    assert (ends.ours.has_ended, ends.ours.has_more, ends.ours.read_bytes) == (False, False, 0)


def test_no_more_is_received_than_wanted_and_the_rest_without_reading(ends: Ends) -> None:
    ends.client.sendall(b"".join(request(bytes([number])) for number in range(5)))
    assert [frames[1] for frames, _ in ends.ours.receive(3)] == [b"\0", b"\1", b"\2"]
    assert ends.ours.has_more
    assert ends.ours.read_bytes == 25
    ends.client.sendall(request(b"later"))
    assert [frames[1] for frames, _ in ends.ours.receive(3)] == [b"\3", b"\4"]
    assert (ends.ours.has_more, ends.ours.read_bytes) == (False, 0)
    assert [frames[1] for frames, _ in ends.ours.receive(3)] == [b"later"]


@pytest.mark.parametrize("size_bytes", [LARGE_BYTES - 1, LARGE_BYTES, 1_000_000])
def test_large_requests_come_in_pieces_and_what_follows_too(ends: Ends, size_bytes: int) -> None:
    data = request(b"x" * size_bytes) * 2 + request(b"after")
    ends.client.setblocking(False)
    messages: list[Message] = []
    sent_bytes = 0

    def send_and_receive() -> None:
        nonlocal sent_bytes
        if select.select([], [ends.client], [], 0)[1]:
            sent_bytes += ends.client.send(data[sent_bytes:])
        messages.extend(ends.ours.receive(64))

    until(lambda: len(messages) == 3, send_and_receive)
    assert [len(frames[1]) for frames, _ in messages] == [size_bytes, size_bytes, 5]
    assert {envelope for _, envelope in messages} == {ENVELOPE}


def test_nonsense_is_the_end_when_all_before_it_was_received(ends: Ends) -> None:
    ends.client.sendall(request(b"1") + b"\xff\xff")
    assert len(ends.receive()) == 1
    assert not ends.ours.has_ended
    assert ends.ours.receive(64) == []
    assert ends.ours.has_ended


def test_what_was_sent_before_the_end_is_received_before_it(ends: Ends) -> None:
    ends.client.sendall(request(b"1") + request(b"2")[:3])
    ends.client.close()
    assert len(ends.receive()) == 1
    assert not ends.ours.has_ended
    assert ends.ours.receive(64) == []
    assert ends.ours.has_ended
    assert not ends.ours.say(ENVELOPE, b"too late")


def test_a_reset_is_an_end_and_no_accident() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours = connection(server.accept()[0])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        until(lambda: ours.has_ended, lambda: ours.receive(64))
        assert not ours.say(ENVELOPE, b"too late")
        ours.flush()
        ours.close()


# --- the way out --------------------------------------------------------------------------------


def test_what_is_said_leaves_with_the_flush_in_order(ends: Ends) -> None:
    said = b"".join(ends.say(bytes([number]) * number) for number in range(200))
    assert ends.read() == b""
    ends.ours.flush()
    assert ends.read() == said
    assert not ends.ours.is_stuck


@pytest.mark.parametrize("most_bytes", [1_000, 100_000])
def test_nothing_is_lost_where_the_client_reads_late(ends: Ends, most_bytes: int) -> None:
    said = ends.fill()
    said += (
        ends.say(b"small") + ends.say(b"L" * 500_000) + ends.say(b"small") + ends.say(b"M" * 70_000)
    )
    read = b""
    while ends.ours.is_stuck or len(read) < len(said):
        read += ends.read(most_bytes)
        ends.ours.flush()
    assert read == said


def test_of_thousands_of_answers_none_is_lost(ends: Ends) -> None:
    said = b"".join(ends.say(b"%04d" % number * 50) for number in range(3_000))
    read = b""
    ends.ours.flush()
    while ends.ours.is_stuck:
        read += ends.read()
        ends.ours.flush()
    assert read + ends.read() == said
    assert not ends.ours.has_ended


def test_of_what_a_client_does_not_read_so_much_is_kept_and_no_more(ends: Ends) -> None:
    said = ends.fill()
    kept = b""
    while ends.ours.say(ENVELOPE, b"more"):
        kept += ENVELOPE + FRAMING.write(0, 4) + b"more"
        assert len(kept) <= UNREAD_MAX * 8
    assert len(kept) >= UNREAD_MAX // 2 * 8
    read = b""
    while ends.ours.is_stuck:
        read += ends.read()
        ends.ours.flush()
    assert read + ends.read() == said + kept
    ends.say(b"it reads again")


def test_however_few_answers_they_are_no_more_than_so_many_bytes_are_kept(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.fill()
    monkeypatch.setattr(client_connection, "UNREAD_BYTES_MAX", 1_000_000)
    monkeypatch.setattr(client_connection, "READS_WITHIN_S", 0.0)
    assert [ends.ours.say(ENVELOPE, bytes(600_000)) for _ in range(3)].count(True) in (1, 2)


def test_of_a_client_that_reads_slower_than_it_is_answered_more_is_kept(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ends.fill()
    monkeypatch.setattr(client_connection, "UNREAD_BYTES_MAX", 50_000)
    for _ in range(6):  # more than the kernel keeps, so that it is stuck again
        said += ends.say(bytes(60_000))
    monkeypatch.setattr(client_connection, "READS_WITHIN_S", 0.3)
    time.sleep(0.4)
    ends.ours.flush()  # in vain
    assert not ends.ours.say(ENVELOPE, b"it does not read")
    read = ends.read()
    ends.ours.flush()
    assert ends.ours.is_stuck
    said += ends.say(b"it reads again")
    while ends.ours.is_stuck:
        read += ends.read()
        ends.ours.flush()
    assert read + ends.read() == said


def test_of_a_client_that_reads_too_slowly_not_all_is_kept(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.fill()  # of its last piece of 20,000 bytes some is left
    monkeypatch.setattr(client_connection, "UNREAD_BYTES_MAX", 50_000)
    monkeypatch.setattr(client_connection, "READING_BYTES_MAX", 130_000)
    assert [ends.ours.say(ENVELOPE, bytes(50_000)) for _ in range(5)] == [True] * 3 + [False] * 2


def test_whoever_reads_may_be_told_more_at_once_than_is_kept(ends: Ends) -> None:
    for _ in range(10 * UNREAD_MAX):
        ends.say(b"x")


def test_a_ping_is_answered_at_once_by_who_reads_and_never_amid_an_answer(ends: Ends) -> None:
    pong = encode_command(b"PONG", b"context")
    said = ends.say(b"before")
    ends.client.sendall(PING)
    assert ends.ours.receive(64) == []
    assert ends.read() == said + pong
    said = ends.fill()
    for _ in range(1_000):
        ends.client.sendall(PING)
        assert ends.ours.receive(64) == []
    read = b""
    while ends.ours.is_stuck:
        read += ends.read()
        ends.ours.flush()
    assert read + ends.read() == said, "nothing is kept for who does not read"


def test_only_a_flush_finds_that_there_is_room_again(ends: Ends) -> None:
    ends.fill()
    ends.client.sendall(PING)
    ends.read()  # what is left is no more than fits
    assert ends.ours.receive(64) == []
    assert ends.ours.is_stuck, "who waits for room would not know that it need not wait"
    until(lambda: not ends.ours.is_stuck, ends.ours.flush)


def test_what_cannot_be_sent_is_the_end_also_if_there_is_more_to_read(ends: Ends) -> None:
    ends.client.shutdown(socket.SHUT_RD)
    ends.say(b"nobody reads it")
    ends.ours.flush()
    assert ends.ours.has_ended
    assert not ends.ours.is_stuck
    ends.client.sendall(request(b"x"))
    assert len(ends.receive()) == 1
    assert ends.ours.has_ended


def test_a_client_that_leaves_while_it_does_not_read_is_an_end(ends: Ends) -> None:
    ends.fill()
    ends.client.close()
    ends.ours.flush()
    assert ends.ours.has_ended
    assert not ends.ours.is_stuck
