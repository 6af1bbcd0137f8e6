"""How a connection of ZMTP begins, and what its two ends say beside messages: a ROUTER's part.

The mechanism is NULL. Peers of the versions 3.1 and 3.0 (https://rfc.zeromq.org/spec/37/ and 23),
2.0 (15) and 1.0 (13) are told from each other as 37 says under "Backwards Interoperability".
A peer's routing id is of no use here: an answer goes to the connection by which its request came.
"""

from balancer.wire.values import WireError
from balancer.wire.zmtp import FRAMING, OLD_FRAMING, Decoder, Framing, Message, encode_command

_SIGNATURE = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f"
"""Which a peer of version 1.0 takes for our routing id, an empty one."""
_VERSION_AT = len(_SIGNATURE)
_GREETING_BYTES, _GREETING_2_BYTES = 64, 12
_MECHANISM = b"NULL".ljust(20, b"\0")
_MECHANISM_AT = _VERSION_AT + 2
_OUR_GREETING = _SIGNATURE + b"\x03\x01" + _MECHANISM + bytes(32)
_OUR_GREETING_2 = _SIGNATURE + b"\x03\x06" + b"\x00\x00"
"""Our version, a ROUTER's number, and our routing id, an empty one."""
_KINDS = {b"REQ", b"DEALER", b"ROUTER"}
_KINDS_2 = {3, 5, 6}
"""The same by their numbers."""


def _encode_property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


_READY = encode_command(
    b"READY", _encode_property(b"Socket-Type", b"ROUTER") + _encode_property(b"Identity", b"")
)
_PING = b"\x04PING"
_PING_CONTEXT_AT = len(_PING) + 2
"""After the time to live, which is of no use to who answers."""
_PING_CONTEXT_BYTES_MAX = 16


class Peer:
    """The other end of a connection: ``feed`` it what comes, send what ``to_send`` holds, ``take``
    its messages. WireError if it is no peer of ours, or what it says makes no sense: close it."""

    __slots__ = (
        "_decoder",
        "_greeting",
        "_limits",
        "_said_bytes",
        "_version",
        "framing",
        "is_ready",
        "to_send",
    )

    def __init__(self, frame_bytes_max: int, frames_max: int) -> None:
        """Of a message with more frames than that, the first ones are kept."""
        self.to_send = _SIGNATURE
        """What is said beside messages, for the caller to take away."""
        self.is_ready = False
        """It has told what it is: what follows are messages."""
        self.framing = FRAMING
        """How to write to it."""
        self._limits = frame_bytes_max, frames_max
        self._said_bytes = len(_SIGNATURE)
        self._greeting = b""
        self._version = 0
        self._decoder: Decoder | None = None
        """Once the greeting is over."""

    @property
    def missing_bytes(self) -> int:
        """So many are still to come of a large frame."""
        return self._decoder.missing_bytes if self._decoder is not None else 0

    @property
    def has_more(self) -> bool:
        """There is more to ``take`` of what was fed already."""
        return self._decoder is not None and self._decoder.has_more

    def feed(self, data: bytes) -> None:
        if self._decoder is not None:
            self._decoder.feed(data)
        else:
            self._greeting += data
            self._read_greeting(self._greeting)

    def take(self, most: int) -> list[Message]:
        """The next messages, so many at most."""
        decoder = self._decoder
        if decoder is None:
            return []
        if not self.is_ready:
            self._become_ready(decoder)
            if not self.is_ready:
                return []
        messages = decoder.take(most)
        if decoder.commands:
            self._answer(decoder.commands)
        return messages

    # --- the greeting -----------------------------------------------------------------------------

    def _read_greeting(self, greeting: bytes) -> None:
        if greeting[:1] != _SIGNATURE[:1]:
            self._begin(1, OLD_FRAMING, greeting)
        elif len(greeting) < _VERSION_AT:
            return
        elif not greeting[_VERSION_AT - 1] & 1:
            self._begin(1, OLD_FRAMING, greeting)
        elif len(greeting) == _VERSION_AT:
            self._say(_OUR_GREETING[: _VERSION_AT + 1])
        elif greeting[_VERSION_AT] >= 3:
            self._read_greeting_3(greeting)
        else:
            self._read_greeting_2(greeting)

    def _read_greeting_3(self, greeting: bytes) -> None:
        self._say(_OUR_GREETING)
        if len(greeting) < _GREETING_BYTES:
            return
        if not greeting.startswith(_MECHANISM, _MECHANISM_AT):
            raise WireError("it wants another mechanism than NULL")
        self._say(_OUR_GREETING + _READY)
        self._begin(3, FRAMING, greeting[_GREETING_BYTES:])

    def _read_greeting_2(self, greeting: bytes) -> None:
        self._say(_OUR_GREETING_2)
        if len(greeting) < _GREETING_2_BYTES:
            return
        if greeting[_GREETING_2_BYTES - 1] not in _KINDS_2:
            raise WireError("it is of a kind that does not ask")
        self._begin(2, FRAMING, greeting[_GREETING_2_BYTES:])

    def _say(self, all_of_it: bytes) -> None:
        """Whatever of this has not been said yet."""
        self.to_send += all_of_it[self._said_bytes :]
        self._said_bytes = len(all_of_it)

    def _begin(self, version: int, framing: Framing, data: bytes) -> None:
        self._version, self.framing, self._greeting = version, framing, b""
        self._decoder = Decoder(framing, *self._limits)
        self._decoder.feed(data)

    # --- what it is -------------------------------------------------------------------------------

    def _become_ready(self, decoder: Decoder) -> None:
        """The first thing is what it says of itself; an old peer does so in a message."""
        messages = decoder.take(1)
        if self._version < 3:
            self.is_ready = bool(messages)
        elif messages:
            raise WireError("it has not said what it is")
        elif decoder.commands:
            _check_ready(decoder.commands.pop())
            self.is_ready = True

    def _answer(self, commands: list[bytes]) -> None:
        """Who asks for a sign of life gets it; whatever else there is means nothing here."""
        for command in commands:
            if command.startswith(_PING):
                context = command[_PING_CONTEXT_AT : _PING_CONTEXT_AT + _PING_CONTEXT_BYTES_MAX]
                self.to_send += encode_command(b"PONG", context)
        commands.clear()


def _check_ready(command: bytes) -> None:
    """WireError unless it says that the peer is one that asks."""
    name, data = _split_name(command)
    if name != b"READY":
        raise WireError("it has not said what it is")
    while data:
        name, data = _split_name(data)
        end = 4 + int.from_bytes(data[:4], "big")
        if len(data) < end:
            raise WireError("what it says of itself is cut off")
        value, data = data[4:end], data[end:]
        if name.lower() == b"socket-type" and value in _KINDS:
            return
    raise WireError("it is of a kind that does not ask")


def _split_name(data: bytes) -> tuple[bytes, bytes]:
    end = 1 + data[0] if data else 1
    return data[1:end], data[end:]
