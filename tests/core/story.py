"""Stories with dates: tell the real core what happened, read in short sentences what it does."""

from collections.abc import Mapping
from typing import Any

from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    STATUS,
    Action,
    Answer,
    Batching,
    BatchReplied,
    ClientGone,
    ClientId,
    Ejected,
    Event,
    FailedTry,
    Forget,
    Forward,
    ForwardBatch,
    Kill,
    Outcome,
    Readmitted,
    Refuse,
    Released,
    ReplyArrived,
    ReplyDropped,
    RequestArrived,
    RequestId,
    SlotAdded,
    TryFailed,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
    WorkerReply,
)
from balancer.core.limits import Limits

START = 1000.0
POOL = "echo"


class Story:
    """A core whose workers are up since START, and the way to tell it more.

    ``Story("a", "-b")`` has one pool where ``b`` is a slot that nobody fills yet;
    ``Story(pools={"x": "a b", "y": "c"})`` has several. Further keywords are those of Limits.
    """

    def __init__(
        self,
        *workers: str,
        pools: Mapping[str, str] | None = None,
        batching: Batching = Batching.NONE,
        **limits: Any,
    ) -> None:
        pools = pools or {POOL: " ".join(workers)}
        self.core = Dispatcher(Limits(**limits), pools)
        self.actions: list[Action] = []
        """Everything that the latest ``at`` brought, unabridged."""
        self.now = START
        for pool, slots in pools.items():
            for slot in slots.split():
                self.at(START, SlotAdded(slot.lstrip("-"), pool))
                if not slot.startswith("-"):
                    self.at(START, connects(slot), ready(slot, batching))

    def know(self, service_s: float) -> None:
        """All requests took so long lately."""
        for pool in self.core.pools:
            for _ in range(600):
                pool.service.note(service_s, 1, service_s)

    def at(self, now: float, *events: Event) -> list[str]:
        """Let the time pass until ``now``, then let the events happen; what the core does."""
        self.actions = []
        self.now = now
        while (due := self.core.next_deadline()) is not None and due < now:
            self.actions += self.core.expire(due)
        for event in events:
            self.actions += self.core.step(event, now)
        self.actions += self.core.expire(now)
        return [say(action) for action in self.actions if not isinstance(action, TryFailed)]

    def failed_tries(self) -> list[TryFailed]:
        """The tries that failed in the latest ``at``."""
        return [action for action in self.actions if isinstance(action, TryFailed)]

    def refusal(self) -> Refuse:
        """The one refusal of the latest ``at``."""
        (refusal,) = (action for action in self.actions if isinstance(action, Refuse))
        return refusal

    def answer(self) -> Answer:
        """The one answer of the latest ``at``."""
        (answer,) = (action for action in self.actions if isinstance(action, Answer))
        return answer


def say(action: Action) -> str:
    """An action as a sentence. A worker's number is left out as long as it is 1."""
    match action:
        case Forward(worker, request, attempt):
            return f"{request} -> {_name(worker)} (attempt {attempt})"
        case ForwardBatch(worker, tries):
            names = ", ".join(str(one.request) for one in tries)
            return f"{names} -> {_name(worker)} together"
        case Answer(request, worker, reply, attempts, tried):
            return f"{request} <- {reply.status} from {_name(worker)}{_after(attempts, tried)}"
        case Refuse(request, reason, attempts, tried, may_have_run):
            end = "; may have run" if may_have_run else ""
            return f"{request} <- {STATUS[reason]} {reason}{_after(attempts, tried)}{end}"
        case Forget(request):
            return f"{request} forgotten"
        case Kill(worker, requests):
            names = ", ".join(str(request) for request in requests)
            return f"kill {_name(worker)}" + (f" for {names}" if names else "")
        case Released(worker):
            return f"{_name(worker)} released"
        case Ejected(worker, duration_s):
            return f"{_name(worker)} ejected for {duration_s:g} s"
        case Readmitted(worker):
            return f"{_name(worker)} readmitted"
        case ReplyDropped(worker, request):
            return f"reply of {_name(worker)} to {request} dropped"
        case TryFailed(worker, request, _, why):
            return f"{request} failed at {_name(worker)}: {why}"


def _name(worker: WorkerId) -> str:
    return worker.slot if worker.incarnation == 1 else f"{worker.slot}#{worker.incarnation}"


def _after(attempts: int, tried: tuple[FailedTry, ...]) -> str:
    if not tried:
        return ""
    count = f"{attempts} attempt" + "s" * (attempts != 1)
    return f" after {count}; " + ", ".join(f"{t.worker} {t.why}" for t in tried)


# --- what can happen; a worker is "a", or "a#2" for its second incarnation ---------------------


def request(number: int, client: str = "client", **wishes: Any) -> RequestArrived:
    return RequestArrived(RequestId(number), ClientId(client.encode()), **wishes)


def leaves(client: str = "client") -> ClientGone:
    return ClientGone(ClientId(client.encode()))


def answer(
    worker: str, status: int = 200, value: bytes = b"\x01", took_s: float | None = None
) -> ReplyArrived:
    return ReplyArrived(worker_id(worker), WorkerReply(Outcome.ANSWER, status, value), took_s)


def empty(worker: str) -> ReplyArrived:
    return ReplyArrived(worker_id(worker), WorkerReply(Outcome.EMPTY))


def garbled(worker: str) -> ReplyArrived:
    return ReplyArrived(worker_id(worker), WorkerReply(Outcome.GARBLED))


def expired(worker: str) -> ReplyArrived:
    return ReplyArrived(worker_id(worker), WorkerReply(Outcome.EXPIRED))


def dies(worker: str) -> WorkerLost:
    return WorkerLost(worker_id(worker))


def undelivered(worker: str) -> WorkerLost:
    return WorkerLost(worker_id(worker), undelivered=True)


def connects(worker: str, *, beside_older: bool = False) -> WorkerConnected:
    return WorkerConnected(worker_id(worker), beside_older)


def ready(worker: str, batching: Batching = Batching.NONE) -> WorkerReady:
    return WorkerReady(worker_id(worker), batching)


def replies(worker: str, *outcomes: Outcome) -> BatchReplied:
    return BatchReplied(worker_id(worker), tuple([WorkerReply(outcome) for outcome in outcomes]))


def comes_up(worker: str) -> tuple[WorkerConnected, WorkerReady]:
    return connects(worker), ready(worker)


def worker_id(name: str) -> WorkerId:
    slot, _, incarnation = name.partition("#")
    return WorkerId(slot, int(incarnation or 1))
