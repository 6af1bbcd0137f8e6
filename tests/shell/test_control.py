"""The control protocol: messages both ways, and peers that are slow, gone or talk nonsense."""

import contextlib
import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from balancer.control import (
    BACKLOG_BYTES_MAX,
    LINE_BYTES_MAX,
    LOG_BACKLOG_BYTES_MAX,
    Channel,
    Message,
    NotRunning,
    ask,
    listen,
    wait_until_gone,
)
from balancer.runtime_directory import RuntimeDirectory, control_path

_numbers = count(1)


class End:
    """A channel on a loop of its own, and what has become of it."""

    def __init__(self, connection: socket.socket) -> None:
        self.selector = selectors.DefaultSelector()
        self.messages: list[Message] = []
        self.closed = 0
        self.channel = Channel(connection, self.selector, self.messages.append, self._on_close)

    def _on_close(self) -> None:
        self.closed += 1

    def turn(self) -> None:
        for key, _ in self.selector.select(0.01):
            key.data()

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10.0
        while not condition():
            assert time.monotonic() < deadline
            self.turn()

    def close(self) -> None:
        self.channel.close()
        self.selector.close()


@pytest.fixture
def pair() -> Iterator[tuple[End, socket.socket]]:
    """A channel and the bare other end."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(10.0)
    end = End(ours)
    yield end, theirs
    end.close()
    theirs.close()


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    one, other = (End(end) for end in socket.socketpair())
    yield one, other
    one.close()
    other.close()


# --- channels -------------------------------------------------------------------------------------


def test_messages_go_both_ways_in_order(ends: tuple[End, End]) -> None:
    one, other = ends
    for number in range(100):
        one.channel.send({"op": "count", "number": number})
    other.channel.send({"op": "status", "text": "Grüße\n"})
    other.wait_until(lambda: len(other.messages) == 100)
    one.wait_until(lambda: one.messages)
    assert [message["number"] for message in other.messages] == list(range(100))
    assert one.messages == [{"op": "status", "text": "Grüße\n"}]


def test_a_message_in_pieces_is_put_together(pair: tuple[End, socket.socket]) -> None:
    end, peer = pair
    for byte in b'{"op": "a"}\n{"op": "b"}\n':
        peer.send(bytes([byte]))
        end.turn()
    assert end.messages == [{"op": "a"}, {"op": "b"}]


def test_a_large_message_gets_through_a_slow_reader(ends: tuple[End, End]) -> None:
    one, other = ends
    text = "x" * 3_000_000
    started_at = time.monotonic()
    one.channel.send({"op": "a", "text": text})
    assert time.monotonic() - started_at < 1.0, "nobody has read yet, and nobody was waited for"
    deadline = time.monotonic() + 10.0
    while not other.messages and time.monotonic() < deadline:
        one.turn()
        other.turn()
    assert other.messages == [{"op": "a", "text": text}]


def test_what_was_sent_before_the_end_is_read_before_the_end(ends: tuple[End, End]) -> None:
    one, other = ends
    one.channel.send({"op": "last words"})
    one.channel.close()
    other.wait_until(lambda: other.closed)
    assert other.messages == [{"op": "last words"}]


def test_the_end_is_told_once(ends: tuple[End, End]) -> None:
    one, other = ends
    one.channel.close()
    one.channel.close()
    other.wait_until(lambda: other.closed)
    other.channel.close()
    other.channel.send({"op": "to nobody"})
    other.channel.send_log({"op": "to nobody"})
    assert (one.closed, other.closed) == (1, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b"[1]\n",
        b"{}\n",
        b'{"op": 1}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
    ids=["nothing", "no JSON", "a list", "no op", "a number as op", "no UTF-8", "nested"],
)
def test_a_peer_that_talks_nonsense_is_hung_up_on(
    pair: tuple[End, socket.socket], line: bytes
) -> None:
    end, peer = pair
    peer.sendall(b'{"op": "good"}\n' + line + b'{"op": "too late"}\n')
    end.wait_until(lambda: end.closed)
    assert end.messages == [{"op": "good"}]
    assert peer.recv(10) == b""


def test_a_line_without_an_end_is_hung_up_on(pair: tuple[End, socket.socket]) -> None:
    end, peer = pair
    peer.setblocking(False)
    piece, sent = b"x" * (1 << 20), 0
    while not end.closed:
        try:
            sent += peer.send(piece)
        except BlockingIOError:
            pass
        except BrokenPipeError:
            break
        assert sent < LINE_BYTES_MAX + (4 << 20)
        end.turn()
    assert end.closed == 1


def test_a_peer_that_never_reads_is_given_up(pair: tuple[End, socket.socket]) -> None:
    end, _ = pair
    message = {"op": "a", "text": "x" * (1 << 20)}
    for _ in range(2 + BACKLOG_BYTES_MAX // (1 << 20)):
        assert not end.closed or _
        end.channel.send(message)
    assert end.closed == 1


def test_log_lines_are_dropped_and_counted_where_decisions_are_not(
    ends: tuple[End, End],
) -> None:
    one, other = ends
    line = {"op": "log", "text": "x" * 10_000}
    sent = 5 * LOG_BACKLOG_BYTES_MAX // 10_000
    for _ in range(sent):
        one.channel.send_log(line)
    one.channel.send({"op": "decision"})
    while not any(message["op"] == "decision" for message in other.messages):
        one.turn()
        other.turn()
    received = sum(message["op"] == "log" for message in other.messages)
    assert 0 < received < sent
    one.channel.send_log({"op": "log", "text": "afterwards"})
    other.wait_until(lambda: other.messages[-1]["op"] == "log")
    assert other.messages[-1]["dropped_before"] == sent - received


def test_finish_sends_what_is_queued_and_waits_only_so_long(ends: tuple[End, End]) -> None:
    one, other = ends
    for number in range(300):
        one.channel.send({"op": "a", "text": "x" * 10_000, "number": number})
    thread = threading.Thread(target=lambda: other.wait_until(lambda: other.closed))
    thread.start()
    one.channel.finish(timeout_s=10.0)
    thread.join()
    assert [message["number"] for message in other.messages] == list(range(300))


def test_finish_gives_up_on_a_peer_that_does_not_read(pair: tuple[End, socket.socket]) -> None:
    end, _ = pair
    end.channel.send({"op": "a", "text": "x" * 5_000_000})
    started_at = time.monotonic()
    end.channel.finish(timeout_s=0.2)
    assert time.monotonic() - started_at < 2.0
    assert end.closed == 1


# --- questions ------------------------------------------------------------------------------------


@pytest.fixture
def directory() -> Iterator[RuntimeDirectory]:
    directory = RuntimeDirectory(f"test-control-{os.getpid()}-{next(_numbers)}")
    yield directory
    directory.close()


def answering(listener: socket.socket, reply: bytes) -> threading.Thread:
    """A cluster that reads one question and says this."""

    def run() -> None:
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection:
            question = json.loads(connection.recv(1000))
            assert question["op"] == "status"
            connection.sendall(reply)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_question_has_its_answer(directory: RuntimeDirectory) -> None:
    with listen(directory.path.name) as listener:
        thread = answering(listener, b'{"op": "status", "workers": []}\n')
        assert ask(directory.path.name, "status") == {"op": "status", "workers": []}
        thread.join()


@pytest.mark.parametrize("reply", [b"", b"nonsense\n", b'{"op": "sta'])
def test_no_answer_is_no_cluster(directory: RuntimeDirectory, reply: bytes) -> None:
    with listen(directory.path.name) as listener:
        thread = answering(listener, reply)
        with pytest.raises(NotRunning):
            ask(directory.path.name, "status")
        thread.join()


def test_a_cluster_that_is_silent_is_not_waited_for_for_ever(directory: RuntimeDirectory) -> None:
    with listen(directory.path.name), pytest.raises(NotRunning) as silent:
        ask(directory.path.name, "status", timeout_s=0.1)
    assert isinstance(silent.value.__cause__, TimeoutError)


def test_without_a_cluster_nobody_answers_and_it_is_gone_already() -> None:
    with pytest.raises(NotRunning):
        ask("nobody-is-called-so", "status")
    assert wait_until_gone("nobody-is-called-so", timeout_s=5.0)


def test_the_end_of_a_cluster_can_be_waited_for(directory: RuntimeDirectory) -> None:
    name = directory.path.name
    gone: list[Any] = []
    with listen(name) as listener:
        assert not wait_until_gone(name, timeout_s=0.1)
        thread = threading.Thread(target=lambda: gone.append(wait_until_gone(name, 10.0)))
        thread.start()
        listener.setblocking(True)
        first, _ = listener.accept()
        second, _ = listener.accept()
        assert gone == []
        first.close()
        second.close()
        thread.join()
    assert gone == [True]


def test_the_socket_is_for_its_owner_alone(directory: RuntimeDirectory) -> None:
    with listen(directory.path.name):
        assert control_path(directory.path.name).parent.stat().st_mode & 0o077 == 0


# --- who is told before anything else happens -----------------------------------------------------


def test_a_channel_knows_whether_all_is_with_the_peer(pair: tuple[End, socket.socket]) -> None:
    end, other = pair
    end.channel.send({"op": "x"})
    assert end.channel.flush(0.0)
    while end.channel.flush(0.0):
        end.channel.send({"op": "x" * 10_000})
    began_at = time.monotonic()
    assert not end.channel.flush(0.1)
    assert 0.1 <= time.monotonic() - began_at < 2.0
    thread = threading.Thread(target=lambda: read_for(other, 1.0))
    thread.start()
    assert end.channel.flush(10.0)
    thread.join()


def read_for(connection: socket.socket, quiet_s: float) -> None:
    connection.settimeout(quiet_s)
    with contextlib.suppress(TimeoutError):
        while connection.recv(1 << 16):
            pass


def test_what_a_peer_said_before_its_end_is_heard_even_if_we_speak_first(
    pair: tuple[End, socket.socket],
) -> None:
    end, other = pair
    other.sendall(b'{"op": "last words"}\n{"op": "torn')
    other.close()
    end.channel.send({"op": "too late"})
    assert not end.channel.flush(0.0)
    end.channel.read_rest()
    assert [message["op"] for message in end.messages] == ["last words"]
    assert end.closed == 1
