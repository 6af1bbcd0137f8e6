"""Many requests in flight over one connection, without waiting: every shell waits in its own way.

A request is handed to a socket only once its handshake is done, so that one which was never handed
over is certain not to have run. When a connection ends, a fresh socket is opened, at the next
address where there are several, and what is still owed is sent again. A ``once`` call, only to the
same cluster, which knows by its name whether it may have run; so it is handed over on no connection
before that has told, in answer to a hello, the cluster's life.
"""

import itertools
import math
import os
import random
from collections import OrderedDict, deque
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Generic

import zmq

from balancer.client.calls import (
    HELLO_ID,
    LOST,
    Call,
    Owner,
    Request,
    hello_frames,
    lost,
    timed_out,
    unreachable,
)
from balancer.client.dealer import Dealer
from balancer.wire.reply import Reply, decode_welcome

DIAL_TIMEOUT_S = 2.5
"""A connection that is not up by then is given up, whatever its monitor says."""
DIAL_PAUSE_MIN_S = 0.02
DIAL_PAUSE_MAX_S = 0.2

# Where a signal handler, that of Ctrl-C say, raises while a socket is being opened or closed, the
# context's I/O thread may be blocked for good, and with it whoever ends the context.
_abandoned: list[zmq.Context[zmq.Socket[bytes]]] = []


_HINT = "give an address such as 'tcp://127.0.0.1:5555', or several of them in a list"


def _as_list(address: str | Sequence[str]) -> list[str]:
    if isinstance(address, str):
        return [address]
    if not isinstance(address, Sequence) or not all(isinstance(one, str) for one in address):
        raise TypeError(f"cannot connect to {address!r}: {_HINT}")
    if not address:
        raise ValueError(f"no address to connect to: {_HINT}")
    return list(address)


class Connection(Generic[Owner]):
    """Has one user at a time, who calls ``advance`` whenever a descriptor is readable, a date of
    ``next_deadline`` has come, or ``has_news`` says so, and sleeps in between."""

    def __init__(self, address: str | Sequence[str], now: float) -> None:
        """TypeError or ValueError if there is no address, or one is none; whether somebody is
        there turns out later."""
        self._addresses = _as_list(address)
        self._pid = os.getpid()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._is_spoiled = False
        """A socket was opened or closed half-way."""
        self._ids = itertools.count(1)
        self._calls: dict[bytes, Call[Owner]] = {}
        self._unsent: OrderedDict[bytes, Call[Owner]] = OrderedDict()
        """For its first one a plain dict looks through all that have left before."""
        self._held: dict[bytes, Call[Owner]] = {}
        """Marked ``once``, to be handed over when the life is known."""
        self._life: str | None = None
        """Of the cluster at the other end of today's socket; None until it has told."""
        self._is_hello_sent = False
        self._ends: list[tuple[float, bytes]] = []
        self._dealer: Dealer | None = None
        self._dialed_at = self._dial_at = now
        self.ended: deque[Call[Owner]] = deque()
        """Calls whose owners are to be told. It is kept here, and in this order things are done,
        for the sake of an exception from a signal handler in the middle of ``advance``: it may
        cost a connection, but nobody's answer."""
        self.is_closed = False
        self._dials = 0
        self.generation = 0
        """Where it has changed, ``filenos`` are others, though their numbers may be the same."""
        try:
            for address in self._addresses[1:]:
                Dealer(self._context, address).close()
            self._dial(now)
        except zmq.ZMQError as error:
            self._context.term()
            names = " or ".join(self._addresses)
            raise ValueError(f"cannot connect to {names} ({error.strerror}): {_HINT}") from error

    # --- what a shell asks ----------------------------------------------------------------------

    def filenos(self) -> tuple[int, ...]:
        return () if self._dealer is None else self._dealer.filenos()

    def has_news(self) -> bool:
        if self._dealer is None:
            return False
        wants_to_send = bool(self._unsent) or (bool(self._held) and not self._is_hello_sent)
        return self._dealer.has_news(wants_to_send=wants_to_send)

    def next_deadline(self) -> float:
        """When ``advance`` has something to do even if nothing arrives; may be infinite."""
        ends = self._ends
        while ends and ends[0][1] not in self._calls:
            heappop(ends)
        if not ends:
            return math.inf
        if self._dealer is None:
            return min(ends[0][0], self._dial_at)
        if not self._dealer.is_ready:
            return min(ends[0][0], self._dialed_at + DIAL_TIMEOUT_S)
        return ends[0][0]

    # --- what a shell does ----------------------------------------------------------------------

    def submit(self, request: Request, owner: Owner, now: float) -> Call[Owner]:
        """Take a request on; call ``advance`` next, which sends it. RuntimeError after a fork:
        sockets do not survive one (https://github.com/zeromq/libzmq/issues/3223)."""
        if os.getpid() != self._pid:
            raise RuntimeError("a client cannot be used after a fork: make one in the new process")
        id = next(self._ids).to_bytes(8, "big")
        call = Call(id, request, now + request.timeout_s, owner)
        self._calls[id] = call
        self._line_of(call)[id] = call
        if len(self._ends) > 64 + 2 * len(self._calls):
            # Most calls end long before their time: without tidying, a fast client would keep
            # the dates of the last thirty seconds' calls.
            self._ends = [end for end in self._ends if end[1] in self._calls]
            heapify(self._ends)
        heappush(self._ends, (call.ends_at, id))
        return call

    def forget(self, call: Call[Owner]) -> None:
        """Nobody waits for it any more: its answer, should one come, is dropped."""
        self._calls.pop(call.id, None)
        self._unsent.pop(call.id, None)
        self._held.pop(call.id, None)

    def advance(self, now: float) -> None:
        """Do everything that can be done at once; then look into ``ended``."""
        if self.is_closed:
            return
        if self._dealer is not None:
            self._watch(self._dealer, now)
        if self._dealer is None and self._calls and now >= self._dial_at:
            self._redial(now)
        if self._dealer is not None and self._dealer.is_ready:
            if self._held:
                self._release_held(self._dealer)
            self._hand_over(self._dealer, now)
        self._expire(now)

    def close(self) -> None:
        """Let go of the sockets; the calls that are still open end here."""
        self.is_closed = True
        for call in list(self._calls.values()):
            self._end(call, lost(call, "The client was closed."))
        if self._dealer is not None:
            self._drop(self._dealer)
        if self._is_spoiled:
            self._abandon()
        self._context.term()

    # --- replies --------------------------------------------------------------------------------

    def _watch(self, dealer: Dealer, now: float) -> None:
        self._receive(dealer)
        dealer.notice()
        if dealer.is_broken or (not dealer.is_ready and now >= self._dialed_at + DIAL_TIMEOUT_S):
            # A reply may have come just ahead of the news that the connection ended.
            self._receive(dealer)
            self._lose(dealer, now)

    def _receive(self, dealer: Dealer) -> None:
        for frames in dealer.messages():
            call = self._calls.get(frames[0]) if len(frames) == 3 else None
            if frames[0] == HELLO_ID:
                self._life = decode_welcome(frames[-1])
            elif call is not None:
                self._end(call, frames[2])

    def _end(self, call: Call[Owner], answer: bytes | Reply) -> None:
        call.answer = answer
        self.ended.append(call)
        self.forget(call)

    def _expire(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            call = self._calls.get(self._ends[0][1])
            if call is not None:
                self._end(call, self._expired(call))
            heappop(self._ends)

    def _expired(self, call: Call[Owner]) -> Reply:
        if self._dealer is not None and self._dealer.is_ready:
            return timed_out(call)
        return unreachable(call, self._addresses)

    # --- sending --------------------------------------------------------------------------------

    def _line_of(self, call: Call[Owner]) -> dict[bytes, Call[Owner]]:
        return self._held if call.request.once else self._unsent

    def _release_held(self, dealer: Dealer) -> None:
        """Say hello; as soon as the life is known, let go of what waits for it."""
        if not self._is_hello_sent:
            self._is_hello_sent = dealer.send(hello_frames())
        if self._life is None:
            return
        for call in list(self._held.values()):
            if call.may_have_run and call.life != self._life:
                self._end(call, lost(call, LOST))
                continue
            call.life = self._life
            self._unsent[call.id] = call
            self._held.pop(call.id, None)

    def _hand_over(self, dealer: Dealer, now: float) -> None:
        while self._unsent:
            call = next(iter(self._unsent.values()))
            if now < call.deadline and not call.is_handed_over:
                had_run = call.may_have_run
                # Before the attempt: what is interrupted half-way may have been delivered.
                call.is_handed_over = call.may_have_run = True
                if not dealer.send(call.frames(now)):
                    call.is_handed_over = dealer.is_broken
                    call.may_have_run = had_run or dealer.is_broken
                    return
            self._unsent.pop(call.id, None)

    # --- connecting -----------------------------------------------------------------------------

    def _dial(self, now: float) -> None:
        if self._is_spoiled:
            self._abandon()
        address = self._addresses[self._dials % len(self._addresses)]
        self._dials += 1
        self._dialed_at = now
        self._is_spoiled = True
        try:
            self._dealer = Dealer(self._context, address)
        except zmq.ZMQError:
            self._is_spoiled = False
            raise
        self._is_spoiled = False
        self.generation += 1

    def _redial(self, now: float) -> None:
        try:
            self._dial(now)
        except zmq.ZMQError:
            # Such as too many open files, which may pass.
            self._plan_dial(now)

    def _plan_dial(self, now: float) -> None:
        # Counted from the last time, so that the loss of an old connection costs no wait.
        pause_s = random.uniform(DIAL_PAUSE_MIN_S, DIAL_PAUSE_MAX_S)
        self._dial_at = max(now, self._dialed_at + pause_s)

    def _drop(self, dealer: Dealer) -> None:
        self._dealer = None
        self.generation += 1
        self._is_spoiled = True
        dealer.close()
        self._is_spoiled = False

    def _abandon(self) -> None:
        _abandoned.append(self._context)
        self._context = zmq.Context()
        self._is_spoiled = False

    def _lose(self, dealer: Dealer, now: float) -> None:
        for call in [call for call in self._calls.values() if call.is_handed_over]:
            call.is_handed_over = False
            call.losses += 1
            is_hopeless = call.request.once and not call.life
            if is_hopeless or call.losses >= call.request.losses_max:
                self._end(call, lost(call, LOST))
        self._held = {id: call for id, call in self._calls.items() if call.request.once}
        self._unsent = OrderedDict(
            (id, call) for id, call in self._calls.items() if not call.request.once
        )
        self._life, self._is_hello_sent = None, False
        self._plan_dial(now)
        self._drop(dealer)
