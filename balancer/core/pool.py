"""Who exists, who is idle, and who holds what; the one table by which a link moves.

Rule 1: every change of a worker's state is a row of LINK; a missing row is our bug.
Rule 2: a worker in rotation holds at most one try, and is idle exactly when it holds none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from balancer.core.deadlines import Alarm
from balancer.core.events import RequestId, WorkerId


class State(Enum):
    DOWN = "down"
    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    OVERDUE = "overdue"


class Signal(Enum):
    CONNECTED = "connected"
    READY = "ready"
    FORWARDED = "forwarded"
    REPLIED = "replied"
    TIMED_OUT = "timed out"
    LOST = "lost"


LINK: dict[tuple[State, Signal], State] = {
    (State.DOWN, Signal.CONNECTED): State.CONNECTING,
    (State.CONNECTING, Signal.READY): State.IDLE,
    (State.IDLE, Signal.FORWARDED): State.BUSY,
    (State.BUSY, Signal.REPLIED): State.IDLE,
    (State.BUSY, Signal.TIMED_OUT): State.OVERDUE,
    (State.OVERDUE, Signal.REPLIED): State.IDLE,
    (State.CONNECTING, Signal.LOST): State.DOWN,
    (State.IDLE, Signal.LOST): State.DOWN,
    (State.BUSY, Signal.LOST): State.DOWN,
    (State.OVERDUE, Signal.LOST): State.DOWN,
}


@dataclass(slots=True)
class Held:
    """The try that a worker is busy with, whatever has become of its request meanwhile."""

    request: RequestId
    attempt: int
    started_at: float
    give_up_at: float
    """When the worker is given up as hanging."""
    alarm: Alarm | None = None


class Member:
    """A slot of a pool and the incarnation that fills it, if one does."""

    __slots__ = ("alarm", "held", "is_ours", "pool", "slot", "state", "worker")

    def __init__(self, slot: str, pool: "Pool", is_ours: bool) -> None:
        self.slot = slot
        self.pool = pool
        self.is_ours = is_ours
        self.state = State.DOWN
        self.worker = WorkerId(slot, 0)
        self.held: Held | None = None
        self.alarm: Alarm | None = None
        """While it connects: when to stop waiting for its first sign of life."""

    def __repr__(self) -> str:
        held = f" on {self.held.request}" if self.held else ""
        return f"{self.slot}#{self.worker.incarnation} {self.state.value}{held}"


class Pool:
    """The workers of one handler."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Member] = {}
        self.idle: dict[str, Member] = {}
        """The longest idle first: a dict keeps the order in which they became idle."""
        self.serving = 0
        """How many are idle or busy: they are up and will be free."""


_SERVING = {State.IDLE, State.BUSY}


class Pools:
    """All pools in the order of the sweep, and the only place where a worker's state moves."""

    def __init__(self, names: Iterator[str]) -> None:
        self._pools = {name: Pool(name) for name in names}
        self._members: dict[str, Member] = {}

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def __repr__(self) -> str:
        return ", ".join(repr(member) for member in self._members.values())

    def members(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __len__(self) -> int:
        return len(self._members)

    def serving(self) -> int:
        return sum(pool.serving for pool in self)

    def add(self, slot: str, pool_name: str, *, is_ours: bool = True) -> None:
        if slot not in self._members:
            pool = self._pools[pool_name]
            self._members[slot] = pool.members[slot] = Member(slot, pool, is_ours)

    def remove(self, slot: str) -> Member | None:
        """Forget the slot. Its member, if there was one, is the caller's to settle."""
        member = self._members.pop(slot, None)
        if member is not None:
            del member.pool.members[slot]
            self._settle(member, State.DOWN)
        return member

    def find(self, worker: WorkerId) -> Member | None:
        """The member that this very incarnation fills; None if it is of the past."""
        member = self._members.get(worker.slot)
        if member is None or member.worker != worker or member.state is State.DOWN:
            return None
        return member

    def vacant(self, worker: WorkerId) -> Member | None:
        """The member that this incarnation may fill: it is down and had older ones only."""
        member = self._members.get(worker.slot)
        if member is None or member.state is not State.DOWN:
            return None
        return member if worker.incarnation > member.worker.incarnation else None

    def predecessor(self, worker: WorkerId) -> Member | None:
        """The member that an older incarnation than this one still fills, or None."""
        member = self._members.get(worker.slot)
        if member is None or member.state is State.DOWN:
            return None
        return member if worker.incarnation > member.worker.incarnation else None

    def move(self, member: Member, signal: Signal) -> None:
        self._settle(member, LINK[member.state, signal])

    def _settle(self, member: Member, state: State) -> None:
        pool = member.pool
        pool.serving += (state in _SERVING) - (member.state in _SERVING)
        if member.state is State.IDLE:
            del pool.idle[member.slot]
        if state is State.IDLE:
            pool.idle[member.slot] = member
        member.state = state
