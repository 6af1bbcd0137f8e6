"""What clients talk to, as to a ROUTER: messages become events, endings become replies.

There is no ZeroMQ socket behind it. libzmq's would pass each message from thread to thread, twice
as dear as everything else here together, and tell of neither who sent it nor who has gone.

What a request carries (how to answer it, its payload) stays here under the request's number until
the request is over; the core never sees it.
"""

import math
import selectors
import socket
import sys
from _blake2 import blake2b  # as hashlib does, which would load all of OpenSSL
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import NamedTuple, cast

from balancer import farewell
from balancer.admission import Admission
from balancer.client_connection import ClientConnection
from balancer.core.events import (
    Answer,
    ClientGone,
    ClientId,
    Event,
    Forget,
    Refuse,
    RequestArrived,
    RequestId,
    RequestsArrived,
    RequestUnreadable,
)
from balancer.core.limits import Limits
from balancer.patience import PatientSelector
from balancer.wire import replies, requests, values
from balancer.wire.greeting import Peer
from balancer.wire.zmtp import Message

MESSAGES_PER_TURN = 64
BYTES_PER_MESSAGE = 2048
"""Who sends larger ones, or none of them whole, has its share by so many bytes."""
LEAST_SHARE = 0.25
"""What it costs to look at a client that sends nothing whole, or has gone."""
GREETING_TIMEOUT_S = 2.0
LINGER_S = 0.5
_FRAMES_MAX = requests.FRAMES_MAX + 1
"""One more tells that there are too many."""
ONCE_NAME_BYTES = 16


class Incoming(NamedTuple):
    """An open request: how to answer it, what it wants, and the payload nobody decoded."""

    connection: ClientConnection
    envelope: bytes
    header: requests.Header
    payload: values.Blob


class Frontend:
    """Bounded by what a connection keeps and by the core's limits: it never stops reading.

    Its descriptors are in the ``selector``, with a callback as each key's data; ``after`` calls
    back later."""

    def __init__(
        self,
        limits: Limits,
        selector: PatientSelector,
        after: Callable[[float, Callable[[], None]], None],
        life: str = "",
        *,
        connections_max: int = sys.maxsize,
        on_full: Callable[[int], None] = lambda connections: None,
    ) -> None:
        """``life`` is the answer to a hello; an empty one promises nothing to anybody. Beyond
        ``connections_max`` a client is let in when another leaves; ``on_full`` is told, now and
        then, how many there are when it has come to this."""
        self._life = life
        self._connections_max = connections_max
        self._on_full = on_full
        self._selector = selector
        self._after = after
        self._frame_bytes_max = values.frame_bytes_max(limits.max_body_bytes)
        self._unread_max = 2 * limits.client_limit
        self._admission: Admission | None = None
        self._request_ids = cast("Iterator[RequestId]", count(1))
        self._client_numbers = count(1)
        self._open: dict[RequestId, Incoming] = {}
        self._unreadable: dict[RequestId, tuple[ClientConnection, bytes, requests.Echo]] = {}
        self.incoming: Callable[[RequestId], Incoming] = self._open.__getitem__
        """What the request is, as its client sent it."""
        self._connections: set[ClientConnection] = set()
        self.readable: dict[ClientConnection, None] = {}
        """Who may have something to ``read``, in the order of their turns."""
        self._answers: deque[Answer] = deque()
        self.answer: Callable[[Answer], None] = self._answers.append
        """Answer with the next ``flush``: what a worker does next comes before what it has done."""
        self._spoken_to: dict[ClientConnection, None] = {}
        """To whom something has been said, for ``flush`` to send."""
        self.has_priorities = False
        """Somebody has sent a request of another priority than the usual one."""
        self.beginning: set[ClientConnection] = set()
        """Who has not greeted yet, or is in the middle of a large request."""
        self.replies_undelivered = 0

    # --- the address ------------------------------------------------------------------------------

    def bind(self, address: str) -> None:
        """CannotBind if the address is taken or unusable."""
        self._admission = Admission(
            address,
            self._selector,
            self._after,
            room=lambda: self._connections_max - len(self._connections),
            on_full=lambda: self._on_full(len(self._connections)),
            welcome=self._welcome,
        )

    @property
    def address(self) -> str:
        """Where it is bound, a wildcard port resolved."""
        assert self._admission is not None
        return self._admission.address

    def _welcome(self, accepted: socket.socket) -> None:
        id = ClientId(next(self._client_numbers).to_bytes(8, "big"))
        peer = Peer(self._frame_bytes_max, _FRAMES_MAX)
        connection = ClientConnection(accepted, id, peer, self._unread_max)
        self._connections.add(connection)
        self.beginning.add(connection)
        news = partial(self._on_news, connection)
        self._selector.register_patient(connection, selectors.EVENT_READ, news)
        self._after(GREETING_TIMEOUT_S, partial(self._end_if_silent, connection))

    def _end_if_silent(self, connection: ClientConnection) -> None:
        if not connection.is_greeted and connection in self._connections:
            self._close(connection)

    def _on_news(self, connection: ClientConnection) -> None:
        """There is something to read, or room for what was said, or both."""
        self.readable[connection] = None
        if connection.is_stuck:
            connection.flush()
            self._watch_room(connection)

    def _watch_room(self, connection: ClientConnection) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE * connection.is_stuck)
        key = self._selector.get_key(connection)
        if key.events != wanted:
            self._selector.modify(connection, wanted, key.data)

    # --- the way in -------------------------------------------------------------------------------

    def read(self, emit: Callable[[Event], None]) -> None:
        """Take in what has come, up to a fair share; whoever has more stays ``readable``."""
        share, readable = float(MESSAGES_PER_TURN), self.readable
        arrivals: list[RequestArrived] = []
        gone: list[ClientGone] = []
        for _ in range(len(readable)):
            connection = next(iter(readable))
            del readable[connection]
            messages = connection.receive(math.ceil(share))
            for message in messages:
                event = self._take_in(connection, message)
                if type(event) is RequestArrived:
                    arrivals.append(event)
                elif event is not None:
                    emit(event)
            self._put_back(connection, gone)
            if connection.has_more and not messages:
                break  # it has had all of the share, and brought nothing
            share -= max(LEAST_SHARE, len(messages), connection.read_bytes // BYTES_PER_MESSAGE)
            if share <= 0:
                break
        if arrivals:
            emit(RequestsArrived(tuple(arrivals)) if len(arrivals) > 1 else arrivals[0])
        for client in gone:
            emit(client)

    def _put_back(self, connection: ClientConnection, gone: list[ClientGone]) -> None:
        """It has been read, for this time or for ever."""
        if connection.is_beginning:
            self.beginning.add(connection)
        else:
            self.beginning.discard(connection)
        if connection.has_ended:
            self._close(connection)
            if connection.has_asked:
                gone.append(ClientGone(connection.id))
        elif connection.has_more:
            self.readable[connection] = None
        elif connection.is_stuck:
            self._watch_room(connection)

    def _take_in(self, connection: ClientConnection, message: Message) -> Event | None:
        """What the message is to the core: nothing if it is a hello, which is answered here."""
        frames, envelope = message
        found = requests.decode_request(frames)
        request = next(self._request_ids)
        connection.has_asked = True
        if isinstance(found, requests.Unreadable):
            self._unreadable[request] = connection, envelope, found.id
            return RequestUnreadable(request, connection.id, found.error)
        header, payload = found
        if header.hello:
            self._say(connection, envelope, replies.encode_welcome(self._life, header.id))
            return None
        # Half of what Incoming(…) takes, which is Python.
        self._open[request] = tuple.__new__(Incoming, (connection, envelope, header, payload))
        if header is requests.NO_HEADER:
            return RequestArrived(request, connection.id, len(payload))
        self.has_priorities |= header.priority != requests.NO_HEADER.priority
        return RequestArrived(
            request,
            connection.id,
            len(payload),
            header.timeout_s,
            header.try_timeout_s,
            header.once,
            header.priority,
            once_name(header) if header.once else None,
        )

    # --- the way out ------------------------------------------------------------------------------

    def refuse(self, action: Refuse) -> None:
        unreadable = self._unreadable.pop(action.request, None)
        if unreadable is not None:
            connection, envelope, id = unreadable
        else:
            connection, envelope, header, _ = self._open.pop(action.request)
            id = header.id
        self._say(connection, envelope, replies.encode_refusal(action, id))

    def forget(self, action: Forget) -> None:
        del self._open[action.request]

    def _say(self, connection: ClientConnection, envelope: bytes, body: bytes) -> None:
        if connection.say(envelope, body):
            self._spoken_to[connection] = None
        else:
            # The client is gone, or does not read. Nobody else suffers.
            self.replies_undelivered += 1

    def flush(self) -> None:
        """Send what there is to say since the last time."""
        while self._answers:  # none is kept beside its copy, which may be large
            action = self._answers.popleft()
            connection, envelope, header, _ = self._open.pop(action.request)
            body = replies.encode_answer(
                action.reply, action.worker.slot, action.attempts, action.tried, header.id
            )
            if connection.say(envelope, body):  # as ``_say``
                self._spoken_to[connection] = None
            else:
                self.replies_undelivered += 1
        for connection in self._spoken_to:
            if not connection.is_stuck:
                connection.flush()
                if connection.is_stuck:
                    self._watch_room(connection)
                elif connection.has_ended:
                    self.readable[connection] = None  # to be closed there
        self._spoken_to.clear()

    # --- the end ----------------------------------------------------------------------------------

    def _close(self, connection: ClientConnection) -> None:
        self._connections.discard(connection)
        self.beginning.discard(connection)
        self._spoken_to.pop(connection, None)
        self.readable.pop(connection, None)
        self._selector.unregister(connection)
        connection.has_ended = True
        connection.close()

    def close(self) -> None:
        """Replies on their way get half a second."""
        if self._admission is not None:
            self._admission.close()
        self.flush()
        told = [c for c in self._connections if c.has_asked and not c.has_ended]
        farewell.part(told, LINGER_S)
        for connection in list(self._connections):
            self._close(connection)


def once_name(header: requests.Header) -> bytes | None:
    """By what the core knows a request that is marked ``once`` and has an id: a digest, so that
    what is kept of many ids does not depend on how long they are."""
    if not header.once or header.id is None:
        return None
    kind, id = (b"s", header.id.encode()) if isinstance(header.id, str) else (b"b", header.id)
    return blake2b(kind + id, digest_size=ONCE_NAME_BYTES).digest()
