"""ZMTP's messages come out of a stream as they went in, however it is cut, and nonsense is told."""

import random
import tracemalloc
from collections.abc import Iterable

import pytest

from balancer.wire.values import LARGE_BYTES, WireError
from balancer.wire.zmtp import (
    FRAMES_PER_MESSAGE,
    FRAMING,
    OLD_FRAMING,
    Decoder,
    Framing,
    Message,
    encode_command,
)

SIZES = (0, 1, 2, 254, 255, 256, 65_535, 65_536, 300_000)
FRAMES_MAX = 11
FRAME_BYTES_MAX = 1_000_000
BOTH = pytest.mark.parametrize("framing", [FRAMING, OLD_FRAMING], ids=["3", "1"])


def write(frames: list[bytes], framing: Framing = FRAMING) -> bytes:
    last = len(frames) - 1
    return b"".join(
        framing.write(number < last, len(frame)) + frame for number, frame in enumerate(frames)
    )


def read(decoder: Decoder, pieces: Iterable[bytes], most: int = 64) -> list[Message]:
    messages = []
    for piece in pieces:
        decoder.feed(piece)
        has_more = True
        while has_more:
            taken = decoder.take(most)
            assert len(taken) <= most
            messages += taken
            has_more = decoder.has_more
    return messages


def new(framing: Framing = FRAMING, frames_max: int = FRAMES_MAX) -> Decoder:
    return Decoder(framing, FRAME_BYTES_MAX, frames_max)


def cut(data: bytes, dice: random.Random, most: int) -> Iterable[bytes]:
    at = 0
    while at < len(data):
        size = dice.randrange(1, most + 1)
        yield data[at : at + size]
        at += size


def as_message(frames: list[bytes], framing: Framing = FRAMING) -> Message:
    """With the envelope as it was written."""
    end = frames.index(b"") + 1 if b"" in frames else 0
    # It goes ahead of more, even where nothing came after it.
    return frames, write([*frames[:end], b"body"], framing)[: -len(b"..body")] if end else b""


def test_a_head_is_flags_and_size_and_the_size_of_a_large_frame_has_eight_bytes() -> None:
    assert FRAMING.write(1, 255) == b"\x01\xff"
    assert FRAMING.write(0, 256) == b"\x02\0\0\0\0\0\0\x01\0"
    assert encode_command(b"PONG", b"x") == b"\x04\x06\x04PONGx"


def test_an_old_head_is_size_and_flags_and_the_flags_count() -> None:
    assert OLD_FRAMING.write(1, 253) == b"\xfe\x01"
    assert OLD_FRAMING.write(0, 254) == b"\xff\0\0\0\0\0\0\0\xff\0"


USUAL = [[b"name", b"", b"body"], [b"n", b"", b"\x01\0\0"], [b"name", b"", b""]]
UNUSUAL = [[b"tag", b"", b"x" * 256], [b"alone"], [b"", b"h", b"p"], [b"a", b""], [b""]]
ALMOST = [[b"", b"", b"body"], [b"name", b"", b"h", b"p"], [b"name", b"no", b"", b"body"]]
ALMOST_OLD = [[b"", b"\0\0\x03abcdef", b"which would be usual with the heads of today"]]


@BOTH
@pytest.mark.parametrize("most", [1, 2, 64])
def test_a_message_is_whole_wherever_it_is_cut(framing: Framing, most: int) -> None:
    messages = [*USUAL, *UNUSUAL, *USUAL, *ALMOST, *USUAL, *ALMOST_OLD]
    data = b"".join(write(frames, framing) for frames in messages)
    whole = [as_message(frames, framing) for frames in messages]
    for at in range(len(data) + 1):
        assert read(new(framing), [data[:at], data[at:]], most) == whole


@BOTH
@pytest.mark.parametrize("seed", range(12))
def test_messages_of_all_sizes_are_whole_however_often_they_are_cut(
    framing: Framing, seed: int
) -> None:
    dice = random.Random(seed)
    messages = [
        [
            *(dice.randbytes(dice.choice(SIZES[:6])) for _ in range(dice.randrange(3))),
            *([b""] * dice.randrange(2)),
            *(dice.randbytes(dice.choice(SIZES[:6])) for _ in range(dice.randrange(3))),
            dice.randbytes(dice.choice(SIZES)),
        ]
        for _ in range(9)
    ]
    data = b"".join(write(frames, framing) for frames in messages)
    whole = [as_message(frames, framing) for frames in messages]
    most_bytes = dice.choice([5_000, 65_536, 300_000])
    pieces = list(cut(data, dice, most_bytes))
    assert read(new(framing), pieces, dice.choice([1, 2, 64])) == whole


@BOTH
@pytest.mark.parametrize("piece_bytes", [50_000, 700_000, 2_000_000])
def test_large_frames_ahead_of_the_empty_one_are_not_kept(
    framing: Framing, piece_bytes: int
) -> None:
    cargo, payload = bytes(300_000), b"x" * 300_000
    data = write([cargo, cargo, b"", payload], framing) + write([b"", payload], framing)
    pieces = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
    (frames, envelope), good = read(new(framing), pieces)
    assert [len(frame) for frame in frames] == [256, 256, 0, 300_000]
    assert envelope == b""
    assert good == as_message([b"", payload], framing)


@BOTH
def test_frames_without_end_are_looked_at_a_share_at_a_time(framing: Framing) -> None:
    decoder = new(framing)
    decoder.feed(b"".join(write([b"x"] * 1000 + [b"last"], framing) for _ in range(2)))
    takes = 0
    while not decoder.take(2):
        takes += 1
        assert decoder.has_more
    assert takes == 1001 // (2 * FRAMES_PER_MESSAGE)


def test_one_takes_as_much_as_one_wants_and_knows_that_there_is_more() -> None:
    decoder = new()
    decoder.feed(b"".join(write([b"", bytes([number])]) for number in range(5)))
    taken = [decoder.take(2)]
    while decoder.has_more:
        taken.append(decoder.take(2))
    assert [[frames[1][0] for frames, _ in messages] for messages in taken] == [[0, 1], [2, 3], [4]]


def test_commands_come_beside_the_messages_and_count_as_one() -> None:
    command = encode_command(b"PING", b"\0\0")
    decoder = new()
    decoder.feed(command * 3 + write([b"", b"1"]) + command + write([b"", b"2"]))
    assert (decoder.take(2), decoder.has_more, len(decoder.commands)) == ([], True, 2)
    assert [frames[1] for frames, _ in decoder.take(64)] == [b"1", b"2"]
    assert (decoder.has_more, decoder.commands) == (False, [command[2:]] * 4)


def test_a_command_between_frames_is_no_part_of_the_message_or_its_envelope() -> None:
    frames = [b"tag", b"", b"header", b"payload"]
    heads = [FRAMING.write(number < 3, len(frame)) for number, frame in enumerate(frames)]
    command = encode_command(b"PING", b"\0\0")
    for place in range(5):
        parts = [head + frame for head, frame in zip(heads, frames, strict=True)]
        parts.insert(place, command)
        data = b"".join(parts)
        for at in range(len(data)):
            assert read(new(), [data[:at], data[at:]]) == [as_message(frames)]


def test_a_command_may_have_a_long_head_and_no_more_than_a_piece() -> None:
    decoder = new()
    assert read(decoder, cut(encode_command(b"READY", bytes(3000)), random.Random(1), 700)) == []
    assert decoder.commands == [b"\x05READY" + bytes(3000)]
    decoder.feed(encode_command(b"READY", bytes(LARGE_BYTES))[:1000])
    with pytest.raises(WireError, match="a command of"):
        decoder.take(64)


def test_the_envelope_is_what_came_up_to_the_first_empty_frame() -> None:
    long_heads = b"\x03" + (3).to_bytes(8, "big") + b"tag" + b"\x03" + bytes(8)
    assert read(new(), [long_heads + b"\0\1x"]) == [([b"tag", b"", b"x"], long_heads)]


@pytest.mark.parametrize("size_bytes", [1, 300, 300_000])
def test_frames_beyond_the_most_are_dropped(size_bytes: int) -> None:
    frames = [b"", *(bytes([number]) * size_bytes for number in range(20))]
    data = write(frames) + write([b"", b"next"])
    for most_bytes in (3_000, 65_536):
        found = read(new(frames_max=3), cut(data, random.Random(2), most_bytes))
        assert [kept for kept, _ in found] == [frames[:3], [b"", b"next"]]


def test_a_large_frame_is_not_kept_where_it_is_dropped_nor_in_crumbs() -> None:
    size_bytes = 80_000
    head = FRAMING.write(0, size_bytes)
    for frames, times in (([b"", b"a", b"b"], 0.5), ([b""], 1.5)):
        decoder = new(frames_max=3)
        read(decoder, [write([*frames, b""])[:-2] + head])
        tracemalloc.start()
        read(decoder, (bytes((1, 2)) for _ in range(size_bytes // 2 - 1)))
        kept_bytes = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert kept_bytes < times * size_bytes


def test_an_envelope_without_end_is_not_kept_either() -> None:
    frames = [*[b"x"] * 5_000, b"", b"y"]
    for most_bytes in (1, 700, 100_000):
        found = read(new(), cut(write(frames), random.Random(3), most_bytes))
        assert found == [(frames[:FRAMES_MAX], b"")]


@pytest.mark.parametrize(
    "nonsense",
    [
        FRAMING.write(0, FRAME_BYTES_MAX + 1),
        b"\x02" + b"\xff" * 8,
        *(bytes([flags]) + b"\x01x" for flags in (5, 7, 8, 9, 0x10, 0x80, 0xFF)),
    ],
)
def test_nonsense_is_told_when_all_before_it_was_taken(nonsense: bytes) -> None:
    for most in (1, 2, 64):
        decoder = new()
        decoder.feed(write([b"", b"1"]) + write([b"", b"2"]) + write([b"begun", b""])[:-2])
        assert [m[0][1] for m in decoder.take(64)] == [b"1", b"2"]
        decoder.feed(b"\0\0" + write([b"", b"3"]) + nonsense)
        for number in [1, 1] if most == 1 else [2]:
            assert len(decoder.take(most)) == number
            assert decoder.has_more
        with pytest.raises(WireError):
            decoder.take(most)


@pytest.mark.parametrize("nonsense", [b"\0\0", b"\xff" * 10, b"\xff" + bytes(9)])
def test_an_old_frame_has_flags_and_is_not_too_large(nonsense: bytes) -> None:
    decoder = new(OLD_FRAMING)
    decoder.feed(write([b"1"], OLD_FRAMING) + nonsense)
    assert len(decoder.take(64)) == 1
    with pytest.raises(WireError):
        decoder.take(64)


def test_of_what_comes_by_the_byte_no_more_is_looked_at_again_than_a_frame() -> None:
    data = write([b"", *[b"0123456789"] * 5_000])
    pieces = [data[at : at + 1] for at in range(len(data))]
    tracemalloc.start()
    found = read(new(), pieces)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [len(frames) for frames, _ in found] == [FRAMES_MAX]
    assert peak_bytes < len(data) // 10
