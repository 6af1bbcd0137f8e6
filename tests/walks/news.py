"""What each event changes in the books, and which actions the core owes for it."""

from balancer.core import events as ev
from balancer.core.events import Event, Outcome, Reason, RequestId, Why, WorkerId, WorkerReply
from tests.walks.books import Books, Request, Slot, State, Worker

FAILURES = {
    Outcome.EMPTY: Why.EMPTY,
    Outcome.GARBLED: Why.GARBLED,
    Outcome.EXPIRED: Why.UNDELIVERED,
}


def note_event(books: Books, event: Event, now: float) -> None:
    """Enter what is known as soon as the event is, before any action of the core."""
    match event:
        case ev.RequestArrived():
            _arrived(books, event, now)
        case ev.RequestsArrived(arrivals):
            for arrived in arrivals:
                _arrived(books, arrived, now)
        case ev.RequestUnreadable(number):
            books.owe("refused", number, Reason.MALFORMED)
        case ev.OnceNamesKnown(names):
            for name in names:
                _note_once_name(books, name, None)
        case ev.ClientGone(client):
            for request in list(books.open.values()):
                if request.client == client:
                    books.owe("forgotten", request.number)
        case ev.SlotAdded(name, pool, is_ours):
            books.slots.setdefault(name, Slot(pool, is_ours))
        case ev.SlotRemoved(name):
            for worker in _of_slot(books, name):
                books.lose(worker, Why.DIED)
            books.slots.pop(name, None)
        case ev.SlotRetired(name):
            for worker in _of_slot(books, name):
                books.retire(worker)
            books.slots.pop(name, None)
        case ev.WorkerConnected(worker, beside_older):
            _connected(books, worker, beside_older, now)
        case ev.WorkerReady():
            _ready(books, event)
        case ev.WorkerLost(worker, undelivered=undelivered):
            lost = books.find(worker)
            if lost is not None:
                books.lose(lost, Why.UNDELIVERED if undelivered else Why.DIED)
                books.promote(worker.slot)
        case ev.ReplyArrived(worker, reply):
            _replied(books, worker, (reply,))
        case ev.BatchReplied(worker, replies):
            _replied(books, worker, replies)
        case ev.DrainStarted(timeout_s):
            books.is_draining = True
            books.drain_until = now + timeout_s
        case ev.Reconfigured(limits, pools):
            books.limits = limits
            books.pools = [*pools, *(pool for pool in books.pools if pool not in pools)]
            books.queue_limit_max = max(books.queue_limit_max, limits.queue_limit)


def _arrived(books: Books, event: ev.RequestArrived, now: float) -> None:
    limits = books.limits
    reason = _objection(books, event)
    timeout_s = limits.deadline_s if event.timeout_s is None else event.timeout_s
    books.open[event.request] = Request(
        event.request,
        event.client,
        None if reason else event.id if event.once else None,
        event.once,
        event.priority,
        event.size_bytes,
        now,
        deadline=now + min(timeout_s, limits.deadline_max_s),
        try_timeout_s=event.try_timeout_s or limits.try_timeout_s,
    )
    if reason is not None:
        books.owe("refused", event.request, reason)
    elif event.once and event.id is not None:
        _note_once_name(books, event.id, event.request)


def _note_once_name(books: Books, name: bytes | str, request: RequestId | None) -> None:
    books.once_ids[name] = request
    if len(books.once_ids) > books.limits.once_ids_limit:
        del books.once_ids[next(iter(books.once_ids))]


def _objection(books: Books, event: ev.RequestArrived) -> Reason | None:
    """Why the request must be turned away at the door."""
    if event.size_bytes > books.limits.max_body_bytes:
        return Reason.TOO_LARGE
    if books.is_draining:
        return Reason.DRAINING
    if event.once and event.id is not None and event.id in books.once_ids:
        return Reason.DUPLICATE
    of_client = sum(request.client == event.client for request in books.open.values())
    return Reason.CLIENT_LIMIT if of_client >= books.limits.client_limit else None


def _of_slot(books: Books, name: str) -> list[Worker]:
    slot = books.slots.get(name)
    if slot is None:
        return []
    return [*([slot.worker] if slot.worker else []), *books.successors(name)]


def _connected(books: Books, id: WorkerId, beside_older: bool, now: float) -> None:
    slot = books.slots.get(id.slot)
    if slot is None:
        return
    worker = Worker(id, slot.pool, slot.is_ours)
    worker.kill_at = now + books.limits.try_timeout_s + books.limits.hang_kill_after_s
    if beside_older and slot.worker is not None:
        books.aside[id] = worker
        return
    for older in _of_slot(books, id.slot):
        books.lose(older, Why.DIED)
    slot.worker = worker


def _ready(books: Books, event: ev.WorkerReady) -> None:
    worker = books.find(event.worker)
    if worker is None or worker.state is not State.CONNECTING:
        return
    slot = books.slots[event.worker.slot]
    if slot.worker is not worker:
        older = slot.worker
        assert older is not None
        books.retire(older)
        del books.aside[event.worker]
        slot.worker = worker
    worker.state, worker.batching = State.IDLE, event.batching


def _replied(books: Books, id: WorkerId, replies: tuple[WorkerReply, ...]) -> None:
    worker = books.find(id)
    if worker is None or worker.held is None:
        return
    held, worker.held = worker.held, None
    if len(replies) != len(held.requests):  # nobody can tell which is whose
        replies = (WorkerReply(Outcome.GARBLED),) * len(held.requests)
    if worker.state is State.DRAINING:
        books.forget(worker)
        books.owe("released", worker.id)
    else:
        is_late = worker.state is State.OVERDUE
        worker.state = State.IDLE
        _judge(books, worker, {reply.outcome for reply in replies}, is_late)
    for number, reply in zip(held.requests, replies, strict=True):
        _owe_for_reply(books, worker, number, reply)


def _owe_for_reply(books: Books, worker: Worker, number: RequestId, reply: WorkerReply) -> None:
    request = books.open.get(number)
    if request is not None and reply.outcome is Outcome.ANSWER:
        books.owe("answered", number, worker.id, reply)
        return
    if request is not None:
        request.shut_slots.add(worker.id.slot)
    if request is not None and request.holder is worker:
        books.owe("try failed", number, worker.id, FAILURES[reply.outcome])
    else:
        books.owe("dropped", worker.id, number)


def _judge(books: Books, worker: Worker, outcomes: set[Outcome], is_late: bool) -> None:
    if is_late:
        pass
    elif Outcome.GARBLED in outcomes:
        worker.bad_tries += 1
    elif outcomes != {Outcome.EXPIRED}:
        worker.bad_tries = worker.ejections = 0
    others_up = len(books.in_pool(worker.pool, State.IDLE, State.BUSY)) - 1
    ejected = len(books.in_pool(worker.pool, State.EJECTED))
    slots = sum(slot.pool == worker.pool for slot in books.slots.values())
    is_bad = worker.bad_tries >= books.limits.ejection_tries
    if is_bad and others_up and 2 * (ejected + 1) <= slots:
        duration_s = min(books.limits.ejection_max_s, books.limits.ejection_s * 2**worker.ejections)
        books.owe("ejected", worker.id, duration_s)
