"""The ROUTER that clients talk to: messages become events, endings become replies.

What a request carries (how to answer it, its payload) stays here under the request's number until
the request is over; the core never sees it.
"""

import ctypes
import hashlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import cast

import zmq

from balancer.core.events import (
    Answer,
    ClientGone,
    ClientId,
    Event,
    Forget,
    Refuse,
    RequestArrived,
    RequestId,
    RequestUnreadable,
)
from balancer.core.limits import Limits
from balancer.monitor import NOBLOCK, Monitor, has_message
from balancer.port import Part, Port
from balancer.wire import replies, requests, values

MESSAGES_PER_TURN = 64
_FRAMES_MAX = requests.FRAMES_MAX + 1
"""One more tells that there are too many."""
ONCE_NAME_BYTES = 16


class CannotBind(Exception):
    """The address is not to be had; the text says why and what to do."""


def seed_routing_ids() -> None:
    """Call before the first context: libzmq draws routing ids from an unseeded rand(), so that
    every process would hand out the same ones (https://github.com/zeromq/libzmq/issues/4633)."""
    ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))


class Frontend:
    """Bounded by the sockets' limits and by the core's: it never stops reading."""

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], limits: Limits, life: str = ""
    ) -> None:
        """``life`` is the answer to a hello; an empty one promises nothing to anybody."""
        self._life = life
        self._router = context.socket(zmq.ROUTER)
        self._port = Port(self._router)
        self._receive_id = cast("Callable[[int], ClientId]", self._port.receive_bytes)
        self._numbers = cast("Iterator[RequestId]", count(1))
        self._open: dict[RequestId, requests.Incoming] = {}
        self._unreadable: dict[RequestId, requests.Unreadable] = {}
        self.incoming: Callable[[RequestId], requests.Incoming] = self._open.__getitem__
        """What the request is, as its client sent it."""
        self._clients: dict[int, ClientId] = {}
        """The descriptor of each client's connection, by which the monitor tells of its end."""
        self._known: set[ClientId] = set()
        self._connections: set[int] = set()
        """The descriptors of all connections, whether or not a message came by them."""
        self.outbox: list[tuple[Sequence[bytes], bytes]] = []
        """What has been said, for ``flush`` to send."""
        self.replies_undelivered = 0
        self._ipc_path = ""
        self._configure(limits)
        self._monitor = Monitor(context, self._router, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)

    def _configure(self, limits: Limits) -> None:
        router = self._router
        router.router_mandatory = 1  # an error instead of silence when a client is gone
        router.router_handover = 0  # nobody can take over another client's id
        router.linger = 500
        router.backlog = 1024
        router.sndhwm = 2 * limits.client_limit
        router.maxmsgsize = values.frame_bytes_max(limits.max_body_bytes)
        router.handshake_ivl = 2000
        router.heartbeat_ivl = 5000
        router.heartbeat_timeout = 15000
        router.tcp_keepalive = 1

    def bind(self, address: str) -> None:
        """CannotBind if the address is taken or unusable."""
        if address.startswith("ipc://") and _is_taken(address.removeprefix("ipc://")):
            # libzmq would take the path away from its owner without a word.
            raise CannotBind(f"{address} is in use: give --bind another path")
        self._router.ipv6 = address.startswith("tcp://[")
        before = os.umask(0o177)
        try:
            self._router.bind(address)
        except zmq.ZMQError as error:
            raise CannotBind(
                f"cannot bind {address}: {os.strerror(error.errno or 0)}; stop what uses it, "
                "or give --bind another address"
            ) from error
        finally:
            os.umask(before)
        self._ipc_path = address.removeprefix("ipc://") if address.startswith("ipc://") else ""

    @property
    def address(self) -> str:
        """Where it is bound, a wildcard port resolved."""
        return str(self._router.getsockopt_string(zmq.LAST_ENDPOINT))

    def filenos(self) -> tuple[int, int]:
        """Of the messages, to be ``read``, and of the clients' coming and going: ``watch``."""
        return int(self._router.fileno()), self._monitor.fileno()

    def has_message(self) -> bool:
        """Whether there is something to ``read``: ask after answers were sent, before sleeping."""
        return has_message(self._router)

    def read(self, emit: Callable[[Event], None]) -> bool:
        """Take in what has come, up to a fair share; True if there may be more."""
        port, known = self._port, self._known
        receive, receive_id = port.receive_frame, self._receive_id
        for number in range(MESSAGES_PER_TURN):
            # Often there is just one, and to ask costs half of what an exception does.
            if number == 1 and not self.has_message():
                return False
            try:
                client = receive_id(NOBLOCK)
            except zmq.Again:
                return False
            frame = receive(NOBLOCK)
            is_known = client in known or self._meet(client, frame, emit)
            event = self._accept(client, port.receive_rest([client], frame, _FRAMES_MAX))
            if event is not None:
                emit(event)
            if not is_known:
                # It left before we came to read it: nobody waits for the answer.
                emit(ClientGone(client))
        return True

    def watch(self, emit: Callable[[Event], None]) -> None:
        """See who has come and who has gone."""
        for event, descriptor in self._monitor.read():
            if event == zmq.EVENT_ACCEPTED:
                self._connections.add(descriptor)
            else:
                self._connections.discard(descriptor)
                self._forget_client(descriptor, emit)

    def answer(self, action: Answer) -> None:
        incoming, slot = self._open.pop(action.request), action.worker.slot
        body = replies.encode_answer(
            action.reply, slot, action.attempts, action.tried, incoming.header.id
        )
        self.outbox.append((incoming.envelope, body))

    def refuse(self, action: Refuse) -> None:
        unreadable = self._unreadable.pop(action.request, None)
        if unreadable is not None:
            envelope, id = unreadable.envelope, unreadable.id
        else:
            incoming = self._open.pop(action.request)
            envelope, id = incoming.envelope, incoming.header.id
        self.outbox.append((envelope, replies.encode_refusal(action, id)))

    def forget(self, action: Forget) -> None:
        del self._open[action.request]

    def close(self) -> None:
        """Replies on their way get half a second."""
        self._monitor.close()
        self._router.close()
        if self._ipc_path:  # libzmq leaves the file behind
            Path(self._ipc_path).unlink(missing_ok=True)

    def _meet(self, client: ClientId, frame: zmq.Frame, emit: Callable[[Event], None]) -> bool:
        """Learn which connection a new client's first frame came by; False if that has ended."""
        try:
            descriptor = int(frame.get(zmq.SRCFD))
        except zmq.ZMQError:
            # A peer that speaks ZMTP 2 or older, as random bytes may, comes without a descriptor:
            # nobody will tell of its end, so it is not kept in mind either.
            return True
        # Who had this descriptor before is gone, and the news of that comes before the new one's.
        self.watch(emit)
        if descriptor in self._connections:
            self._forget_client(descriptor, emit)
            self._clients[descriptor] = client
            self._known.add(client)
            return True
        return False

    def _accept(self, client: ClientId, frames: list[Part]) -> Event | None:
        """What the message is to the core: nothing if it is a hello, which is answered here."""
        incoming = requests.decode_request(frames)
        request = next(self._numbers)
        if isinstance(incoming, requests.Unreadable):
            self._unreadable[request] = incoming
            return RequestUnreadable(request, client, incoming.error)
        header = incoming.header
        if header.hello:
            welcome = replies.encode_welcome(self._life, header.id)
            self.outbox.append((incoming.envelope, welcome))
            return None
        self._open[request] = incoming
        if header is requests.NO_HEADER:
            return RequestArrived(request, client, len(incoming.payload))
        return RequestArrived(
            request,
            client,
            len(incoming.payload),
            header.timeout_s,
            header.try_timeout_s,
            header.once,
            header.priority,
            once_name(header) if header.once else None,
        )

    def flush(self) -> None:
        """Send what has been said since the last time, which may swallow the news of a request
        (zmq_getsockopt(3), ZMQ_FD)."""
        send = self._port.send
        for envelope, body in self.outbox:
            try:
                send(envelope, body)
            except zmq.ZMQError:
                # EHOSTUNREACH: the client is gone. EAGAIN: it does not read. Nobody else suffers.
                self.replies_undelivered += 1
        self.outbox.clear()

    def _forget_client(self, descriptor: int, emit: Callable[[Event], None]) -> None:
        """Whoever came by this connection before is gone."""
        client = self._clients.pop(descriptor, None)
        if client is not None:
            self._known.discard(client)
            emit(ClientGone(client))


def once_name(header: requests.Header) -> bytes | None:
    """By what the core knows a request that is marked ``once`` and has an id: a digest, so that
    what is kept of many ids does not depend on how long they are."""
    if not header.once or header.id is None:
        return None
    kind, id = (b"s", header.id.encode()) if isinstance(header.id, str) else (b"b", header.id)
    return hashlib.blake2b(kind + id, digest_size=ONCE_NAME_BYTES).digest()


def _is_taken(path: str) -> bool:
    """Whether somebody listens there, or it is something else than a socket."""
    if os.path.lexists(path) and not Path(path).is_socket():
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
