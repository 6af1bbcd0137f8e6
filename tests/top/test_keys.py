"""Bytes become keys, in whatever pieces they arrive."""

import pytest

from balancer.top.keys import PENDING_MAX, Decoder


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"dq?", ["d", "q", "?"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F", ["page up", "page down", "home", "end"]),
        ("ü▸".encode(), ["ü", "▸"]),
        (b"\xffd", ["�", "d"]),
        (b"\r\n\t\x00d", ["d"]),
        (b"\x1b[1;5Cd", ["d"]),
        (b"\x1b[<0;10;10Md", ["d"]),
        (b"\x1bxy", ["y"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\x1b[200~xy\x1b[Aq\x1b[201~d", ["d"]),
    ],
    ids=[
        "characters",
        "arrows",
        "arrows of another mode",
        "far steps",
        "other letters",
        "no UTF-8",
        "controls",
        "an unknown key",
        "a mouse",
        "alt and a letter",
        "escape and an arrow",
        "a paste",
    ],
)
def test_keys_are_the_same_in_one_piece_and_byte_by_byte(data: bytes, keys: list[str]) -> None:
    assert Decoder().feed(data) == keys
    decoder = Decoder()
    assert [key for byte in data for key in decoder.feed(bytes([byte]))] == keys
    assert not decoder.is_unfinished


def test_an_escape_after_which_nothing_comes_is_the_key() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.is_unfinished
    assert decoder.give_up_waiting() == ["escape"]
    assert not decoder.is_unfinished
    assert decoder.feed(b"[A") == ["[", "A"]


def test_a_sequence_that_breaks_off_is_no_key() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b[1;") == []
    assert decoder.give_up_waiting() == []
    assert decoder.feed(b"d") == ["d"]


def test_what_never_ends_is_not_kept() -> None:
    decoder = Decoder()
    decoder.feed(b"\x1b[" + b"1" * PENDING_MAX)
    assert not decoder.is_unfinished
    assert decoder.feed(b"d") == ["d"]


def test_a_paste_that_goes_on_is_waited_for_and_not_kept() -> None:
    decoder = Decoder()
    assert decoder.feed(b"\x1b[200~") == []
    for _ in range(1000):
        assert decoder.feed(b"y" * 1000) == []
    assert not decoder.is_unfinished
    assert decoder.feed(b"\x1b[201~d") == ["d"]
