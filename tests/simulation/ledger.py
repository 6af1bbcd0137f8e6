"""What must be true by the events and actions so far, worked out without the core's help."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from balancer.core import events as ev
from balancer.core.events import ClientId, FailedTry, Outcome, Reason, RequestId, Why, WorkerId
from balancer.core.limits import Limits
from tests.simulation.books import TINY_S, Attempt, Case, Prospect, RetryBook
from tests.simulation.roster import Exclusion, Roster

_NEWCOMERS = {ev.RequestArrived, ev.RequestsArrived}


class Ledger:
    """Tell it each event before the actions, each action in order, and the end of the step."""

    def __init__(self, limits: Limits, pools: Iterable[str]) -> None:
        self.limits = limits
        self.roster = roster = Roster(limits, pools)
        self.cases: dict[RequestId, Case] = {}
        self.queued: dict[RequestId, Case] = {}
        self.waiting: defaultdict[Prospect, list[Case]] = defaultdict(list)
        """Who is queued at the end of the step, by what there is to hope for."""
        self._is_stale = False
        """What there is to hope for may have changed since then."""
        self.queued_bytes = 0
        self.unplaced: dict[RequestId, Case] = {}
        """New or fresh from a failed try: this step says where they go."""
        self.unreadable: RequestId | None = None
        self.of_client: Counter[ClientId] = Counter()
        self.once_names: dict[bytes | str, None] = {}
        """The requests marked ``once`` that were taken in, unless certainly not executed."""
        self.known_names: set[RequestId] = set()
        """The requests of this event that are marked ``once`` and were taken in before."""
        self.retries = RetryBook(limits.retry_budget_window_s)
        self.event: ev.Event | None = None
        self.is_draining = False
        self.drain_ends_at = 0.0
        self._prospects: dict[Exclusion, Prospect] = {}
        self._notes: dict[type, Callable[[float, Any], None]] = {
            ev.RequestArrived: self._note_request,
            ev.RequestsArrived: self._note_requests,
            ev.RequestUnreadable: self._note_unreadable,
            ev.SlotAdded: roster.note_slot_added,
            ev.SlotRemoved: roster.note_slot_removed,
            ev.SlotRetired: roster.note_slot_retired,
            ev.Reconfigured: self._note_reconfigured,
            ev.WorkerConnected: roster.note_connected,
            ev.WorkerReady: roster.note_ready,
            ev.WorkerLost: roster.note_lost,
            ev.ReplyArrived: self._note_reply,
            ev.BatchReplied: self._note_reply,
            ev.DrainStarted: self._note_drain,
            ev.Forward: self._note_forward,
            ev.ForwardBatch: self._note_batch,
            ev.TryFailed: self._note_try_failed,
            ev.Answer: self._note_end,
            ev.Refuse: self._note_refuse,
            ev.Forget: self._note_end,
            ev.Kill: roster.note_kill,
            ev.Released: roster.note_released,
            ev.Ejected: roster.note_ejected,
        }

    def prospect(self, case: Case) -> Prospect:
        if case.is_final:
            return Prospect.NOBODY
        key = case.excluded_slots, case.excluded_pools
        known = self._prospects.get(key)
        if known is None:
            known = self._prospects[key] = self.roster.prospect(key)
        return known

    # --- what is told -------------------------------------------------------------------------

    def note_event(self, now: float, event: ev.Event | None) -> None:
        """Begin a step; None stands for the passing of time."""
        self.event = event
        if event is not None:
            self.note_action(now, event)

    def note_action(self, now: float, item: ev.Event | ev.Action) -> None:
        if type(item) not in _NEWCOMERS:  # they change nothing for the others
            self._outdate()
        if (note := self._notes.get(type(item))) is not None:
            note(now, item)

    def note_time(self, now: float) -> None:
        """All dates up to now have passed and been acted upon."""
        if self.roster.note_time(now):
            self._outdate()
        for case in self.queued.values():
            case.waits_last = case.waits_last and case.patient_until > now
            if case.gives_way_until is not None and case.gives_way_until <= now:
                case.gives_way_until = None

    def _outdate(self) -> None:
        self._is_stale = True
        self._prospects.clear()

    def note_end_of_step(self, now: float) -> None:
        """Who has found no worker waits in the queue from now on."""
        newcomers = [*self.unplaced.values()]
        for request, case in self.unplaced.items():
            self.queued[request] = case
            self.queued_bytes += case.arrived.size_bytes
        self.unplaced.clear()
        self.roster.released = self.unreadable = None
        self.roster.replies = {}
        self.known_names.clear()
        if self._is_stale:
            self.waiting.clear()
        cases = self.queued.values() if self._is_stale else newcomers
        self._note_waiting(cases, now + self.limits.revive_grace_s)
        self._is_stale = False
        if self.limits.queue_timeout_s is not None:
            self._note_patience(now + self.limits.queue_timeout_s)

    def _note_waiting(self, cases: Iterable[Case], grace_ends_at: float) -> None:
        for case in cases:
            prospect = self.prospect(case)
            self.waiting[prospect].append(case)
            if prospect is not Prospect.DOWN:
                case.grace_ends_at = None
            elif case.grace_ends_at is None:
                case.grace_ends_at = grace_ends_at

    def _note_patience(self, ends_at: float) -> None:
        for case in self.queued.values():
            if not case.attempts and case.patience_ends_at is None:
                case.patience_ends_at = ends_at

    def _note_request(self, now: float, event: ev.RequestArrived) -> None:
        limits = self.limits
        timeout_s = limits.deadline_s if event.timeout_s is None else event.timeout_s
        deadline = now + min(timeout_s, limits.deadline_max_s)
        case = Case(event, now, deadline, event.try_timeout_s or limits.try_timeout_s)
        self.cases[event.request] = self.unplaced[event.request] = case
        self.of_client[event.client] += 1
        if event.once and event.id in self.once_names:
            self.known_names.add(event.request)
        elif event.once and event.id is not None:
            self.once_names[event.id] = None

    def _note_requests(self, now: float, event: ev.RequestsArrived) -> None:
        for arrived in event.arrivals:
            self._note_request(now, arrived)

    def _note_unreadable(self, now: float, event: ev.RequestUnreadable) -> None:
        self.unreadable = event.request

    def _note_drain(self, now: float, event: ev.DrainStarted) -> None:
        self.is_draining = True
        self.drain_ends_at = now + event.timeout_s

    def _note_reconfigured(self, now: float, event: ev.Reconfigured) -> None:
        self.limits = self.roster.limits = event.limits
        self.roster.arrange(event.pools)

    def _note_reply(self, now: float, event: ev.ReplyArrived | ev.BatchReplied) -> None:
        """Where a worker had no answer, the next process of its slot will not have one either."""
        self.roster.note_reply(now, event)
        for request, reply in self.roster.replies.items():
            case = self.cases.get(request)
            if case is not None and reply.outcome is not Outcome.ANSWER:
                case.excluded_slots |= {event.worker.slot}

    # --- actions ------------------------------------------------------------------------------

    def _note_forward(self, now: float, action: ev.Forward) -> None:
        self._begin_try(now, action.worker, (action.request,))

    def _note_batch(self, now: float, action: ev.ForwardBatch) -> None:
        self._begin_try(now, action.worker, tuple(one.request for one in action.tries))

    def _begin_try(self, now: float, id: WorkerId, requests: tuple[RequestId, ...]) -> None:
        worker, cases = self.roster.workers[id.slot], [self.cases[one] for one in requests]
        times_out_at = max(min(case.deadline, now + case.try_timeout_s) for case in cases)
        full_at = now + self.limits.try_timeout_s
        attempt = Attempt(
            requests,
            worker.id,
            worker.pool,
            now,
            times_out_at,
            kill_at=max(times_out_at, full_at) + self.limits.hang_kill_after_s,
            is_full=times_out_at >= full_at - TINY_S,
        )
        self.roster.note_forward(worker, attempt)
        for request, case in zip(requests, cases, strict=True):
            self._leave_queue(request)
            case.attempts.append(attempt)
            case.holder = attempt
            case.grace_ends_at = case.patience_ends_at = case.gives_way_until = None
            if len(case.attempts) == 1:
                self.retries.first[int(now)] += 1

    def _begin_patience(self, case: Case, now: float) -> None:
        patience_s = self.limits.hang_kill_after_s + self.limits.revive_grace_s
        case.waits_last = True
        case.patient_until = min(now + patience_s, case.deadline - case.try_timeout_s)

    def _note_try_failed(self, now: float, action: ev.TryFailed) -> None:
        case, slot, why = self.cases[action.request], action.worker.slot, action.why
        attempt, case.holder = case.holder, None
        self.unplaced[action.request] = case
        case.failed.append(FailedTry(slot, why, action.took_s))
        case.was_in_company = attempt is not None and attempt.is_batch
        if why in (Why.TIMEOUT, Why.DIED) and not case.was_in_company:
            case.strikes += 1
            case.has_hung = case.has_hung or why is Why.TIMEOUT
        case.is_poison = case.strikes >= self.limits.strikes
        self.retries.again[int(now)] += costs_budget(case)
        if case.is_suspect:
            last_chance_at = case.deadline - case.try_timeout_s
            self._begin_patience(case, now)
            # Cut short by the end of its own time, it says nothing of its worker.
            is_cut = attempt is not None and attempt.times_out_at >= case.deadline
            for other in self.queued.values():
                if other.gives_way_until is not None and not (is_cut and why is Why.TIMEOUT):
                    self._begin_patience(other, now)
            case.gives_way_until = last_chance_at if last_chance_at > now else None
        if why in (Why.TIMEOUT, Why.DIED, Why.GARBLED):
            case.may_have_run = True
            case.is_final = case.arrived.once
        if why is Why.TIMEOUT and not case.was_in_company:
            case.excluded_slots |= {slot}
        if why is Why.EMPTY and self.limits.on_empty_next_pool and attempt is not None:
            case.excluded_pools |= {attempt.pool}
        worker = self.roster.find(action.worker)
        is_overdue = attempt is not None and why is Why.TIMEOUT and attempt.times_out_at <= now
        if is_overdue and worker is not None and attempt is not None:
            self.roster.be_overdue(worker, attempt, now)

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
        has_run = isinstance(action, ev.Answer) or case.may_have_run or case.holder is not None
        name = case.arrived.id
        is_known = action.request in self.known_names
        if case.arrived.once and name is not None and not has_run and not is_known:
            self.once_names.pop(name, None)
            self._note_free_name(name)

    def _note_free_name(self, name: bytes | str) -> None:
        """Of those that came together with who had the name, the next has it now."""
        known = (self.cases[one] for one in self.known_names & self.cases.keys())
        heirs = [case.arrived.request for case in known if case.arrived.id == name]
        if heirs:
            self.known_names.remove(min(heirs))
            self.once_names[name] = None

    def _leave_queue(self, request: RequestId) -> None:
        self.unplaced.pop(request, None)
        case = self.queued.pop(request, None)
        if case is not None:
            self.queued_bytes -= case.arrived.size_bytes


def arrivals_of(event: ev.Event | None) -> tuple[ev.RequestArrived, ...]:
    """The requests that came with this event."""
    if isinstance(event, ev.RequestsArrived):
        return event.arrivals
    return (event,) if isinstance(event, ev.RequestArrived) else ()


def costs_budget(case: Case) -> bool:
    """Whether a try after the latest failed one is on the budget: a first death is free, and
    whatever befell a request in company."""
    if case.was_in_company:
        return False
    why = case.failed[-1].why
    return why is Why.TIMEOUT or (why is Why.DIED and case.strikes > 1)
