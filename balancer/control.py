"""The control protocol, both ends: JSON lines over a private Unix socket.

The launcher speaks it with its balancer over an inherited pair, and answers commands on
``control.sock``. A message is an object with ``op``; a reply has the ``op`` of its question, and an
``error`` that says the fix if it cannot be done. Whoever asks may say who that is in ``by``.

============================================  =====================================================
question                                      reply
============================================  =====================================================
``status``                                    ``cluster``, ``workers``, ``pools``, ``queue``, …
``stop``                                      ``drain_timeout_s``: by then it is gone
``drain``, ``ready``, ``kill``: ``worker``    ``did``: what was done, ``changed``: false if nothing
``restart``: ``worker``, or all without       the same
``scale``: ``pool``, ``workers``              the same
``trace``: ``request``, or ``last`` and       ``requests``: the stories, see ``balancer.stories``
``troubled``
``events``: ``last``, ``follow``              ``event`` for each, and with ``follow`` for each that
                                              comes until the asker goes; else ``events``, ``count``
============================================  =====================================================
"""

import contextlib
import json
import select
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

from balancer.runtime_directory import control_path

Message = dict[str, Any]

LINE_BYTES_MAX = 8 * 1024 * 1024
"""A snapshot of a thousand workers is below 1 MiB."""
LOG_BACKLOG_BYTES_MAX = 1024 * 1024
BACKLOG_BYTES_MAX = 16 * 1024 * 1024


class NotRunning(Exception):
    """No cluster of that name answers."""


class Channel:
    """A stream of messages on a selector's loop; neither end ever waits for the other.

    Its selector keys carry a callback as data, to be called when the socket is ready.
    """

    def __init__(
        self,
        connection: socket.socket,
        selector: selectors.BaseSelector,
        on_message: Callable[[Message], None],
        on_close: Callable[[], None],
        *,
        line_bytes_max: int = LINE_BYTES_MAX,
        backlog_bytes_max: int = BACKLOG_BYTES_MAX,
    ) -> None:
        connection.setblocking(False)
        self._line_bytes_max = line_bytes_max
        self._backlog_bytes_max = backlog_bytes_max
        self._socket = connection
        self._selector = selector
        self._on_message = on_message
        self._on_close = on_close
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._is_open = True
        self._is_heard = True
        self._dropped = 0
        selector.register(connection, selectors.EVENT_READ, self._on_ready)

    def send(self, message: Message) -> None:
        """Queue a message. A peer that has stopped reading for megabytes is given up."""
        if not self._is_open or not self._is_heard:
            return
        self._outgoing += _packed(message)
        self._flush()
        if len(self._outgoing) > self._backlog_bytes_max:
            self.close()

    @property
    def is_open(self) -> bool:
        return self._is_open

    def send_log(self, message: Message) -> None:
        """Queue a log line, or count it as dropped: lines may get lost, decisions may not."""
        if len(self._outgoing) > LOG_BACKLOG_BYTES_MAX:
            self._dropped += 1
            return
        if self._dropped:
            message = {**message, "dropped_before": self._dropped}
            self._dropped = 0
        self.send(message)

    def flush(self, timeout_s: float) -> bool:
        """Whether all that was sent is with the peer, whom we give so much time to read."""
        give_up_at = time.monotonic() + timeout_s
        while self._is_open and self._outgoing:
            patience_s = give_up_at - time.monotonic()
            if patience_s <= 0 or not _is_writable(self._socket, patience_s):
                return False
            self._flush()
        return self._is_open and self._is_heard

    def read_rest(self) -> None:
        """Read what a peer that has ended still had to say, and close."""
        while self._is_open and _is_readable(self._socket):
            self._read()
        self.close()

    def close(self) -> None:
        """Idempotent; ``on_close`` is called the first time."""
        if self._is_open:
            self._is_open = False
            self._outgoing.clear()
            self._incoming.clear()
            self._selector.unregister(self._socket)
            self._socket.close()
            self._on_close()

    def finish(self, timeout_s: float) -> None:
        """Send what is queued, waiting at most so long, and close."""
        if self._is_open:
            self._socket.settimeout(timeout_s)
            with contextlib.suppress(OSError):  # gone or stuck: there is nobody to tell
                self._socket.sendall(self._outgoing)
            self.close()

    def _on_ready(self) -> None:
        if self._outgoing:
            self._flush()
        self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 18) if self._is_open else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._incoming += data
        *lines, rest = self._incoming.split(b"\n")
        self._incoming = rest
        if not data or max(map(len, (*lines, rest))) > self._line_bytes_max:
            self.close()
            return
        for line in lines:
            if not self._is_open:
                return  # what it said before was the end
            message = _parse(line)
            if message is None:
                self.close()
                return
            self._on_message(message)

    def _flush(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            # The peer is gone, but what it said before is still to be read: that ends in a close.
            self._outgoing.clear()
            self._is_heard = False
        if self._is_open:
            write = selectors.EVENT_WRITE if self._outgoing else 0
            self._selector.modify(self._socket, selectors.EVENT_READ | write, self._on_ready)


def _is_writable(connection: socket.socket, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _packed(message: Message) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _parse(line: bytes | bytearray) -> Message | None:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) and isinstance(message.get("op"), str) else None


def listen(name: str) -> socket.socket:
    """The launcher's end of the commands; the directory it lies in is private already."""
    path = control_path(name)
    unready = path.with_suffix(".new")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(unready))
    listener.listen(128)
    # Under its name only now: between bind and listen whoever asks would be refused.
    unready.rename(path)
    listener.setblocking(False)
    return listener


def connect(name: str, timeout_s: float = 5.0) -> socket.socket:
    """A connection to the running cluster. NotRunning if there is none."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout_s)
    give_up_at = time.monotonic() + timeout_s
    while True:
        try:
            connection.connect(str(control_path(name)))
            return connection
        except BlockingIOError as error:
            # So many want to be let in that there is no place in the line: unix(7), EAGAIN.
            if time.monotonic() > give_up_at:
                connection.close()
                raise NotRunning(name) from TimeoutError(*error.args)
            time.sleep(0.01)
        except OSError as error:
            connection.close()
            raise NotRunning(name) from error


def ask(name: str, op: str, timeout_s: float = 5.0, **fields: Any) -> Message:
    """Put one question to the running cluster. NotRunning if there is none, or it is silent."""
    with connect(name, timeout_s) as connection:
        try:
            connection.sendall(_packed({"op": op, **fields}))
            with connection.makefile("rb") as stream:
                line = stream.readline(LINE_BYTES_MAX)
        except OSError as error:
            raise NotRunning(name) from error
    reply = _parse(line)
    if reply is None:
        raise NotRunning(name)
    return reply


def follow(name: str, question: Message) -> Iterator[Message]:
    """The records of ``events``, as they come, until the cluster has no more to tell or is gone.
    NotRunning if there is none."""
    with connect(name) as connection:
        connection.sendall(_packed({"op": "events", **question}))
        connection.settimeout(None)
        with connection.makefile("rb") as stream, contextlib.suppress(ConnectionError):
            while (message := _parse(stream.readline(LINE_BYTES_MAX))) is not None:
                if message["op"] != "event":
                    return
                yield {key: value for key, value in message.items() if key != "op"}


def running_names() -> list[str]:
    """Of all clusters of this user that can be asked."""
    names = []
    for path in sorted(control_path("x").parent.parent.glob("*/control.sock")):
        with contextlib.suppress(NotRunning):
            connect(path.parent.name, timeout_s=0.2).close()
            names.append(path.parent.name)
    return names


def wait_until_gone(name: str, timeout_s: float) -> bool:
    """Wait for the launcher of that name to end; False if it is still there."""
    deadline = time.monotonic() + timeout_s
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(control_path(name)))
        except OSError:
            return True
        connection.settimeout(max(0.0, deadline - time.monotonic()) or None)
        try:
            return connection.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True
