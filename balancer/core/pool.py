"""Who exists, who is idle, and who holds what; the one table by which a link moves.

Rule 1: every change of a worker's state is a row of LINK; a missing row is our bug.
Rule 2: a worker in rotation holds at most one try, and is idle exactly when it holds none.

States and signals are texts, for the hash of a plain Enum is computed in Python at each look-up.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from balancer.core.deadlines import Alarm
from balancer.core.events import Batching, RequestId, WorkerId
from balancer.core.limits import Limits
from balancer.core.service_time import ServiceTime


class State(StrEnum):
    DOWN = "down"
    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    OVERDUE = "overdue"
    EJECTED = "ejected"
    DRAINING = "draining"


class Signal(StrEnum):
    CONNECTED = "connected"
    READY = "ready"
    FORWARDED = "forwarded"
    REPLIED = "replied"
    TIMED_OUT = "timed out"
    EJECTED = "ejected"
    READMITTED = "readmitted"
    RETIRED = "retired"
    LOST = "lost"


LINK: dict[tuple[State, Signal], State] = {
    (State.DOWN, Signal.CONNECTED): State.CONNECTING,
    (State.CONNECTING, Signal.READY): State.IDLE,
    (State.IDLE, Signal.FORWARDED): State.BUSY,
    (State.BUSY, Signal.REPLIED): State.IDLE,
    (State.BUSY, Signal.TIMED_OUT): State.OVERDUE,
    (State.OVERDUE, Signal.REPLIED): State.IDLE,
    (State.IDLE, Signal.EJECTED): State.EJECTED,
    (State.EJECTED, Signal.READMITTED): State.IDLE,
    (State.EJECTED, Signal.FORWARDED): State.BUSY,  # by a request for which nobody else is left
    (State.CONNECTING, Signal.RETIRED): State.DOWN,
    (State.IDLE, Signal.RETIRED): State.DOWN,
    (State.EJECTED, Signal.RETIRED): State.DOWN,
    (State.BUSY, Signal.RETIRED): State.DRAINING,
    (State.OVERDUE, Signal.RETIRED): State.DRAINING,
    (State.DRAINING, Signal.TIMED_OUT): State.DRAINING,
    (State.DRAINING, Signal.REPLIED): State.DOWN,
    (State.CONNECTING, Signal.LOST): State.DOWN,
    (State.IDLE, Signal.LOST): State.DOWN,
    (State.BUSY, Signal.LOST): State.DOWN,
    (State.OVERDUE, Signal.LOST): State.DOWN,
    (State.EJECTED, Signal.LOST): State.DOWN,
    (State.DRAINING, Signal.LOST): State.DOWN,
}


@dataclass(slots=True)
class Held:
    """What a worker is busy with, whatever has become of the requests meanwhile."""

    requests: tuple[RequestId, ...]
    """One, or those of a batch in their order."""
    started_at: float
    expires_at: float
    limits: Limits
    """Those of that time: they hold to the end."""
    is_last_resort: bool
    """The worker was ejected when it got the try."""
    is_timed: bool = True
    """How long it takes counts for what the pool's requests are thought to take."""
    alarm: Alarm | None = None
    """When it is killed, once its time is over."""

    @property
    def is_full(self) -> bool:
        """It has all the time that a try can have."""
        return self.expires_at >= self._patience_ends_at

    @property
    def give_up_at(self) -> float:
        """When the worker is given up as hanging."""
        return max(self.expires_at, self._patience_ends_at) + self.limits.hang_kill_after_s

    @property
    def _patience_ends_at(self) -> float:
        """When it has had all the time that a worker gets. A client's impatience is no reason to
        blame it: with less time than this, running out of it is not the worker's fault."""
        return self.started_at + self.limits.try_timeout_s


class Member:
    """A slot of a pool and the incarnation that fills it, if one does; or an incarnation aside."""

    __slots__ = (
        "alarm",
        "bad_tries",
        "batching",
        "ejections",
        "held",
        "is_ours",
        "pool",
        "slot",
        "state",
        "try_alarm",
        "worker",
    )

    def __init__(self, slot: str, pool: "Pool", is_ours: bool) -> None:
        self.slot = slot
        self.pool = pool
        self.is_ours = is_ours
        self.state = State.DOWN
        self.fill(WorkerId(slot, 0))

    def fill(self, worker: WorkerId) -> None:
        """A new process has a clean record, whatever the one before it did."""
        self.worker = worker
        self.batching = Batching.NONE
        self.held: Held | None = None
        self.alarm: Alarm | None = None
        """While it connects: when to stop waiting for it. While it is ejected: when that ends."""
        self.try_alarm: Alarm | None = None
        """Due when its try times out, or before: most tries end long before, and whether the
        alarm has the date of the one or the next costs less than a new one for each."""
        self.bad_tries = 0
        """In a row: garbled or timed out."""
        self.ejections = 0
        """Since its last good reply."""

    def __repr__(self) -> str:
        held = f" on {', '.join(map(str, self.held.requests))}" if self.held else ""
        return f"{self.slot}#{self.worker.incarnation} {self.state.value}{held}"


class Away(NamedTuple):
    """Who of a pool is not in rotation, but may come back."""

    down: tuple[Member, ...]
    unheard: tuple[Member, ...]
    """Overdue, or not heard of yet: they reply or are killed."""
    ejected: tuple[Member, ...]


class Pool:
    """The workers of one handler."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Member] = {}
        self.idle: dict[str, Member] = {}
        """The last is asked first. Who has replied just now is warm; the others may sleep on, and
        whoever is new or was ejected comes after all that are known to be good."""
        self.serving = 0
        """How many are idle or busy: they are up and will be free."""
        self.ejected = 0
        self.service = ServiceTime()
        self.fill_alarm: Alarm | None = None
        """When the first of those that wait for company has waited long enough."""
        self._away: Away | None = None

    def away(self) -> Away:
        """Worked out once for all that ask before the next of them comes or goes."""
        if self._away is None:
            self._away = Away(
                self._in_state(State.DOWN),
                self._in_state(State.OVERDUE, State.CONNECTING),
                self._in_state(State.EJECTED),
            )
        return self._away

    def _in_state(self, *states: State) -> tuple[Member, ...]:
        return tuple(member for member in self.members.values() if member.state in states)

    def note_change(self) -> None:
        """Somebody has come into or out of rotation, into the pool or out of it."""
        self._away = None


_SERVING = {State.IDLE, State.BUSY}

# What every request asks for: until Python 3.12 a member's look-up costs ten times a name's.
_DOWN, _IDLE, _BUSY = State.DOWN, State.IDLE, State.BUSY
_REPLIED = Signal.REPLIED


class Pools:
    """All pools in the order of the sweep, and the only place where a worker's state moves."""

    def __init__(self, names: Iterable[str]) -> None:
        self._pools = {name: Pool(name) for name in names}
        self.order = tuple(self._pools.values())
        """In which they are swept."""
        self._members: dict[str, Member] = {}
        self._newest: dict[str, int] = {}
        """The highest incarnation that came to a slot since it was added, forgotten or not."""
        self._up: dict[WorkerId, Member] = {}
        """All that are not down."""
        self.find: Callable[[WorkerId], Member | None] = self._up.get
        """The member that this very incarnation fills; None if it is of the past."""
        self._aside: dict[WorkerId, Member] = {}
        """Beside the one in its slot: successors that are not ready yet, and the retired that
        finish what they hold."""

    def __iter__(self) -> Iterator[Pool]:
        return iter(self.order)

    def __repr__(self) -> str:
        return ", ".join(repr(member) for member in (*self.members(), *self._aside.values()))

    def members(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def serving(self) -> int:
        return sum(pool.serving for pool in self)

    def arrange(self, names: Iterable[str]) -> None:
        """The sweep goes in this order; pools that are not named stay at its end."""
        known, order = self._pools, dict.fromkeys([*names, *self._pools])
        self._pools = {name: known.get(name) or Pool(name) for name in order}
        self.order = tuple(self._pools.values())

    # --- slots ------------------------------------------------------------------------------------

    def add(self, slot: str, pool_name: str, *, is_ours: bool = True) -> None:
        if slot not in self._members:
            pool = self._pools[pool_name]
            self._members[slot] = pool.members[slot] = Member(slot, pool, is_ours)
            pool.note_change()

    def remove(self, slot: str) -> list[Member]:
        """Forget the slot. Its member and the successors, if there were any, are the caller's."""
        member = self._members.pop(slot, None)
        if member is None:
            return []
        del member.pool.members[slot]
        member.pool.note_change()
        self._newest.pop(slot, None)
        successors = list(self.successors(slot))
        for successor in successors:
            del self._aside[successor.worker]
        return [member, *successors]

    def current(self, slot: str) -> Member | None:
        return self._members.get(slot)

    # --- incarnations -----------------------------------------------------------------------------

    def in_slot(self, worker: WorkerId) -> Member | None:
        """The slot's member if this incarnation is newer than all that were known there."""
        member = self._members.get(worker.slot)
        if member is None or worker.incarnation <= self._newest.get(worker.slot, 0):
            return None
        known = (other.incarnation for other in self._aside if other.slot == worker.slot)
        return member if worker.incarnation > max(known, default=0) else None

    def successors(self, slot: str) -> Iterator[Member]:
        """Who waits beside the slot's worker to take its place."""
        if not self._aside:
            return iter(())
        return (
            member
            for member in self._aside.values()
            if member.slot == slot and member.state is State.CONNECTING
        )

    def stand_beside(self, worker: WorkerId, older: Member) -> Member:
        """A member of its own for an incarnation whose slot has a worker still."""
        member = Member(older.slot, older.pool, older.is_ours)
        self.fill(member, worker)
        self._aside[worker] = member
        return member

    def fill(self, member: Member, worker: WorkerId) -> None:
        """The member is this new incarnation from now on."""
        member.fill(worker)
        self._newest[worker.slot] = worker.incarnation

    def succeed(self, successor: Member) -> Member | None:
        """Put the successor into its slot. Who was there is aside now, and the caller's to settle;
        None if the successor is in its slot already, or the slot is gone."""
        if self._aside.get(successor.worker) is not successor:
            return None
        older = self._members[successor.slot]
        del self._aside[successor.worker]
        self._members[older.slot] = older.pool.members[older.slot] = successor
        older.pool.note_change()
        return older

    def put_aside(self, member: Member) -> None:
        """It has left its slot, and finishes what it holds."""
        self._aside[member.worker] = member

    def move(self, member: Member, signal: Signal) -> None:
        """Move its state by the table; who stood aside and is down is forgotten."""
        before, idle = member.state, member.pool.idle
        member.state = state = LINK[before, signal]
        if before is _IDLE:
            del idle[member.slot]
            if state is _BUSY:
                return
        elif state is _IDLE:
            idle[member.slot] = member
            if signal is _REPLIED and before is _BUSY:
                return
            if signal is not _REPLIED:
                member.pool.idle = {member.slot: member, **idle}
        self._note_move(member, before, state)

    def _note_move(self, member: Member, before: State, state: State) -> None:
        """It has not just become busy or free: others may be concerned."""
        pool = member.pool
        pool.note_change()
        pool.serving += (state in _SERVING) - (before in _SERVING)
        pool.ejected += (state is State.EJECTED) - (before is State.EJECTED)
        if before is _DOWN:
            self._up[member.worker] = member
        elif state is _DOWN:
            del self._up[member.worker]
            self._aside.pop(member.worker, None)
