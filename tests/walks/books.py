"""What anybody can know of a core who hears every event and sees every action, and no more."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from balancer.core.events import Batching, ClientId, RequestId, Why, WorkerId
from balancer.core.limits import Limits

MAY_HAVE_RUN = (Why.GARBLED, Why.TIMEOUT, Why.DIED)
STRIKES = (Why.TIMEOUT, Why.DIED)


class State(StrEnum):
    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    OVERDUE = "overdue"
    EJECTED = "ejected"
    DRAINING = "draining"


IN_ROTATION = (State.IDLE, State.BUSY)


@dataclass
class Try:
    requests: tuple[RequestId, ...]
    """One, or those of a batch."""
    started_at: float
    expires_at: float
    kill_at: float
    is_full: bool
    is_last_resort: bool
    """Its worker is ejected, and nobody else was left."""
    has_timed_out: bool = False

    @property
    def is_batch(self) -> bool:
        return len(self.requests) > 1


@dataclass
class Worker:
    id: WorkerId
    pool: str
    is_ours: bool
    state: State = State.CONNECTING
    batching: Batching = Batching.NONE
    held: Try | None = None
    bad_tries: int = 0
    ejections: int = 0
    kill_at: float = 0.0
    """While it connects."""
    ejected_until: float = 0.0


@dataclass
class Slot:
    pool: str
    is_ours: bool
    worker: Worker | None = None


@dataclass
class Request:
    number: RequestId
    client: ClientId
    name: bytes | str | None
    once: bool
    priority: int
    size_bytes: int
    arrived_at: float
    deadline: float
    try_timeout_s: float
    holder: Worker | None = None
    attempts: int = 0
    strikes: int = 0
    """Workers that it has killed or hung alone."""
    has_hung: bool = False
    """One of them was hung."""
    was_in_company: bool = False
    """In its latest try."""
    tried: list[tuple[str, Why]] = field(default_factory=list)
    asked: list[WorkerId] = field(default_factory=list)
    shut_slots: set[str] = field(default_factory=set)
    shut_pools: set[str] = field(default_factory=set)
    queue_until: float | None = None
    stranded_until: float | None = None
    way_until: float | None = None
    """A suspect lets others go first until then, and then looks again, or goes."""
    last_way_until: float = 0.0
    waits_last: bool = False
    has_just_failed: bool = False

    @property
    def may_have_run(self) -> bool:
        return any(why in MAY_HAVE_RUN for _, why in self.tried)

    @property
    def is_suspect(self) -> bool:
        return self.strikes > 1 or self.has_hung

    @property
    def must_go_alone(self) -> bool:
        return self.once or self.may_have_run

    @property
    def is_final(self) -> bool:
        """Nobody else may get it."""
        return self.once and self.may_have_run


class Books:
    """Everything that is open, and what the core owes since the event that it was told last."""

    def __init__(self, limits: Limits, pools: list[str]) -> None:
        self.limits = limits
        self.pools = pools
        self.slots: dict[str, Slot] = {}
        self.aside: dict[WorkerId, Worker] = {}
        """Successors that are not ready, and the retired with a request."""
        self.open: dict[RequestId, Request] = {}
        self.once_ids: dict[bytes | str, RequestId | None] = {}
        self.drain_until: float | None = None
        self.is_draining = False
        self.owed: list[tuple[object, ...]] = []
        """Actions that have to come, each as its kind and what it is about."""
        self.is_expiring = False
        self.unsettled: list[Worker] = []
        """Whose dates are over while the core acts on the time: it knows or does not know yet."""
        self.queue_limit_max = limits.queue_limit

    # --- questions --------------------------------------------------------------------------------

    def workers(self) -> Iterator[Worker]:
        yield from (slot.worker for slot in self.slots.values() if slot.worker is not None)
        yield from self.aside.values()

    def find(self, worker: WorkerId) -> Worker | None:
        return next((known for known in self.workers() if known.id == worker), None)

    def waiting(self) -> list[Request]:
        return [request for request in self.open.values() if request.holder is None]

    def tried_by(self, worker: Worker) -> list[Request]:
        """Those of what it holds that still wait for it."""
        numbers = worker.held.requests if worker.held is not None else ()
        requests = (self.open.get(number) for number in numbers)
        return [one for one in requests if one is not None and one.holder is worker]

    def successors(self, slot: str) -> list[Worker]:
        return [
            worker
            for worker in self.aside.values()
            if worker.id.slot == slot and worker.state is State.CONNECTING
        ]

    def has_room_for(self, request: Request) -> bool:
        """Beside the others that wait: after a failed try there is more."""
        limits, others = self.limits, [one for one in self.waiting() if one is not request]
        extra = len(self.slots) * limits.batch_max if request.attempts else 0
        size_bytes = sum(other.size_bytes for other in others) + request.size_bytes
        limit_bytes = limits.queue_limit_bytes + extra * limits.max_body_bytes
        return len(others) < limits.queue_limit + extra and size_bytes <= limit_bytes

    def untried(self, request: Request, pool: str) -> Iterator[Slot]:
        """The slots of the pool that the request may still go to."""
        if request.is_final or pool in request.shut_pools:
            return
        for name, slot in self.slots.items():
            if slot.pool == pool and name not in request.shut_slots:
                yield slot

    def wanted(self, request: Request, *states: State) -> list[Worker]:
        """The untried workers in these states, in the first pool that has any in rotation; in all
        pools if none has."""
        everywhere = []
        for pool in self.pools:
            workers = [slot.worker for slot in self.untried(request, pool) if slot.worker]
            here = [worker for worker in workers if worker.state in states]
            if any(w.state in IN_ROTATION and w not in self.unsettled for w in workers):
                return here
            everywhere += here
        return everywhere

    def may_come_back(self, request: Request) -> bool:
        """Whether a slot that nobody fills is left to the request."""
        return any(
            slot.worker is None for pool in self.pools for slot in self.untried(request, pool)
        )

    def in_pool(self, pool: str, *states: State) -> list[Worker]:
        slots = (slot for slot in self.slots.values() if slot.pool == pool)
        return [slot.worker for slot in slots if slot.worker and slot.worker.state in states]

    # --- changes ----------------------------------------------------------------------------------

    def owe(self, *what: object) -> None:
        self.owed.append(what)

    def pay(self, *what: object) -> bool:
        """Whether this was owed; then it is no longer."""
        if what not in self.owed:
            return False
        self.owed.remove(what)
        return True

    def close(self, request: Request, *, is_answered: bool = False) -> None:
        del self.open[request.number]
        self.pay("ended", request.number)
        has_run = is_answered or request.may_have_run or request.holder is not None
        owner = self.once_ids.get(request.name) if request.name is not None else None
        if request.name is not None and owner == request.number and not has_run:
            del self.once_ids[request.name]

    def forget(self, worker: Worker) -> None:
        """It is gone, or as good as gone."""
        self.aside.pop(worker.id, None)
        slot = self.slots.get(worker.id.slot)
        if slot is not None and slot.worker is worker:
            slot.worker = None

    def lose(self, worker: Worker, why: Why) -> None:
        """It is gone, and a try that it held has to end."""
        self.forget(worker)
        for request in self.tried_by(worker):
            self.owe("try failed", request.number, worker.id, why)

    def retire(self, worker: Worker) -> None:
        """It gets nothing new; it is released once it holds nothing."""
        self.forget(worker)
        if worker.held is None:
            self.owe("released", worker.id)
        else:
            worker.state = State.DRAINING
            self.aside[worker.id] = worker

    def promote(self, slot_name: str) -> None:
        """Who stood beside a worker that is gone has the slot to itself."""
        slot = self.slots.get(slot_name)
        successors = self.successors(slot_name)
        if slot is not None and slot.worker is None and successors:
            newest = max(successors, key=lambda worker: worker.id)
            del self.aside[newest.id]
            slot.worker = newest
