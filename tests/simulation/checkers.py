"""The promises, checked after every event by books that are kept without the core's help."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balancer.core import events as ev
from balancer.core.events import Action, Event, RequestId
from balancer.core.limits import Limits
from tests.simulation import rest_checks
from tests.simulation.batch_checks import check_forward_batch, check_lone_forward
from tests.simulation.books import State, Violation
from tests.simulation.end_checks import check_answer, check_forget, check_refuse
from tests.simulation.ledger import Ledger, costs_budget
from tests.simulation.situations import Observer
from tests.simulation.try_checks import (
    check_ejected,
    check_kill,
    check_readmitted,
    check_released,
    check_reply_dropped,
    check_try_failed,
)

_CHECKS: dict[type, Callable[[Ledger, float, Any], None]] = {
    ev.Forward: check_lone_forward,
    ev.ForwardBatch: check_forward_batch,
    ev.TryFailed: check_try_failed,
    ev.Kill: check_kill,
    ev.Released: check_released,
    ev.Ejected: check_ejected,
    ev.Readmitted: check_readmitted,
    ev.ReplyDropped: check_reply_dropped,
    ev.Answer: check_answer,
    ev.Refuse: check_refuse,
    ev.Forget: check_forget,
}

_PROBE_ANSWERED_IN_S = 400.0
"""Where the faults are lasting, one good worker may have to work off what had piled up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What there is when nothing happens any more."""

    next_deadline: float | None
    once: Iterable[RequestId]
    """All requests marked so."""
    probes: Mapping[RequestId, float]
    """The requests that somebody healthy could serve, and when they were sent."""
    is_full: bool
    """Every slot should have its worker, idle."""


class Checkers:
    """Show them every step: the event, or None for the passing of time, and the actions."""

    def __init__(
        self, limits: Limits, pools: Iterable[str], executions: Counter[RequestId]
    ) -> None:
        self._ledger = Ledger(limits, pools)
        self.observer = Observer(self._ledger)
        self._executions = executions
        """The truth: how often a handler began with each request."""
        self.outcomes: Counter[str] = Counter()
        self._answered_at: dict[RequestId, float] = {}

    def observe(
        self,
        now: float,
        event: Event | None,
        actions: Sequence[Action],
        *,
        open_requests: int,
        next_deadline: float | None,
        is_drained: bool,
    ) -> None:
        """Violation if a promise is broken by this step."""
        ledger = self._ledger
        slots_before = ledger.roster.slot_count()
        self.observer.look(now, event)
        ledger.note_event(now, event)
        for action in actions:
            _CHECKS[type(action)](ledger, now, action)
            self.observer.look(now, action)
            ledger.note_action(now, action)
            self._count(now, action)
        if event is None:
            ledger.note_time(now)
        rest_checks.check_placing(ledger, now, slots_before)
        rest_checks.check_settled(ledger, now)
        if any(self._goes_on(action) for action in actions):
            rest_checks.check_retries(ledger, now)
        ledger.note_end_of_step(now)
        rest_checks.check_waiting(ledger, now)
        rest_checks.check_holders(ledger, now)
        rest_checks.check_dates(ledger, now, next_deadline)
        self._check_counts(open_requests, is_drained)

    def _goes_on(self, action: Action) -> bool:
        """Whether it failed a try that has been, or will be, followed by one on the budget."""
        if not isinstance(action, ev.TryFailed):
            return False
        case = self._ledger.cases.get(action.request)
        return case is not None and costs_budget(case)

    def _count(self, now: float, action: Action) -> None:
        if isinstance(action, ev.Refuse):
            self.outcomes[action.reason] += 1
            if not action.may_have_run and self._executions[action.request]:
                raise Violation("P5 honest", f"{action}, and it has been executed")
        elif isinstance(action, ev.Answer | ev.Forget):
            self.outcomes[type(action).__name__.lower()] += 1
            self._answered_at[action.request] = now

    def _check_counts(self, open_requests: int, is_drained: bool) -> None:
        ledger = self._ledger
        if open_requests != len(ledger.cases):
            raise Violation("P1 one answer", f"{open_requests} open, not {len(ledger.cases)}")
        if is_drained != (ledger.is_draining and not ledger.cases):
            raise Violation("drain", f"drained is {is_drained} with {len(ledger.cases)} open")

    def check_at_rest(self, rest: Rest) -> None:
        """No new faults begin and nothing happens any more: nothing may be left."""
        ledger = self._ledger
        if ledger.cases:
            raise Violation("P1 one answer", f"{list(ledger.cases.values())} at the end")
        if rest.next_deadline is not None:
            raise Violation("P8 bounded", f"there is a date at {rest.next_deadline}, and nobody's")
        for request in rest.once:
            if self._executions[request] > 1:
                raise Violation("P6 once", f"{request}: {self._executions[request]} executions")
        for request, sent_at in rest.probes.items():
            took_s = self._answered_at.get(request, float("inf")) - sent_at
            if took_s > _PROBE_ANSWERED_IN_S:
                raise Violation("liveness", f"{request}, which can be served, took {took_s} s")
        if rest.is_full:
            self._check_full()

    def _check_full(self) -> None:
        roster = self._ledger.roster
        idle = {slot for slot, worker in roster.workers.items() if worker.state is State.IDLE}
        missing = {slot for slots in roster.slots.values() for slot in slots} - idle
        if missing:
            raise Violation("P9 self-healing", f"{missing} did not come back")
