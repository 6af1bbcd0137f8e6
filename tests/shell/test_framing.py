"""Messages on a stream: whole however they are cut, and nonsense is told from them."""

import random
import struct

import pytest

from balancer.wire.framing import FRAMES_MAX, Assembler, encode, encode_head, frame_of, pack_one
from balancer.wire.values import WireError

FRAME_BYTES_MAX = 1000


def message(*frames: bytes) -> bytes:
    return b"".join((encode_head(frames), *frames))


@pytest.mark.parametrize("count", [1, 2, 3, FRAMES_MAX])
def test_a_small_message_is_its_head_and_its_frames(count: int) -> None:
    frames = [bytes([number % 251]) * (1 + number % 7) for number in range(count)]
    assert encode(frames) == message(*frames)


def test_the_frame_of_a_message_that_has_only_one_is_told_at_once() -> None:
    for frame in (b"", b"x", bytes(FRAME_BYTES_MAX)):
        assert frame_of(pack_one(1, len(frame)) + frame) == frame_of(message(frame)) == frame
    for data in (b"", message(b"one")[:-1], message(b"one") + b"x", message(b"a", b""), bytes(16)):
        assert frame_of(data) is None
    assert frame_of(head(2, 3) + b"one") is None


def head(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


@pytest.mark.parametrize(
    "frames",
    [
        [b"one"],
        [b""],
        [b"header", b"payload"],
        [b"", b"", b""],
        [bytes(FRAME_BYTES_MAX)] * 3,
        [b"x"] * FRAMES_MAX,
    ],
)
def test_a_message_is_its_frames_again(frames: list[bytes]) -> None:
    assembler = Assembler(FRAME_BYTES_MAX)
    for _ in range(2):
        assert assembler.take(message(*frames)) == frames


@pytest.mark.parametrize(
    "frames", [[b"one"], [b"header", b"payload"], [b"header", b"", b"payload"]]
)
def test_a_message_is_whole_wherever_it_is_cut(frames: list[bytes]) -> None:
    whole = message(*frames)
    assembler = Assembler(FRAME_BYTES_MAX)
    for at in range(1, len(whole)):
        assert assembler.take(whole[:at]) is None
        assert assembler.take(whole[at:]) == frames


def test_a_message_is_whole_however_often_it_is_cut() -> None:
    dice = random.Random(5)
    assembler = Assembler(FRAME_BYTES_MAX)
    for _ in range(300):
        frames = [dice.randbytes(dice.randrange(40)) for _ in range(dice.randrange(1, 6))]
        rest, pieces = message(*frames), []
        while rest:
            size = dice.randrange(1, 1 + min(12, len(rest)))
            pieces.append(rest[:size])
            rest = rest[size:]
        *before, last = pieces
        assert [assembler.take(piece) for piece in before] == [None] * len(before)
        assert assembler.take(last) == frames


@pytest.mark.parametrize(
    "data",
    [
        head(0),
        head(FRAMES_MAX + 1),
        b"GET / HTTP/1.1\r\n",
        head(1, FRAME_BYTES_MAX + 1) + b"x",
        head(1, 1 << 63),
        head(1, 3) + b"three",
        message(b"one") + message(b"two"),
        message(b"header", b"payload") + message(b"header", b"payload"),
        message(b"a", b"b", b"c") + b"d",
    ],
)
def test_nonsense_is_no_message(data: bytes) -> None:
    with pytest.raises(WireError):
        Assembler(FRAME_BYTES_MAX).take(data)


def test_what_follows_a_message_in_its_last_piece_is_nonsense() -> None:
    assembler = Assembler(FRAME_BYTES_MAX)
    assert assembler.take(message(b"header", b"payload")[:-3]) is None
    with pytest.raises(WireError):
        assembler.take(b"oadmore")
