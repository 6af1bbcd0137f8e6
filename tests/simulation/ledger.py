"""What must be true by the events and actions so far, worked out without the core's help."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from balancer.core import events as ev
from balancer.core.events import ClientId, FailedTry, Reason, RequestId, Why, WorkerId
from balancer.core.limits import Limits
from tests.simulation.books import Attempt, Case, Prospect, RetryBook, State, Worker


class Ledger:
    """Tell it each event before the actions, each action in order, and the end of the step."""

    def __init__(self, limits: Limits, pools: Iterable[str]) -> None:
        self.limits = limits
        self.slots: dict[str, dict[str, None]] = {pool: {} for pool in pools}
        """The slots of each pool, the pools in the order of the sweep."""
        self.workers: dict[str, Worker] = {}
        """The living worker of each slot that has one."""
        self.cases: dict[RequestId, Case] = {}
        self.queued: dict[RequestId, Case] = {}
        self.queued_bytes = 0
        self.unplaced: dict[RequestId, Case] = {}
        """New or fresh from a failed try: this step says where they go."""
        self.seen: set[RequestId] = set()
        self.unreadable: RequestId | None = None
        self.of_client: Counter[ClientId] = Counter()
        self.retries = RetryBook(limits.retry_budget_window_s)
        self.event: ev.Event | None = None
        self.is_draining = False
        self.drain_ends_at = 0.0
        self.released: Attempt | None = None
        """The try that this event ended: its worker has replied or is lost."""
        self._latest: dict[str, int] = {}
        self._order = 0
        self._prospects: dict[tuple[frozenset[str], frozenset[str]], Prospect] = {}
        self._notes: dict[type, Callable[[float, Any], None]] = {
            ev.RequestArrived: self._note_request,
            ev.RequestUnreadable: self._note_unreadable,
            ev.SlotAdded: self._note_slot_added,
            ev.SlotRemoved: self._note_slot_removed,
            ev.WorkerConnected: self._note_connected,
            ev.WorkerReady: self._note_ready,
            ev.WorkerLost: self._note_lost,
            ev.ReplyArrived: self._note_reply,
            ev.DrainStarted: self._note_drain,
            ev.Forward: self._note_forward,
            ev.TryFailed: self._note_try_failed,
            ev.Answer: self._note_end,
            ev.Refuse: self._note_refuse,
            ev.Forget: self._note_end,
            ev.Kill: self._note_kill,
        }

    # --- what can be asked --------------------------------------------------------------------

    def find(self, worker: WorkerId) -> Worker | None:
        current = self.workers.get(worker.slot)
        return current if current is not None and current.id == worker else None

    def slot_count(self) -> int:
        return sum(len(slots) for slots in self.slots.values())

    def prospect(self, case: Case) -> Prospect:
        if case.is_final:
            return Prospect.NOBODY
        key = case.excluded_slots, case.excluded_pools
        known = self._prospects.get(key)
        if known is None:
            known = self._prospects[key] = self._look_for(*key)
        return known

    def _look_for(self, excluded_slots: frozenset[str], excluded_pools: frozenset[str]) -> Prospect:
        best = Prospect.NOBODY
        for pool, slots in self.slots.items():
            if pool in excluded_pools:
                continue
            untried = [self.workers.get(slot) for slot in slots if slot not in excluded_slots]
            states = {worker.state for worker in untried if worker is not None}
            if State.IDLE in states:
                return Prospect.IDLE
            if State.BUSY in states:
                return Prospect.BUSY  # the order of the pools is worth the wait
            if states:
                best = Prospect.ALIVE
            elif untried and best is Prospect.NOBODY:
                best = Prospect.DOWN
        return best

    # --- what is told -------------------------------------------------------------------------

    def note_event(self, now: float, event: ev.Event | None) -> None:
        """Begin a step; None stands for the passing of time."""
        self.event = event
        if event is not None:
            self.note_action(now, event)

    def note_action(self, now: float, item: ev.Event | ev.Action) -> None:
        self._prospects.clear()
        if (note := self._notes.get(type(item))) is not None:
            note(now, item)

    def note_time(self, now: float) -> None:
        """All dates up to now have passed and been acted upon."""
        for worker in self.workers.values():
            if worker.attempt is not None and worker.attempt.times_out_at <= now:
                self._be_overdue(worker, worker.attempt, now)
        for case in self.queued.values():
            if case.gives_way_until is not None and case.gives_way_until <= now:
                case.gives_way_until = None
        self._prospects.clear()

    def note_end_of_step(self, now: float) -> None:
        """Who has found no worker waits in the queue from now on."""
        for request, case in self.unplaced.items():
            self.queued[request] = case
            self.queued_bytes += case.arrived.size_bytes
        self.unplaced.clear()
        self.released = self.unreadable = None
        for case in self.queued.values():
            if self.prospect(case) is not Prospect.DOWN:
                case.stranded_since = None
            elif case.stranded_since is None:
                case.stranded_since = now

    def _note_request(self, now: float, event: ev.RequestArrived) -> None:
        limits = self.limits
        timeout_s = limits.deadline_s if event.timeout_s is None else event.timeout_s
        deadline = now + min(timeout_s, limits.deadline_max_s)
        case = Case(event, now, deadline, event.try_timeout_s or limits.try_timeout_s)
        self.cases[event.request] = self.unplaced[event.request] = case
        self.of_client[event.client] += 1
        self.seen.add(event.request)

    def _note_unreadable(self, now: float, event: ev.RequestUnreadable) -> None:
        self.unreadable = event.request

    def _note_drain(self, now: float, event: ev.DrainStarted) -> None:
        self.is_draining = True
        self.drain_ends_at = now + event.timeout_s

    # --- workers ------------------------------------------------------------------------------

    def _note_slot_added(self, now: float, event: ev.SlotAdded) -> None:
        self.slots[event.pool][event.slot] = None

    def _note_slot_removed(self, now: float, event: ev.SlotRemoved) -> None:
        for slots in self.slots.values():
            slots.pop(event.slot, None)
        if event.slot in self.workers:
            self._drop(self.workers[event.slot])

    def _note_connected(self, now: float, event: ev.WorkerConnected) -> None:
        slot, incarnation = event.worker
        pool = next((pool for pool, slots in self.slots.items() if slot in slots), None)
        if pool is None or incarnation <= self._latest.get(slot, 0):
            return
        if slot in self.workers:  # a slot holds one process: the older one must be dead
            self._drop(self.workers[slot])
        self._latest[slot] = incarnation
        self.workers[slot] = Worker(event.worker, pool, now)

    def _note_ready(self, now: float, event: ev.WorkerReady) -> None:
        worker = self.find(event.worker)
        if worker is not None and worker.state is State.CONNECTING:
            self._be_idle(worker)

    def _note_lost(self, now: float, event: ev.WorkerLost) -> None:
        worker = self.find(event.worker)
        if worker is not None:
            self._drop(worker)

    def _note_reply(self, now: float, event: ev.ReplyArrived) -> None:
        worker = self.find(event.worker)
        if worker is None or worker.attempt is None:
            return
        self.released, worker.attempt = worker.attempt, None
        self._be_idle(worker)

    def _be_idle(self, worker: Worker) -> None:
        self._order += 1
        worker.state, worker.idle_order = State.IDLE, self._order

    def _be_overdue(self, worker: Worker, attempt: Attempt, now: float) -> None:
        """If the balancer sees it late, that is not counted to the worker."""
        if worker.state is not State.OVERDUE:
            worker.state = State.OVERDUE
            attempt.kill_at += now - attempt.times_out_at

    def _drop(self, worker: Worker) -> None:
        self.released, worker.attempt = worker.attempt, None
        del self.workers[worker.id.slot]

    # --- actions ------------------------------------------------------------------------------

    def _note_forward(self, now: float, action: ev.Forward) -> None:
        case, worker = self.cases[action.request], self.workers[action.worker.slot]
        times_out_at = min(case.deadline, now + case.try_timeout_s)
        kill_at = max(times_out_at, now + self.limits.try_timeout_s) + self.limits.hang_kill_after_s
        attempt = Attempt(action.request, worker.id, worker.pool, now, times_out_at, kill_at)
        self._leave_queue(action.request)
        case.attempts.append(attempt)
        case.holder = worker.attempt = attempt
        case.stranded_since = case.gives_way_until = None
        worker.state = State.BUSY
        if len(case.attempts) == 1:
            self.retries.first[int(now)] += 1

    def _note_try_failed(self, now: float, action: ev.TryFailed) -> None:
        case, slot, why = self.cases[action.request], action.worker.slot, action.why
        attempt, case.holder = case.holder, None
        self.unplaced[action.request] = case
        case.failed.append(FailedTry(slot, why, action.took_s))
        if why in (Why.TIMEOUT, Why.DIED):
            case.strikes += 1
        self.retries.again[int(now)] += costs_budget(case)
        if case.is_suspect:
            patience_s = self.limits.hang_kill_after_s + self.limits.revive_grace_s
            until = min(now + patience_s, case.deadline - case.try_timeout_s)
            case.gives_way_until = until if until > now else None
        if why in (Why.TIMEOUT, Why.DIED, Why.GARBLED):
            case.may_have_run = True
            case.is_final = case.arrived.once
        # A worker that refused a try because its time was over is alive: nobody has to come back.
        has_refused = why is Why.UNDELIVERED and isinstance(self.event, ev.ReplyArrived)
        if why in (Why.EMPTY, Why.GARBLED, Why.TIMEOUT) or has_refused:
            case.excluded_slots |= {slot}
        if why is Why.EMPTY and self.limits.on_empty_next_pool and attempt is not None:
            case.excluded_pools |= {attempt.pool}
        worker = self.find(action.worker)
        if worker is None or attempt is None or why is not Why.TIMEOUT:
            return
        if attempt.times_out_at <= now:
            self._be_overdue(worker, attempt, now)

    def _note_refuse(self, now: float, action: ev.Refuse) -> None:
        if action.request == self.unreadable:
            self.unreadable = None
            return
        case = self.cases[action.request]
        if action.request in self.unplaced and case.failed:
            costs = costs_budget(case)
            self.retries.again[int(now)] -= costs
            if action.reason not in (Reason.RETRY_BUDGET, Reason.POISONED):
                self.retries.unused[int(now)] += costs
        self._note_end(now, action)

    def _note_end(self, now: float, action: ev.Answer | ev.Refuse | ev.Forget) -> None:
        case = self.cases.pop(action.request)
        self._leave_queue(action.request)
        self.of_client[case.arrived.client] -= 1

    def _leave_queue(self, request: RequestId) -> None:
        self.unplaced.pop(request, None)
        case = self.queued.pop(request, None)
        if case is not None:
            self.queued_bytes -= case.arrived.size_bytes

    def _note_kill(self, now: float, action: ev.Kill) -> None:
        worker = self.find(action.worker)
        if worker is not None:
            self._drop(worker)  # freed by a late reply, it would be killed with the next request


def costs_budget(case: Case) -> bool:
    """Whether a try after the latest failed one is on the budget: a first death is free."""
    why = case.failed[-1].why
    return why is Why.TIMEOUT or (why is Why.DIED and case.strikes > 1)
