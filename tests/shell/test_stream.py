"""A plain stream between two ends that take turns: what arrives, and how an end is told."""

import _socket
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from balancer.stream import BUFFER_BYTES, Stream, connect
from balancer.wire.values import LARGE_BYTES
from tests.shell.peers import PATIENCE_S

MAX_BODY_BYTES = 20_000_000
TASK = [b"header", b"payload"]


@pytest.fixture
def pair() -> Iterator[tuple[Stream, Stream]]:
    ours, theirs = ends()
    with closing(ours), closing(theirs):
        yield ours, theirs


def ends() -> tuple[Stream, Stream]:
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return Stream(ours, MAX_BODY_BYTES), Stream(theirs, MAX_BODY_BYTES)


def receive(stream: Stream) -> list[bytes]:
    """The next message, however many pieces it comes in."""
    while (frames := stream.receive()) is None:
        assert not stream.has_ended
        assert select.select([stream], [], [], PATIENCE_S)[0]
    return frames


def test_a_task_goes_there_and_its_reply_comes_back(pair: tuple[Stream, Stream]) -> None:
    ours, theirs = pair
    for _ in range(3):
        assert theirs.receive() is None
        assert ours.offer(TASK)
        assert theirs.receive() == TASK
        theirs.send([b"done"])
        assert ours.receive() == [b"done"]
        assert ours.receive() is None
    assert not ours.has_ended
    assert not theirs.has_ended


def test_the_largest_task_is_taken_whole_without_waiting(pair: tuple[Stream, Stream]) -> None:
    ours, theirs = pair
    for stream in pair:
        with socket.socket(fileno=os.dup(stream.fileno())) as copy:
            for side in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                assert copy.getsockopt(socket.SOL_SOCKET, side) >= BUFFER_BYTES
    for frames in ([bytes(LARGE_BYTES)], [bytes(64)] * (LARGE_BYTES // 64)):
        assert ours.offer(frames)
        assert theirs.receive() == frames


def test_a_large_reply_is_sent_while_it_is_read(pair: tuple[Stream, Stream]) -> None:
    ours, theirs = pair
    reply = [b"header", bytes(range(256)) * 50_000, b"the end"]
    sender = threading.Thread(target=theirs.send, args=[reply])
    sender.start()
    assert receive(ours) == reply
    sender.join()


def test_what_was_sent_before_the_end_is_read_first() -> None:
    for size in (1, BUFFER_BYTES - 1000):
        ours, theirs = ends()
        with closing(ours):
            ours.offer(TASK)
            theirs.receive()
            theirs.send([bytes(size)])
            theirs.close()
            assert ours.receive() == [bytes(size)]
            assert not ours.has_ended
            assert ours.receive() is None
            assert (ours.has_ended, ours.was_unread) == (True, False)


def test_an_end_in_the_middle_of_a_reply_is_no_reply(pair: tuple[Stream, Stream]) -> None:
    raw, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    with closing(Stream(raw, MAX_BODY_BYTES)) as ours:
        theirs.send(b"\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0half")
        theirs.close()
        assert ours.receive() is None
        assert ours.has_ended


@pytest.mark.skipif(sys.platform != "linux", reason="its kernel tells")
def test_who_ends_without_having_read_the_task_is_told_from_who_has() -> None:
    for has_read in (True, False):
        ours, theirs = ends()
        with closing(ours):
            ours.offer(TASK)
            if has_read:
                theirs.receive()
            theirs.close()
            assert ours.receive() is None
            assert (ours.has_ended, ours.was_unread) == (True, not has_read)


def test_only_a_reset_says_that_a_task_was_not_read(pair: tuple[Stream, Stream]) -> None:
    """Of any other error it is not known, and what is marked once must not go on."""
    ours, _ = pair
    ours.offer(TASK)
    ours.close()
    assert ours.receive() is None  # EBADF
    assert (ours.has_ended, ours.was_unread) == (True, False)


def test_nothing_can_be_offered_to_who_is_gone(pair: tuple[Stream, Stream]) -> None:
    ours, theirs = pair
    theirs.close()
    assert not ours.offer(TASK)
    assert ours.has_ended


def test_a_task_that_is_not_taken_whole_is_not_delivered(pair: tuple[Stream, Stream]) -> None:
    ours, theirs = pair
    assert not ours.offer([bytes(20 * BUFFER_BYTES)])
    assert ours.has_ended
    assert theirs.receive() is None


def test_a_reply_to_who_is_gone_is_missed_by_nobody(pair: tuple[Stream, Stream]) -> None:
    ours, theirs = pair
    ours.close()
    theirs.send([b"done"])
    assert theirs.has_ended


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(100)])
def test_who_sends_nonsense_has_ended(data: bytes) -> None:
    raw, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    with closing(Stream(raw, MAX_BODY_BYTES)) as ours, closing(theirs):
        theirs.send(data)
        assert ours.receive() is None
        assert (ours.has_ended, ours.was_unread) == (True, False)
        theirs.send(b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0x")
        assert ours.receive() is None, "what comes after it is not believed"


def test_a_default_timeout_of_user_code_does_not_count(pair: tuple[Stream, Stream]) -> None:
    _socket.setdefaulttimeout(0.01)
    try:
        ours, theirs = ends()
    finally:
        _socket.setdefaulttimeout(None)
    with closing(ours), closing(theirs):
        sender = threading.Thread(target=theirs.send, args=[[bytes(5_000_000)]])
        sender.start()
        sender.join(0.1)  # Not to wait for something: so long nobody reads.
        assert receive(ours) == [bytes(5_000_000)]
        sender.join()
        assert not theirs.has_ended


def test_a_broken_pipe_that_user_code_made_deadly_kills_nobody() -> None:
    code = """
import _socket, signal
from balancer.stream import Stream
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
for size in (1, 1_000_000):
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    stream = Stream(ours, 1000)
    theirs.close()
    assert not stream.offer([b"x"])
    stream.send([bytes(size)])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, (done.returncode, -signal.SIGPIPE, done.stderr)


# --- the way to a listener ------------------------------------------------------------------------


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        yield listener


def test_a_stream_is_connected_before_anybody_accepts_it(listener: socket.socket) -> None:
    listener.listen(1)
    with closing(connect(listener.getsockname(), MAX_BODY_BYTES)) as ours:
        assert ours.offer(TASK)
        connection, _ = listener.accept()
        with closing(Stream(connection, MAX_BODY_BYTES)) as theirs:
            assert theirs.receive() == TASK


def test_nobody_at_the_path_is_an_error(tmp_path: Path, listener: socket.socket) -> None:
    for path in (str(tmp_path / "nothing"), listener.getsockname()):
        with pytest.raises(OSError, match=r"No such file|refused"):
            connect(path, MAX_BODY_BYTES)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is refused")
def test_a_full_backlog_is_not_waited_for(listener: socket.socket) -> None:
    listener.listen(0)
    with closing(connect(listener.getsockname(), MAX_BODY_BYTES)), pytest.raises(BlockingIOError):
        connect(listener.getsockname(), MAX_BODY_BYTES)
