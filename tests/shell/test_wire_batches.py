"""The messages of batches, both ends: what is said is what is read, and nonsense is garbled."""

import random
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from balancer.core.events import Batching, Outcome, WorkerReply
from balancer.wire import tasks, values
from balancer.wire.task import Task
from balancer.wire.values import WireError
from balancer.wire.worker_replies import decode_batch_reply, decode_pong

LIMIT_BYTES = 1000
EMPTY, GARBLED = WorkerReply(Outcome.EMPTY), WorkerReply(Outcome.GARBLED)
EXPIRED = WorkerReply(Outcome.EXPIRED)


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


def answer(value: Any) -> WorkerReply:
    return WorkerReply(Outcome.ANSWER, value=pack(value))


# --- the pong -------------------------------------------------------------------------------------


def test_a_worker_of_ours_says_what_it_does_with_a_batch() -> None:
    assert decode_pong(tasks.PONG_EACH) is Batching.EACH
    assert decode_pong(tasks.PONG_WHOLE) is Batching.WHOLE


@pytest.mark.parametrize(
    "frames",
    [
        [pack("pong")],
        [pack("each")],
        [pack({})],
        [pack({"batch": None})],
        [pack({"batch": "none"})],
        [pack({"batch": "WHOLE"})],
        [pack({"batch": b"each"})],
        [pack({"batch": ["each"]})],
        [pack({"batch": True})],
        [pack({"batch": "each"}) + b"\x00"],
        [pack({"batch": "each", "x": "x" * values.HEADER_BYTES_MAX})],
        [pack({"batch": "each"}), b""],
        [b"", pack({"batch": "each"})],
        [b"\xc1"],
        [b""],
    ],
)
def test_any_other_pong_means_that_it_does_not_know_batches(frames: list[bytes]) -> None:
    assert decode_pong(frames) is Batching.NONE


# --- the tasks ------------------------------------------------------------------------------------

HEADERS = [("r-1", 1, 1.5, None), ("r-2", 3, 0.0004, None)]
ENTRIES = [["r-1", 1, 1500, None], ["r-2", 3, 0, 1001.25]]
OUR_HEADERS = [("r-1", 1, 1.5, 1001.25), ("r-2", 3, 0.0004, 1002.5)]
OUR_TASKS = [Task(b"\x01", *OUR_HEADERS[0]), Task(b"\x02", *OUR_HEADERS[1])]
FIXED_HEADER = tasks.encode_batch(OUR_HEADERS, [b"\x01", b"\x02"])[0]


def test_a_batch_arrives_as_it_was_sent() -> None:
    frames = tasks.encode_batch(HEADERS, [b"\x01", b"\x02"])
    assert msgpack.unpackb(frames[0]) == {"batch": [["r-1", 1, 1500, None], ["r-2", 3, 0, None]]}
    assert tasks.decode_batch(frames) == [
        Task(b"\x01", "r-1", 1, 1.5),
        Task(b"\x02", "r-2", 3, 0.0),
    ]


def test_a_worker_of_ours_is_told_of_a_batch_in_a_fixed_form() -> None:
    entries = struct.pack("<IddIdd", 1, 1.5, 1001.25, 3, 0.0004, 1002.5)
    header = b"\xc1\x00" + entries + b"r-1\0r-2"
    assert tasks.encode_batch(OUR_HEADERS, [b"\x01", b"\x02"])[0] == header
    assert tasks.decode_batch([FIXED_HEADER, b"\x01", b"\x02"]) == OUR_TASKS


def test_a_fixed_header_of_fewer_or_of_more_is_a_wire_error() -> None:
    payloads = [b"\x01"] * 3
    with pytest.raises(WireError, match="not of 3 tasks"):
        tasks.decode_batch([FIXED_HEADER, *payloads])
    headers = [FIXED_HEADER[:end] for end in range(1, len(FIXED_HEADER) - len("\0r-2"))]
    for header in (*headers, FIXED_HEADER + b"\0"):
        with pytest.raises(WireError, match="not of 2 tasks"):
            tasks.decode_batch([header, *payloads[:2]])


def test_what_travels_alone_is_not_as_long_as_a_batch() -> None:
    alone = tasks.encode_task(*OUR_HEADERS[0], b"\x01")
    for frames in (alone, tasks.encode_task(*HEADERS[0], b"\x01"), [b"\x01"], tasks.PING):
        assert len(frames) <= tasks.LONE_FRAMES_MAX
    assert len(tasks.encode_batch(OUR_HEADERS, [b"", b""])) > tasks.LONE_FRAMES_MAX


def test_the_largest_batch_arrives() -> None:
    headers = [("r" * 200, 1000, 1e6, 1e6)] * values.BATCH_MAX
    frames = tasks.encode_batch(headers, [b"\x01"] * values.BATCH_MAX)
    assert len(frames[0]) <= values.worker_frame_bytes_max(1)
    assert tasks.decode_batch(frames) == [Task(b"\x01", *header) for header in headers]


def test_one_more_is_too_many() -> None:
    count = values.BATCH_MAX + 1
    with pytest.raises(WireError):
        tasks.decode_batch(tasks.encode_batch(HEADERS[:1] * count, [b"\x01"] * count))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        pack([]),
        pack({}),
        pack({"batch": None}),
        pack({"batch": 2}),
        pack({"batch": []}),
        pack({"batch": ENTRIES[:1]}),
        pack({"batch": [*ENTRIES, ENTRIES[0]]}),
        pack({"batch": {"a": 1, "b": 2}}),
        pack({"batch": "ab"}),
        pack({"batch": [ENTRIES[0], None]}),
        pack({"batch": [ENTRIES[0], "abcd"]}),
        pack({"batch": [ENTRIES[0], ["r-2", 1, 5]]}),
        pack({"batch": [ENTRIES[0], ["r-2", 1, 5, None, None]]}),
        pack({"batch": [ENTRIES[0], [7, 1, 5, None]]}),
        pack({"batch": [ENTRIES[0], [None, 1, 5, None]]}),
        pack({"batch": [ENTRIES[0], ["r-2", True, 5, None]]}),
        pack({"batch": [ENTRIES[0], ["r-2", None, 5, None]]}),
        pack({"batch": [ENTRIES[0], ["r-2", 1, -5, None]]}),
        pack({"batch": [ENTRIES[0], ["r-2", 1, "5", None]]}),
        pack({"batch": [ENTRIES[0], ["r-2", 1, float("nan"), None]]}),
        pack({"batch": [ENTRIES[0], ["r-2", 1, 5, 1001]]}),
        pack({"batch": ENTRIES, "x": "x" * values.batch_header_bytes_max(2)}),
        pack({"batch": ENTRIES}) + b"\x00",
    ],
)
def test_tasks_that_make_no_sense_are_a_wire_error(header: bytes) -> None:
    with pytest.raises(WireError):
        tasks.decode_batch([header, b"\x01", b"\x02"])


# --- the replies ----------------------------------------------------------------------------------


def classified(*frames: bytes, is_trusted: bool = False) -> tuple[WorkerReply, ...]:
    return decode_batch_reply(frames, 3, LIMIT_BYTES, is_trusted)[0]


@pytest.mark.parametrize("is_trusted", [False, True])
def test_answers_and_empty_replies_need_no_more_than_their_number(is_trusted: bool) -> None:
    replies = [tasks.encode_value("a"), tasks.EMPTY_REPLY, tasks.encode_value(None)]
    frames = tasks.encode_batch_reply(replies)
    assert frames == [pack({"batch": 3, "took_us": 1}), pack("a"), b"", pack(None)]
    assert classified(*frames, is_trusted=is_trusted) == (answer("a"), EMPTY, answer(None))


def test_they_tell_how_long_they_took_together_if_all_went_well() -> None:
    values = [tasks.encode_value(number) for number in range(3)]
    frames = tasks.encode_batch_reply(values, 0.0021)
    assert decode_batch_reply(frames, 3, LIMIT_BYTES, True)[1] == 0.0021
    frames = tasks.encode_batch_reply([*values[:2], tasks.encode_error(500, "no")], 0.0021)
    assert decode_batch_reply(frames, 3, LIMIT_BYTES, True)[1] is None
    frames[0] = pack({"batch": 3, "took_us": -1})
    assert decode_batch_reply(frames, 3, LIMIT_BYTES, True)[1] is None


def test_of_a_worker_of_another_hand_all_values_are_looked_at() -> None:
    frames = [pack({"batch": 3}), pack("a"), b"\xc1", pack("c")]
    assert {reply.outcome for reply in classified(*frames)} == {Outcome.GARBLED}


class Large:
    """A frame that stays where it was received."""

    def __init__(self, data: bytes) -> None:
        self.buffer = memoryview(data)

    def __len__(self) -> int:
        return len(self.buffer)


def test_the_value_of_a_frame_that_stays_where_it_is_is_what_is_in_it() -> None:
    values_of_ours: list[values.Blob] = [pack("a"), Large(pack("b")), pack("c")]
    frames = [pack({"batch": 3, "took_us": 1}), *values_of_ours]
    replies, _ = decode_batch_reply(frames, 3, LIMIT_BYTES, is_trusted=True)
    assert [bytes(reply.value) for reply in replies] == [pack("a"), pack("b"), pack("c")]


@pytest.mark.parametrize("is_trusted", [False, True])
def test_each_error_stands_beside_the_others_answers(is_trusted: bool) -> None:
    replies = [
        tasks.encode_error(500, "ValueError: no"),
        tasks.encode_value("b"),
        tasks.encode_error(504, "too late"),
    ]
    frames = tasks.encode_batch_reply(replies)
    assert msgpack.unpackb(frames[0]) == {
        "batch": [
            {"status": 500, "error": "ValueError: no"},
            None,
            {"status": 504, "error": "too late"},
        ]
    }
    assert frames[1:] == [pack(None), pack("b"), pack(None)]
    error = WorkerReply(Outcome.ANSWER, 500, error="ValueError: no")
    assert classified(*frames, is_trusted=is_trusted) == (error, answer("b"), EXPIRED)


def errors_of_the_largest_batch(text: str) -> set[str]:
    count = values.BATCH_MAX
    frames = tasks.encode_batch_reply([tasks.encode_error(500, text)] * count)
    assert len(frames[0]) <= values.worker_frame_bytes_max(1)
    replies, _ = decode_batch_reply(frames, count, LIMIT_BYTES, is_trusted=True)
    assert {reply.status for reply in replies} == {500}
    return {reply.error for reply in replies}


def test_a_thousand_plain_characters_of_error_arrive_for_each_of_the_largest_batch() -> None:
    assert errors_of_the_largest_batch("x" * 1000) == {"x" * 1000}


def test_longer_errors_are_cut_to_what_fits() -> None:
    [short] = errors_of_the_largest_batch("x" * 4000)
    assert len(pack({"status": 500, "error": short})) == values.BATCH_ENTRY_BYTES_MAX
    [short] = errors_of_the_largest_batch("\N{GRINNING FACE}" * 1000)
    assert set(short) == {"\N{GRINNING FACE}"}
    assert 240 < len(short) < 256


def test_one_long_error_is_not_cut() -> None:
    text = "\N{GRINNING FACE}" * 1000
    replies = [tasks.encode_error(500, text), tasks.encode_error(400, "x"), tasks.EMPTY_REPLY]
    assert classified(*tasks.encode_batch_reply(replies))[0].error == text


NONSENSE = [
    b"",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    pack(3),
    pack([None, None, None]),
    pack({}),
    pack({"batch": None}),
    pack({"batch": True}),
    pack({"batch": 3.0}),
    pack({"batch": "3"}),
    pack({"batch": 2}),
    pack({"batch": 4}),
    pack({"batch": -3}),
    pack({"batch": 2**64 - 1}),
    pack({"batch": []}),
    pack({"batch": [None, None]}),
    pack({"batch": [None, None, None, None]}),
    pack({"batch": {"a": None, "b": None, "c": None}}),
    pack({"batch": [None, None, 500]}),
    pack({"batch": [None, None, [500, "x"]]}),
    pack({"batch": [None, None, {}]}),
    pack({"batch": [None, None, False]}),
    pack({"batch": [None, None, {"status": 200}]}),
    pack({"batch": [None, None, {"status": 503, "error": "x"}]}),
    pack({"batch": [None, None, {"status": True}]}),
    pack({"batch": [None, None, {"status": 500.0}]}),
    pack({"batch": [None, None, {"status": 500, "error": b"x"}]}),
    pack({"batch": [None, None, {500: "status"}]}),
    pack({"batch": [None, None, msgpack.ExtType(5, b"x")]}),
    pack({"batch": [[None] * 500] * 3}),
    pack({"batch": 3, "took_us": 0}) + b"\x00",
    pack({"batch": 3, "x": "x" * values.batch_header_bytes_max(3)}),
    pack({"status": 500, "error": "x"}),
]


@pytest.mark.parametrize("is_trusted", [False, True])
@pytest.mark.parametrize("header", NONSENSE, ids=lambda header: header[:30].hex())
def test_a_reply_under_a_header_that_makes_no_sense_is_garbled(
    header: bytes, is_trusted: bool
) -> None:
    assert classified(header, b"\x01", b"\x02", b"\x03", is_trusted=is_trusted) == (GARBLED,) * 3


@pytest.mark.parametrize("count", [0, 1, 2, 4, 100])
@pytest.mark.parametrize("header", [pack({"batch": 3, "took_us": 0}), pack({"batch": [None] * 3})])
def test_a_wrong_number_of_values_is_garbled(header: bytes, count: int) -> None:
    assert classified(header, *[b"\x01"] * count, is_trusted=True) == (GARBLED,) * 3


def test_the_reply_to_a_lone_request_is_none_to_a_batch() -> None:
    for frames in (tasks.encode_value("x"), tasks.EMPTY_REPLY, tasks.encode_error(500, "x")):
        assert classified(*frames, is_trusted=True) == (GARBLED,) * 3


@pytest.mark.parametrize("header", [pack({"batch": 3, "took_us": 0}), pack({"batch": [None] * 3})])
def test_a_value_that_is_not_msgpack_is_garbled_unless_it_comes_from_our_own(
    header: bytes,
) -> None:
    for value in (b"\xc1", b"\x01\x02", b"\x92\x01", b"plain text", b"\x91" * 900 + b"\x92\x01"):
        frames = [header, b"\x01", b"", value]
        assert classified(*frames) == (GARBLED,) * 3
        trusted = classified(*frames, is_trusted=True)
        assert trusted == (answer(1), EMPTY, WorkerReply(Outcome.ANSWER, value=value))


@pytest.mark.parametrize("is_trusted", [False, True])
def test_a_value_above_the_limit_is_garbled_that_of_an_error_too(is_trusted: bool) -> None:
    at_limit, beyond = pack("x" * (LIMIT_BYTES - 3)), pack("x" * (LIMIT_BYTES - 2))
    header = pack({"batch": [None, None, {"status": 500}]})
    assert GARBLED not in classified(header, b"\x01", b"", at_limit, is_trusted=is_trusted)
    assert classified(header, b"\x01", b"", beyond, is_trusted=is_trusted) == (GARBLED,) * 3


def test_an_errors_value_is_ignored() -> None:
    header = pack({"batch": [None, None, {"status": 500}]})
    for ignored in (b"", b"\xc1"):
        replies = classified(header, b"\x01", b"\x01", ignored)
        assert replies[2] == WorkerReply(Outcome.ANSWER, 500)


# --- noise ----------------------------------------------------------------------------------------

SEEDS: list[Sequence[bytes]] = [
    tasks.encode_batch(HEADERS, [b"\x01", b"\x02"]),
    tasks.encode_batch(OUR_HEADERS, [b"\x01", b"\x02"]),
    tasks.encode_batch_reply([tasks.EMPTY_REPLY, tasks.encode_value([1, 2])]),
    tasks.encode_batch_reply([tasks.encode_error(500, "no"), tasks.encode_value([1, 2])]),
    [pack({"batch": [None, {"status": 504}]}), b"", b""],
]


def noise(chance: random.Random) -> list[bytes]:
    """A good message in which some bytes were changed, and frames may have gone or come."""
    frames = [bytearray(frame) for frame in chance.choice(SEEDS)]
    for _ in range(chance.randrange(4)):
        frame = chance.choice(frames)
        if frame:
            frame[chance.randrange(len(frame))] = chance.randrange(256)
    if chance.random() < 0.1:
        frames.insert(chance.randrange(3), bytearray(chance.randbytes(5)))
    if chance.random() < 0.1:
        del frames[chance.randrange(3)]
    return [bytes(frame) for frame in frames]


def test_noise_never_raises_anything_but_a_wire_error() -> None:
    chance = random.Random(20_240_229)
    outcomes: set[str] = set()
    for _ in range(10_000):
        frames = noise(chance)
        replies, _ = decode_batch_reply(frames, 2, 60, chance.random() < 0.5)
        assert len(replies) == 2
        outcomes |= {reply.outcome for reply in replies}
        decode_pong(frames)
        try:
            tasks.decode_batch(frames)
            outcomes.add("tasks")
        except WireError:
            outcomes.add("unreadable tasks")
    assert outcomes == {*Outcome, "tasks", "unreadable tasks"}
