"""Whoever asks is understood, of whatever version of ZMTP; whoever does not is told from them."""

import random
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zmq

from balancer.wire.greeting import Peer
from balancer.wire.values import WireError
from balancer.wire.zmtp import FRAMING, OLD_FRAMING, Message, encode_command
from tests.shell.peers import PATIENCE_S

SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"
NULL = b"NULL" + bytes(16)
GREETING = SIGNATURE + b"\x03\x00" + NULL + bytes(32)
REQUEST = b"\x01\0" + b"\0\x05hello"
MESSAGE = [b"", b"hello"], b"\x01\0"
OUR_READY = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06ROUTER\x08Identity\0\0\0\0"


def ready(*properties: tuple[bytes, bytes]) -> bytes:
    data = b"".join(
        bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
        for name, value in properties
    )
    return encode_command(b"READY", data)


DEALER = ready((b"Socket-Type", b"DEALER"), (b"Identity", b"me"))
OLD_ID = b"\x01\0"
OLD_REQUEST = b"\x01\x01" + b"\x06\0hello"
BY_VERSION = {
    "3.1": SIGNATURE + b"\x03\x01" + NULL + bytes(32) + DEALER + REQUEST,
    "3.0": GREETING + DEALER + REQUEST,
    "2.0": SIGNATURE + b"\x01\x05" + b"\0\x02me" + REQUEST,
    "1.0": OLD_ID + OLD_REQUEST,
    "1.0, a long id": b"\xff" + (256).to_bytes(8, "big") + b"\0" + b"i" * 255 + OLD_REQUEST,
}


class Talk:
    """What a peer has said, and what was said to it."""

    def __init__(self, *pieces: bytes) -> None:
        self.peer = Peer(100_000, 11)
        self.messages: list[Message] = []
        self.said = self.say()
        for piece in pieces:
            self.hear(piece)

    def say(self) -> bytes:
        said, self.peer.to_send = self.peer.to_send, b""
        return said

    def hear(self, piece: bytes) -> bytes:
        """What is said to that."""
        self.peer.feed(piece)
        has_more = True
        while has_more:
            self.messages += self.peer.take(64)
            has_more = self.peer.has_more
        said = self.say()
        self.said += said
        return said


# --- libzmq itself ------------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)
        yield listener


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER, zmq.ROUTER])
def test_libzmqs_own_peers_are_understood_and_understand(
    listener: socket.socket, kind: zmq.SocketType
) -> None:
    with zmq.Context() as context, context.socket(kind) as client:
        client.linger = 0
        client.rcvtimeo = int(PATIENCE_S * 1000)
        if kind == zmq.ROUTER:
            client.setsockopt(zmq.CONNECT_ROUTING_ID, b"us")
        client.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        begin = {zmq.REQ: [], zmq.DEALER: [b"tag", b""], zmq.ROUTER: [b"us", b""]}[kind]
        client.send_multipart([*begin, b"x" * 300])
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            talk = Talk()
            connection.sendall(talk.said)
            heard = b""
            while not talk.messages:
                piece = connection.recv(1 << 16)
                assert piece, "it has left"
                heard += piece
                connection.sendall(talk.hear(piece))
            frames, envelope = talk.messages[0]
            assert frames[-2:] == [b"", b"x" * 300]
            connection.sendall(envelope + FRAMING.write(0, 6) + b"answer")
            assert client.recv_multipart() == [*begin, b"answer"]
    for at in range(1, len(heard)):
        again = Talk(heard[:at], heard[at:])
        assert (again.messages, again.said) == (talk.messages, talk.said)


# --- all versions -------------------------------------------------------------------------------


@pytest.mark.parametrize("version", BY_VERSION)
def test_a_peer_is_understood_wherever_its_greeting_is_cut(version: str) -> None:
    greeting = BY_VERSION[version]
    framing = OLD_FRAMING if version.startswith("1") else FRAMING
    at_once = Talk(greeting)
    frames, envelope = MESSAGE
    assert at_once.messages == [
        (frames, framing.write(1, 0) if framing == OLD_FRAMING else envelope)
    ]
    assert at_once.peer.framing == framing
    assert at_once.peer.is_ready
    pieces = [[greeting[:at], greeting[at:]] for at in range(1, len(greeting))]
    by_byte = [greeting[at : at + 1] for at in range(len(greeting))]
    for talk in (Talk(*pieces) for pieces in [*pieces, by_byte]):
        assert (talk.messages, talk.said) == (at_once.messages, at_once.said)


def test_each_version_is_told_what_it_can_understand() -> None:
    said = {version: Talk(greeting).said for version, greeting in BY_VERSION.items()}
    assert said["3.1"] == said["3.0"] == SIGNATURE + b"\x03\x01" + NULL + bytes(32) + OUR_READY
    assert said["2.0"] == SIGNATURE + b"\x03\x06" + b"\0\0"
    assert said["1.0"] == said["1.0, a long id"] == SIGNATURE


def test_nobody_has_to_say_more_than_what_the_other_needs_to_go_on() -> None:
    talk = Talk()
    assert talk.said == SIGNATURE
    assert talk.hear(SIGNATURE) == b"\x03"
    assert talk.hear(b"\x03") == b"\x01" + NULL + bytes(32)
    assert talk.hear(b"\x00" + NULL + bytes(32)) == OUR_READY


def test_a_peer_is_ready_when_it_has_said_what_it_is() -> None:
    for greeting, what_it_is in (
        (GREETING, DEALER),
        (SIGNATURE + b"\x01\x05", b"\0\x02me"),
        (OLD_ID[:1], OLD_ID[1:]),
    ):
        talk = Talk(greeting, what_it_is[:-1])
        assert not talk.peer.is_ready
        talk.hear(what_it_is[-1:])
        assert talk.peer.is_ready


# --- who does not ask ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "greeting",
    [
        SIGNATURE + b"\x03\x00" + b"PLAIN".ljust(20, b"\0") + bytes(32),
        SIGNATURE + b"\x03\x00" + b"NULLS".ljust(20, b"\0") + bytes(32),
        GREETING + ready((b"Socket-Type", b"PUB")),
        GREETING + ready((b"Socket-Type", b"PULL"), (b"Identity", b"DEALER")),
        GREETING + ready((b"Socket-Type", b"")),
        GREETING + ready((b"Identity", b"Socket-Type")),
        GREETING + ready(),
        GREETING + encode_command(b"READY", b"\x0bSocket-Type\0\0\0\x07DEALER"),
        GREETING + encode_command(b"READY", b"\x0bSocket-Type\0\0"),
        GREETING + encode_command(b"READY", b"\xffSocket-Type\0\0\0\x06DEALER"),
        GREETING + encode_command(b"STEADY", b"\x0bSocket-Type\0\0\0\x06DEALER"),
        GREETING + encode_command(b"ERROR", b"\x05sorry"),
        GREETING + encode_command(b"PING", b"\0\0"),
        GREETING + b"\x04\0",
        GREETING + REQUEST,
        GREETING + b"\x05\x01x",
        *(SIGNATURE + b"\x01" + bytes([kind]) for kind in (0, 1, 2, 4, 7, 8, 255)),
        b"\0\0",
    ],
)
def test_whoever_does_not_ask_is_told_from_those_who_do(greeting: bytes) -> None:
    talk = Talk()
    with pytest.raises(WireError):
        talk.hear(greeting)
    assert not talk.peer.is_ready


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER, zmq.ROUTER])
def test_of_the_second_version_the_same_kinds_are_served(kind: int) -> None:
    assert Talk(SIGNATURE + b"\x01" + bytes([kind]) + b"\0\0" + REQUEST).messages == [MESSAGE]


@pytest.mark.parametrize("kind", [b"REQ", b"DEALER", b"ROUTER"])
def test_what_else_a_peer_says_of_itself_does_not_matter(kind: bytes) -> None:
    said = ready((b"X-Long", b"x" * 300), (b"socket-TYPE", kind), (b"Identity", b"\0"))
    assert Talk(GREETING + said + REQUEST).messages == [MESSAGE]


def test_noise_is_no_accident() -> None:
    dice = random.Random(7)
    begins = [
        b"",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc",
    ]
    for _ in range(500):
        some = dice.choice([*begins, *BY_VERSION.values()])
        noise = some[: dice.randrange(len(some) + 1)] + dice.randbytes(dice.randrange(1, 2_000))
        size = dice.choice([1, 10, 10_000])
        with suppress(WireError):
            Talk(*(noise[at : at + size] for at in range(0, len(noise), size)))


# --- signs of life ------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [b"", b"x", b"0123456789abcdef", b"0123456789abcdefTOO LONG"])
def test_a_ping_is_answered_with_its_context(context: bytes) -> None:
    talk = Talk(GREETING + DEALER)
    pong = encode_command(b"PONG", context[:16])
    assert talk.hear(encode_command(b"PING", b"\0\x64" + context) + REQUEST) == pong
    assert talk.messages == [MESSAGE]


def test_each_ping_is_answered_once() -> None:
    talk = Talk(GREETING + DEALER)
    pings = [encode_command(b"PING", b"\0\0" + bytes([number])) for number in range(3)]
    pongs = [encode_command(b"PONG", bytes([number])) for number in range(3)]
    assert talk.hear(b"".join(pings)) == b"".join(pongs)
    assert [talk.hear(ping) for ping in pings] == pongs


def test_other_commands_mean_nothing() -> None:
    talk = Talk(GREETING + DEALER)
    commands = [b"PONG", b"ERROR", b"SUBSCRIBE", b"READY", b"PINGS", b"", b"x" * 250]
    assert talk.hear(b"".join(encode_command(name, b"data") for name in commands)) == b""
    assert talk.hear(b"\x04\0" + REQUEST) == b""
    assert talk.messages == [MESSAGE]
