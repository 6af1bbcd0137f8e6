"""Frames and msgpack, both ends: what is said is what is read, and nonsense is no accident."""

import copy
import pickle
import random
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack
import pytest

from balancer.core.events import (
    STATUS,
    FailedTry,
    Outcome,
    Reason,
    Refuse,
    RequestId,
    Why,
    WorkerReply,
)
from balancer.wire import replies, requests, tasks, values
from balancer.wire.reply import Reply, Try, decode_reply, decode_welcome
from balancer.wire.requests import Header, Unreadable
from balancer.wire.task import Task
from balancer.wire.values import LARGE_BYTES, Blob, WireError
from balancer.wire.worker_replies import decode_took_s, decode_worker_reply

PAYLOAD = msgpack.packb("hello")
LIMIT_BYTES = 1000


def pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x01"


# --- a client's request ------------------------------------------------------------------------


class Incoming(NamedTuple):
    """What was read."""

    header: Header
    payload: Blob


def read(*body: bytes, envelope: Sequence[bytes] = ()) -> Incoming | Unreadable:
    found = requests.decode_request([*envelope, b"", *body])
    return found if isinstance(found, Unreadable) else Incoming(*found)


def accepted(*body: bytes, envelope: Sequence[bytes] = ()) -> Incoming:
    incoming = read(*body, envelope=envelope)
    assert isinstance(incoming, Incoming), incoming
    return incoming


def refused(*body: bytes, envelope: Sequence[bytes] = ()) -> Unreadable:
    incoming = read(*body, envelope=envelope)
    assert isinstance(incoming, Unreadable), incoming
    return incoming


def test_one_body_frame_is_the_payload_and_nobody_decodes_it() -> None:
    incoming = accepted(b"\xc1 no msgpack at all")
    assert incoming == Incoming(Header(), b"\xc1 no msgpack at all")


def test_two_body_frames_are_header_and_payload() -> None:
    header = pack({"v": 1, "timeout_ms": 1500, "once": True})
    incoming = accepted(header, PAYLOAD)
    assert incoming.header == Header(timeout_s=1.5, once=True)
    assert incoming.payload == PAYLOAD


def test_everything_that_a_client_can_say_arrives() -> None:
    frames = requests.encode_request(
        {"x": 1},
        timeout_ms=2000,
        try_timeout_ms=250.5,
        once=True,
        route="fast",
        key="user-7",
        priority=0,
        id=b"\x00\xff",
    )
    assert accepted(*frames) == Incoming(
        Header(2.0, 0.2505, True, "fast", "user-7", 0, b"\x00\xff"),
        pack({"x": 1}),
    )


def test_what_a_client_leaves_out_is_left_out() -> None:
    assert requests.encode_request(1, timeout_ms=None, once=None) == [pack({"v": 1}), b"\x01"]
    assert accepted(*requests.encode_request(1)).header == Header()
    assert accepted(pack({}), PAYLOAD).header == Header()


def test_a_header_can_be_packed_without_its_payload() -> None:
    assert requests.encode_header(timeout_ms=5, id=None) == pack({"v": 1, "timeout_ms": 5})


def test_nil_is_the_same_as_saying_nothing() -> None:
    names = ("v", "timeout_ms", "try_timeout_ms", "once", "route", "key", "priority", "id", "hello")
    assert accepted(pack(dict.fromkeys(names)), PAYLOAD).header == Header()


@pytest.mark.parametrize("header", [{"x-trace": [1, {"a": None}]}, {b"bytes": 1}, {"": 1}])
def test_unknown_keys_are_ignored(header: dict[Any, Any]) -> None:
    assert accepted(pack({**header, "priority": 2}), PAYLOAD).header == Header(priority=2)


@pytest.mark.parametrize("count", [0, 1, requests.ENVELOPE_FRAMES_MAX])
def test_an_envelope_may_be_as_long_as_proxies_make_it(count: int) -> None:
    envelope = [bytes((65 + number,)) for number in range(count)]
    assert accepted(PAYLOAD, envelope=envelope) == Incoming(Header(), PAYLOAD)


def test_one_more_envelope_frame_is_too_many() -> None:
    envelope = [b"e"] * (requests.ENVELOPE_FRAMES_MAX + 1)
    assert refused(PAYLOAD, envelope=envelope).error == "too many frames"


@pytest.mark.parametrize(("extra", "is_read"), [(0, True), (1, False)])
def test_an_envelope_is_not_for_cargo(extra: int, is_read: bool) -> None:
    envelope = [b"e" * (requests.ENVELOPE_FRAME_BYTES_MAX + extra)]
    assert isinstance(read(PAYLOAD, envelope=envelope), Incoming) is is_read


def test_no_empty_frame_is_answered_without_an_envelope() -> None:
    for body in ([PAYLOAD], [b"a", PAYLOAD], [b"a", b"b", PAYLOAD], [b"a", b"b", b"c", PAYLOAD]):
        found = requests.decode_request(body)
        assert found == Unreadable("no empty frame between envelope and body")


def test_nothing_is_no_request() -> None:
    for frames in ([], [b""]):
        assert isinstance(requests.decode_request(frames), Unreadable)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([], "no body frame"),
        ([b""], "the payload is zero bytes long, which no msgpack value is"),
        ([pack({}), b""], "the payload is zero bytes long, which no msgpack value is"),
        ([pack({}), PAYLOAD, PAYLOAD], "too many frames"),
        ([b"", PAYLOAD], "header: not msgpack"),
    ],
)
def test_a_body_that_is_neither_one_value_nor_header_and_value(
    body: list[bytes], error: str
) -> None:
    assert refused(*body) == Unreadable(error)


@pytest.mark.parametrize(
    "header",
    [
        b"\x81",
        pack({}) + b"\x00",
        b"\xc1",
        nested(1025),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\x00\x01\x86\xa0" * 800,
        b"\x81\xa1\xff\x01",
        b"\x81\xa2id\xa2\xed\xa0",
        pack({1: 1}),
        pack({None: 1}),
        b"\x81\x91\x01\x01",
        b"\x81\x81\x01\x01\x01",
        pack({"x": msgpack.ExtType(5, b"abc")}),
        pack({"x": msgpack.Timestamp(1, 2)}),
        b"\x81\xa1x\xc7\x00\xff",
    ],
    ids=[
        "truncated",
        "trailing byte",
        "reserved byte",
        "too deep",
        "array of 4 billion",
        "map of 4 billion",
        "string of 4 GB",
        "bytes of 4 GB",
        "bomb of nested arrays",
        "bad UTF-8 in a key",
        "a surrogate",
        "int key",
        "nil key",
        "list key",
        "map key",
        "ext type",
        "timestamp",
        "broken timestamp",
    ],
)
def test_a_header_that_is_not_plain_msgpack_is_refused(header: bytes) -> None:
    assert refused(header, PAYLOAD).error == "header: not msgpack"


@pytest.mark.parametrize("value", [None, 1, "v", b"v", [], [1, 2], True, 1.5])
def test_a_header_that_is_no_map_is_refused(value: Any) -> None:
    assert refused(pack(value), PAYLOAD).error == "header: not a map"


def test_a_header_at_its_size_limit_is_read_and_one_byte_more_is_not() -> None:
    room = values.HEADER_BYTES_MAX - len(pack({"x": "a" * 300})) + 300
    at_limit = pack({"x": "a" * room})
    assert len(at_limit) == values.HEADER_BYTES_MAX
    assert accepted(at_limit, PAYLOAD).header == Header()
    beyond = pack({"x": "a" * (room + 1)})
    assert refused(beyond, PAYLOAD).error == "header: 4097 bytes, the limit is 4096"


DURATION = "header: {} must be a number of milliseconds, 0 or more"


@pytest.mark.parametrize("name", ["timeout_ms", "try_timeout_ms"])
@pytest.mark.parametrize(
    "value", [True, "5", b"5", [], float("nan"), float("inf"), -float("inf"), -1, -0.5]
)
def test_a_duration_is_a_number_of_milliseconds(name: str, value: Any) -> None:
    assert refused(pack({name: value}), PAYLOAD).error == DURATION.format(name)


@pytest.mark.parametrize(
    ("timeout_ms", "timeout_s"),
    [(0, 0.0), (1, 0.001), (2.5, 0.0025), (2**63, 2**63 / 1000), (2**64 - 1, (2**64 - 1) / 1000)],
)
def test_a_duration_may_be_nothing_or_very_long(timeout_ms: float, timeout_s: float) -> None:
    assert accepted(pack({"timeout_ms": timeout_ms}), PAYLOAD).header.timeout_s == timeout_s


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"v": 2}, "v must be 1"),
        ({"v": 0}, "v must be 1"),
        ({"v": True}, "v must be of type int"),
        ({"v": "1"}, "v must be of type int"),
        ({"v": 1.0}, "v must be of type int"),
        ({"once": 1}, "once must be of type bool"),
        ({"once": "maybe"}, "once must be of type bool"),
        ({"hello": 1}, "hello must be of type bool"),
        ({"route": b"fast"}, "route must be of type str"),
        ({"route": 7}, "route must be of type str"),
        ({"key": b"user"}, "key must be of type str"),
        ({"priority": 3}, "priority must be 0, 1 or 2"),
        ({"priority": -1}, "priority must be 0, 1 or 2"),
        ({"priority": True}, "priority must be of type int"),
        ({"priority": 1.0}, "priority must be of type int"),
        ({"id": 7}, "id must be bytes or str, of at most 255"),
        ({"id": ["x"]}, "id must be bytes or str, of at most 255"),
        ({"id": b"x" * 256}, "id must be bytes or str, of at most 255"),
    ],
)
def test_a_field_of_the_wrong_type_or_value_is_refused(fields: dict[str, Any], error: str) -> None:
    assert refused(pack(fields), PAYLOAD) == Unreadable(f"header: {error}")


@pytest.mark.parametrize("id", [b"", b"\x00\xff", "", "übung"])
def test_the_id_is_read_from_a_header_that_is_refused(id: bytes | str) -> None:
    assert accepted(pack({"id": id}), PAYLOAD).header.id == id
    assert refused(pack({"id": id, "v": 9}), PAYLOAD).id == id
    assert refused(pack({"id": id, "timeout_ms": "soon"}), PAYLOAD).id == id


def test_the_id_is_read_although_the_payload_is_missing() -> None:
    assert refused(pack({"id": "one"}), b"").id == "one"


def test_an_id_that_cannot_be_echoed_is_left_out() -> None:
    assert refused(pack({"id": 7, "v": 9}), PAYLOAD).id is None
    assert refused(b"\xc1", PAYLOAD).id is None


# --- the answer --------------------------------------------------------------------------------

TRIED = (FailedTry("server1-1", Why.DIED, 0.31204), FailedTry("server1-2", Why.EMPTY, 0.0004))
VALUES: list[Any] = [None, 0, "world", b"\xff", [1, [2, {"a": b"b"}]], {}, 2**64 - 1, "x" * 70_000]


@pytest.mark.parametrize("id", [None, b"\x01", "one"])
@pytest.mark.parametrize("tried", [(), TRIED])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_the_workers_bytes_are_spliced_into_a_valid_map(
    value: Any, tried: tuple[FailedTry, ...], id: requests.Echo
) -> None:
    frame = replies.encode_answer(
        WorkerReply(Outcome.ANSWER, value=pack(value)), "server2-1", 3, tried, id
    )
    expected: dict[str, Any] = {
        "status": 200,
        "body": value,
        "worker": "server2-1",
        "attempts": 3,
    }
    if tried:
        expected["tried"] = [
            {"worker": "server1-1", "why": "died", "ms": 312.0},
            {"worker": "server1-2", "why": "empty", "ms": 0.4},
        ]
    if id is not None:
        expected["id"] = id
    assert msgpack.unpackb(frame) == expected
    tries = (Try("server1-1", "died", 312.0), Try("server1-2", "empty", 0.4)) if tried else ()
    assert decode_reply(frame) == Reply(
        200, value, worker="server2-1", attempts=3, tried=tries, id=id
    )


def test_the_workers_bytes_are_not_packed_again() -> None:
    roundabout = b"\xcd\x00\x07"  # a 7 as nobody packs it
    frame = replies.encode_answer(WorkerReply(Outcome.ANSWER, value=roundabout), "a", 1, (), None)
    assert roundabout in frame
    assert decode_reply(frame).body == 7


@pytest.mark.parametrize(("status", "reason"), [(500, "handler_error"), (400, "malformed")])
def test_an_error_of_the_handler_has_no_body(status: int, reason: str) -> None:
    reply = WorkerReply(Outcome.ANSWER, status, b"\xc0", "ValueError: no")
    frame = replies.encode_answer(reply, "a", 2, TRIED[:1], "one")
    assert msgpack.unpackb(frame) == {
        "status": status,
        "error": "ValueError: no",
        "reason": reason,
        "worker": "a",
        "attempts": 2,
        "tried": [{"worker": "server1-1", "why": "died", "ms": 312.0}],
        "may_have_run": status == 500,
        "id": "one",
    }


UNAVAILABLE = "Error 503: Service Unavailable."
TEXTS = {
    Reason.MALFORMED: "Error 400: Bad Request. The message cannot be read.",
    Reason.TOO_LARGE: "Error 413: Too Large. The payload is above the limit max_body.",
    Reason.CLIENT_LIMIT: "Error 429: Too Many Requests. This client has too many open.",
    Reason.DUPLICATE: "Error 409: Conflict. A request marked once with this id came before.",
    Reason.POISONED: "Error 500: Poisoned. This request killed or hung one worker after another.",
    Reason.EXHAUSTED: f"{UNAVAILABLE} No downstream server could process this frame.",
    Reason.NO_WORKERS: f"{UNAVAILABLE} No worker is up.",
    Reason.QUEUE_FULL: f"{UNAVAILABLE} The queue is full.",
    Reason.QUEUE_TIMEOUT: f"{UNAVAILABLE} No worker was free within queue_timeout.",
    Reason.RETRY_BUDGET: f"{UNAVAILABLE} Too many tries failed lately to try again.",
    Reason.DRAINING: f"{UNAVAILABLE} The cluster is draining.",
    Reason.DEADLINE: "Error 504: Deadline exceeded. The request's time was spent.",
}


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_has_its_status_its_reason_and_its_text(reason: Reason) -> None:
    frame = replies.encode_refusal(Refuse(RequestId(1), reason), None)
    assert msgpack.unpackb(frame) == {
        "status": STATUS[reason],
        "error": TEXTS[reason],
        "reason": reason.value,
        "attempts": 0,
        "may_have_run": False,
    }


def test_a_refusal_says_who_was_tried_and_whether_it_may_have_run() -> None:
    refuse = Refuse(RequestId(1), Reason.EXHAUSTED, 2, TRIED, True, retry_after_s=0.0123)
    frame = replies.encode_refusal(refuse, b"\x07")
    assert msgpack.unpackb(frame) == {
        "status": 503,
        "error": TEXTS[Reason.EXHAUSTED],
        "reason": "exhausted",
        "attempts": 2,
        "tried": [
            {"worker": "server1-1", "why": "died", "ms": 312.0},
            {"worker": "server1-2", "why": "empty", "ms": 0.4},
        ],
        "may_have_run": True,
        "retry_after_ms": 13,
        "id": b"\x07",
    }
    reply = decode_reply(frame)
    assert (reply.may_have_run, reply.retry_after_ms, reply.id) == (True, 13, b"\x07")


def test_a_refusal_of_the_unreadable_says_what_is_wrong_with_it() -> None:
    refuse = Refuse(RequestId(1), Reason.MALFORMED, detail="header: not a map")
    error = msgpack.unpackb(replies.encode_refusal(refuse, None))["error"]
    assert error == "Error 400: Bad Request. The message cannot be read. (header: not a map)"


def test_a_reply_may_say_more_than_we_know() -> None:
    assert decode_reply(pack({"status": 200, "body": 1, "new": 2})) == Reply(200, 1)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        nested(2000),
        pack({"status": 200}) + b"\x00",
        b"\x81\x91\x01\x01",
        pack(None),
        pack(7),
        pack("status"),
        pack([1, 2]),
        pack({}),
        pack({"body": 1}),
        pack({"status": "200"}),
        pack({"status": True}),
        pack({"status": []}),
        pack({"status": 503, "reason": ["exhausted"]}),
        pack({"status": 503, "tried": None}),
        pack({"status": 503, "tried": 5}),
        pack({"status": 503, "tried": [1]}),
        pack({"status": 503, "tried": ["x"]}),
        pack({"status": 503, "tried": [{"worker": "a"}]}),
        pack(msgpack.ExtType(3, b"x")),
    ],
    ids=lambda frame: frame[:40].hex(),
)
def test_a_frame_that_is_no_reply_is_a_wire_error(frame: bytes) -> None:
    with pytest.raises(WireError):
        decode_reply(frame)


# --- the task ----------------------------------------------------------------------------------


def test_a_task_arrives_as_it_was_sent() -> None:
    frames = tasks.encode_task("r-7", 2, 1.5, 1001.25, PAYLOAD)
    assert tasks.decode_task(frames) == Task(PAYLOAD, "r-7", 2, 1.5, 1001.25)


def test_a_worker_of_ours_is_told_in_a_fixed_form() -> None:
    header, payload = tasks.encode_task("r-7", 2, 1.5, 1001.25, PAYLOAD)
    assert header == b"\xc1\x00" + struct.pack("<Idd", 2, 1.5, 1001.25) + b"r-7"
    assert payload == PAYLOAD


FIXED_HEADER = tasks.encode_task("", 2, 1.5, 1001.25, PAYLOAD)[0]


def test_a_fixed_header_needs_no_id_and_takes_any() -> None:
    for id in ("", "r-7", "\xff\0 "):
        header = FIXED_HEADER + id.encode("latin-1")
        assert tasks.decode_task([header, PAYLOAD]) == Task(PAYLOAD, id, 2, 1.5, 1001.25)


def test_what_only_begins_as_a_fixed_header_is_a_wire_error() -> None:
    for end in range(1, len(FIXED_HEADER)):
        with pytest.raises(WireError, match=f"fixed header of {end} bytes"):
            tasks.decode_task([FIXED_HEADER[:end], PAYLOAD])


def test_a_worker_can_be_asked_for_its_time() -> None:
    frames = tasks.encode_task("r-7", 2, 1.5, 1001.25, PAYLOAD, wants_time=True)
    assert tasks.decode_task(frames) == Task(PAYLOAD, "r-7", 2, 1.5, 1001.25, wants_time=True)


def test_one_elsewhere_can_be_asked_too() -> None:
    frames = tasks.encode_task("r-7", 2, 1.5, None, PAYLOAD, wants_time=True)
    assert msgpack.unpackb(frames[0])["tell"] is True
    assert tasks.decode_task(frames) == Task(PAYLOAD, "r-7", 2, 1.5, wants_time=True)


@pytest.mark.parametrize("is_trusted", [False, True])
def test_an_answer_with_its_time_is_the_answer(is_trusted: bool) -> None:
    value = tasks.encode_value("a")
    frames = tasks.encode_timed(value, 0.0021)
    assert classified(*frames, is_trusted=is_trusted) == WorkerReply(Outcome.ANSWER, value=value[0])
    assert decode_took_s(frames) == 0.0021
    assert decode_took_s(tasks.encode_timed(value, 0.0)) == 1e-6


@pytest.mark.parametrize("reply", [tasks.EMPTY_REPLY, tasks.encode_error(500, "no")])
def test_of_what_is_no_answer_the_time_is_not_told(reply: list[bytes]) -> None:
    assert tasks.encode_timed(reply, 0.5) == reply


def test_a_task_for_a_worker_elsewhere_has_no_instant() -> None:
    frames = tasks.encode_task("r-7", 1, 0.0004, None, PAYLOAD)
    assert msgpack.unpackb(frames[0]) == {"id": "r-7", "attempt": 1, "remaining_ms": 0}
    assert tasks.decode_task(frames) == Task(PAYLOAD, "r-7", 1, 0.0)


def test_a_lone_frame_is_a_payload() -> None:
    assert tasks.decode_task([PAYLOAD]) == Task(PAYLOAD)


def test_a_ping_is_a_ping_and_its_reply_is_not_empty() -> None:
    assert tasks.decode_task(tasks.PING) == Task(b"", is_ping=True)
    assert decode_worker_reply(tasks.PONG_EACH, 100, is_trusted=False).outcome is Outcome.ANSWER


FIELDS = {"id": "r-7", "attempt": 2, "remaining_ms": 1500, "expires_at": 1001.25}


@pytest.mark.parametrize(
    ("changed", "task"),
    [
        ({}, Task(PAYLOAD, "r-7", 2, 1.5, 1001.25)),
        ({"id": None}, Task(PAYLOAD, "", 2, 1.5, 1001.25)),
        ({"attempt": None}, Task(PAYLOAD, "r-7", 1, 1.5, 1001.25)),
        ({"remaining_ms": None}, Task(PAYLOAD, "r-7", 2, None, 1001.25)),
        ({"remaining_ms": 0.5}, Task(PAYLOAD, "r-7", 2, 0.0005, 1001.25)),
        ({"remaining_ms": 2**64 - 1}, Task(PAYLOAD, "r-7", 2, (2**64 - 1) / 1000, 1001.25)),
        ({"expires_at": None}, Task(PAYLOAD, "r-7", 2, 1.5)),
        ({"op": None, "new": 1}, Task(PAYLOAD, "r-7", 2, 1.5, 1001.25)),
        ({"op": "ping"}, Task(PAYLOAD, "r-7", 2, 1.5, 1001.25, is_ping=True)),
        ({"tell": True}, Task(PAYLOAD, "r-7", 2, 1.5, 1001.25, wants_time=True)),
        ({"tell": 1}, Task(PAYLOAD, "r-7", 2, 1.5, 1001.25)),
    ],
)
def test_nothing_in_a_task_must_be_there(changed: dict[str, Any], task: Task) -> None:
    assert tasks.decode_task([pack({**FIELDS, **changed}), PAYLOAD]) == task


@pytest.mark.parametrize(
    "changed",
    [
        {"id": 7},
        {"id": b"r"},
        {"attempt": True},
        {"attempt": 1.0},
        {"remaining_ms": -1},
        {"remaining_ms": True},
        {"remaining_ms": float("nan")},
        {"expires_at": 5},
        {"expires_at": "soon"},
    ],
)
def test_whatever_is_there_must_be_of_its_type(changed: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        tasks.decode_task([pack({**FIELDS, **changed}), PAYLOAD])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [pack({}), PAYLOAD, PAYLOAD],
        [b"", PAYLOAD],
        [b"\xc1", PAYLOAD],
        [pack([]), PAYLOAD],
        [pack(["r-7", 2, 1500, 1001.25]), PAYLOAD],
        [pack({"id": 7}), PAYLOAD],
        [pack({"attempt": "1"}), PAYLOAD],
        [pack({"remaining_ms": -1}), PAYLOAD],
        [pack({"expires_at": 5}), PAYLOAD],
        [pack({"x": "a" * values.HEADER_BYTES_MAX}), PAYLOAD],
    ],
)
def test_a_task_that_makes_no_sense_is_a_wire_error(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        tasks.decode_task(frames)


def test_a_payload_is_any_value_and_may_have_any_key() -> None:
    carried: list[Any] = [{1: 2, None: 3, b"x": 4}, [], 0, None, "x"]
    for value in carried:
        assert values.decode_payload(pack(value)) == value


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"\xc1", "not msgpack: FormatError"),
        (nested(2000), "not msgpack: StackError"),
        (b"\x01\x02", "not msgpack: unpack(b) received extra data."),
        (b"\x81\x91\x01\x01", "not msgpack: unhashable type: 'list'"),
        (b"", "not msgpack: Unpack failed: incomplete input"),
    ],
    ids=["reserved byte", "too deep", "trailing byte", "list key", "nothing"],
)
def test_a_payload_that_cannot_be_read_says_why(payload: bytes, error: str) -> None:
    with pytest.raises(WireError) as caught:
        values.decode_payload(payload)
    assert str(caught.value) == error


# --- a worker's reply --------------------------------------------------------------------------


def classified(*frames: bytes, is_trusted: bool = False) -> WorkerReply:
    return decode_worker_reply(frames, LIMIT_BYTES, is_trusted)


GARBLED = WorkerReply(Outcome.GARBLED)


@pytest.mark.parametrize("is_trusted", [False, True])
def test_what_a_worker_says_is_what_the_core_hears(is_trusted: bool) -> None:
    value = tasks.encode_value({"a": [1, 2.5]})
    assert classified(*value, is_trusted=is_trusted) == WorkerReply(
        Outcome.ANSWER, value=pack({"a": [1, 2.5]})
    )
    assert classified(*tasks.EMPTY_REPLY, is_trusted=is_trusted) == WorkerReply(Outcome.EMPTY)
    for status in (400, 500):
        error = tasks.encode_error(status, "ValueError: no")
        assert classified(*error, is_trusted=is_trusted) == WorkerReply(
            Outcome.ANSWER, status, error="ValueError: no"
        )
    late = tasks.encode_error(504, "too late")
    assert classified(*late, is_trusted=is_trusted) == WorkerReply(Outcome.EXPIRED)


@pytest.mark.parametrize("size_bytes", [LARGE_BYTES - 1, LARGE_BYTES, 3 * LARGE_BYTES])
def test_large_bytes_are_packed_as_msgpack_would(size_bytes: int) -> None:
    value = bytes(range(256)) * (size_bytes // 256 + 1)
    assert tasks.encode_value(value[:size_bytes]) == [pack(value[:size_bytes])]


@pytest.mark.parametrize("value", [0, False, [], {}, None, "", b""])
def test_a_packed_nothing_is_an_answer(value: Any) -> None:
    assert classified(pack(value)).outcome is Outcome.ANSWER


def test_a_value_at_the_size_limit_passes_and_one_byte_more_does_not() -> None:
    room = LIMIT_BYTES - 3
    for is_trusted in (False, True):
        assert classified(pack("x" * room), is_trusted=is_trusted).outcome is Outcome.ANSWER
        assert classified(pack("x" * (room + 1)), is_trusted=is_trusted) == GARBLED
        assert classified(pack({"status": 500}), b"x" * 1001, is_trusted=is_trusted) == GARBLED


@pytest.mark.parametrize(
    "value",
    [
        b"\x01\x02",
        b"\xc1",
        b"\x92\x01",
        b"\xa5hell",
        b"\xdd\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        nested(1025),
        b"plain text",
        b'{"json": true}',
    ],
    ids=lambda value: value[:20].hex(),
)
def test_what_is_not_exactly_one_value_is_garbled_unless_it_comes_from_our_own(
    value: bytes,
) -> None:
    assert decode_worker_reply([value], 10_000, is_trusted=False) == GARBLED
    trusted = decode_worker_reply([value], 10_000, is_trusted=True)
    assert trusted == WorkerReply(Outcome.ANSWER, value=value)


def test_the_deepest_value_that_passes_can_still_be_read_inside_the_reply() -> None:
    for depth in range(1015, 1030):
        reply = decode_worker_reply([nested(depth)], 10_000, is_trusted=False)
        if reply.outcome is Outcome.ANSWER:
            decode_reply(replies.encode_answer(reply, "a", 1, (), None))
        else:
            assert reply == GARBLED


@pytest.mark.parametrize(
    "frames",
    [
        [pack({"status": 200}), b"\x01"],
        [pack({"status": 503}), b"\x01"],
        [pack({"status": 500.0}), b"\x01"],
        [pack({"status": True}), b"\x01"],
        [pack({"status": 500, "error": b"bytes"}), b"\x01"],
        [pack({}), b"\x01"],
        [pack([500]), b"\x01"],
        [b"\xc1", b"\x01"],
        [b"", b"\x01"],
        [b"", b""],
        [pack({"status": 500, "error": "x" * values.HEADER_BYTES_MAX}), b"\x01"],
        [pack({"status": 500}), b"\x01", b"\x01"],
        [b"\x01", b"\x01", b"\x01"],
    ],
)
@pytest.mark.parametrize("is_trusted", [False, True])
def test_a_reply_in_no_format_of_ours_is_garbled(frames: list[bytes], is_trusted: bool) -> None:
    assert classified(*frames, is_trusted=is_trusted) == GARBLED


def test_an_error_answer_needs_no_text_and_its_value_is_ignored() -> None:
    assert classified(pack({"status": 500}), b"\xc1") == WorkerReply(Outcome.ANSWER, 500)
    assert classified(pack({"status": 500}), b"") == WorkerReply(Outcome.ANSWER, 500)


# --- noise -------------------------------------------------------------------------------------

SEEDS = [
    *requests.encode_request({"x": [1, 2]}, timeout_ms=5, id=b"1", once=True, route="r"),
    *tasks.encode_error(500, "ValueError: no"),
    *tasks.encode_task("r-1", 1, 1.0, 1001.0, PAYLOAD),
    *tasks.encode_task("r-1", 1, 1.0, None, PAYLOAD),
    replies.encode_answer(WorkerReply(Outcome.ANSWER, value=b"\x01"), "a", 3, TRIED, "one"),
    replies.encode_refusal(Refuse(RequestId(1), Reason.EXHAUSTED, 2, TRIED, True, 0.5), b"1"),
    struct.pack(">BI", 0xDD, 2**32 - 1),
    b"",
]


def noise(chance: random.Random) -> bytes:
    """Random bytes, or a good frame with some bytes changed, cut off, or added."""
    if chance.random() < 0.3:
        return chance.randbytes(chance.randrange(40))
    frame = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(3)):
        if frame:
            frame[chance.randrange(len(frame))] = chance.randrange(256)
    end = chance.randrange(len(frame) + 1) if chance.random() < 0.3 else len(frame)
    return bytes(frame[:end]) + chance.randbytes(chance.choice((0, 0, 0, 3)))


def test_noise_never_raises_anything_but_a_wire_error() -> None:
    chance = random.Random(20_240_229)
    outcomes: set[str] = set()
    for _ in range(20_000):
        frames = [noise(chance) for _ in range(chance.randrange(1, 5))]
        outcomes.add(type(requests.decode_request(frames)).__name__)
        outcomes.add(type(requests.decode_request([b"", *frames])).__name__)
        outcomes.add(decode_worker_reply(frames, 60, chance.random() < 0.5).outcome)
        for decode in (decode_reply, values.decode_payload):
            try:
                decode(frames[0])
                outcomes.add(decode.__name__)
            except WireError:
                outcomes.add("unreadable frame")
        try:
            tasks.decode_task(frames)
            outcomes.add("task")
        except WireError:
            outcomes.add("unreadable task")
    assert outcomes == {
        "tuple",
        "Unreadable",
        "answer",
        "empty",
        "garbled",
        "decode_reply",
        "decode_payload",
        "unreadable frame",
        "task",
        "unreadable task",
    }


# --- hello ----------------------------------------------------------------------------------------


def test_a_hello_is_answered_with_the_life_and_its_id() -> None:
    assert accepted(*requests.encode_request(None, hello=True)).header == Header(hello=True)
    welcome = replies.encode_welcome("cafe", b"x")
    assert msgpack.unpackb(welcome) == {"status": 200, "body": {"life": "cafe"}, "id": b"x"}
    fields = {"status": 200, "body": {"life": "cafe"}}
    assert msgpack.unpackb(replies.encode_welcome("cafe", None)) == fields
    assert decode_welcome(welcome) == "cafe"


@pytest.mark.parametrize(
    "answer", [{"status": 200, "body": 1}, {"status": 200}, {"status": 503}, 7]
)
def test_an_answer_to_a_hello_that_tells_of_no_life_means_none(answer: Any) -> None:
    assert decode_welcome(pack(answer)) == ""
    assert decode_welcome(pack({"status": 200, "body": {"life": 7}})) == ""


def test_a_reply_can_be_kept_and_sent_on() -> None:
    """Compiled it could not: users do with it what they do with any other value."""
    reply = Reply(503, reason="exhausted", tried=(Try("a-1", "died", 2.5),))
    assert copy.deepcopy(reply) == reply
    assert pickle.loads(pickle.dumps(reply)) == reply  # noqa: S301  # our own bytes
