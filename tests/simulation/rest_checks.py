"""Checks of what nobody did: requests forgotten, dates missed, bounds exceeded."""

from collections import defaultdict

from balancer.core import events as ev
from balancer.core.events import Outcome
from tests.simulation.books import AT_ONCE, NEVER, TINY_S, Case, Prospect, State, Violation, Worker
from tests.simulation.company import fill_until, is_due, waits_in
from tests.simulation.ledger import Ledger, arrivals_of
from tests.simulation.try_checks import kill_at


def check_placing(ledger: Ledger, now: float, slots_before: int) -> None:
    """Who joins the queue in this step: a newcomer within the bounds, a failed try close to."""
    if ledger.unplaced:
        _check_room(ledger, [*ledger.unplaced.values()], slots_before)
    limits = ledger.limits
    for event in arrivals_of(ledger.event):
        if event.request not in ledger.cases:
            continue
        if ledger.of_client[event.client] > limits.client_limit:
            raise Violation("P8 bounded", f"{event} is above client_limit")
        if event.size_bytes > limits.max_body_bytes:
            raise Violation("P8 bounded", f"{event} is above max_body_bytes")
        if ledger.is_draining:
            raise Violation("drain", f"{event} is accepted")


def _check_room(ledger: Ledger, joining: list[Case], slots_before: int) -> None:
    limits = ledger.limits
    is_again = any(case.attempts for case in joining)
    extra = slots_before * limits.batch_max if is_again else 0
    waiting = len(ledger.queued) + len(joining)
    size_bytes = ledger.queued_bytes + sum(case.arrived.size_bytes for case in joining)
    if waiting > limits.queue_limit + extra:
        raise Violation("P8 bounded", f"{waiting} wait, the limit is {limits.queue_limit}")
    if size_bytes > limits.queue_limit_bytes + extra * limits.max_body_bytes:
        raise Violation("P8 bounded", f"{size_bytes} bytes wait: {limits.queue_limit_bytes}")


def check_retries(ledger: Ledger, now: float) -> None:
    """Called when somebody's death or timeout was followed by another try, or will be."""
    limits, retries = ledger.limits, ledger.retries
    allowed = limits.retry_budget * retries.within_window(retries.first, now)
    allowed += limits.retry_budget_per_worker * ledger.roster.slot_count()
    if retries.within_window(retries.again, now) > allowed:
        raise Violation("retry budget", f"{retries} allows {allowed}")


def check_settled(ledger: Ledger, now: float) -> None:
    """What the event was about has been dealt with."""
    event, released = ledger.event, ledger.roster.released
    for request in released.requests if released is not None else ():
        case, reply = ledger.cases.get(request), ledger.roster.replies.get(request)
        if case is not None and case.holder is released:
            raise Violation("P1 one answer", f"{released} has ended and nobody cares")
        if case is not None and reply is not None and reply.outcome is Outcome.ANSWER:
            raise Violation("P1 one answer", f"{event} is the answer and is not sent")
    if isinstance(event, ev.ClientGone) and ledger.of_client[event.client]:
        raise Violation("client gone", f"{event}, and its requests are kept")
    if ledger.roster.to_release:
        raise Violation("retired", f"{ledger.roster.to_release} are free and not released")
    if ledger.roster.to_eject:
        raise Violation("ejection", f"{ledger.roster.to_eject} are not ejected")
    if any(request in ledger.cases for request in ledger.known_names):
        raise Violation("P6 once", f"{event} is taken in a second time")
    if ledger.unreadable is not None:
        raise Violation("P1 one answer", f"{event} gets no answer")


def check_waiting(ledger: Ledger, now: float) -> None:
    """Nobody waits for nothing, nor while somebody untried stands by, but for company."""
    company: defaultdict[str, list[Case]] = defaultdict(list)
    for prospect in AT_ONCE:
        for case in ledger.waiting[prospect]:
            if case.gives_way_until is None:
                pool = waits_in(ledger, now, case)
                if pool is None:
                    raise Violation("P4 failover", f"{case} waits though {prospect.value}")
                company[pool].append(case)
            elif _is_at_ease(ledger, case):
                raise Violation("suspects", f"{case} waits and nothing is wrong")
    for case in ledger.waiting[Prospect.NOBODY]:
        raise Violation("P5 503 last", f"{case} waits and nobody is left to ask")
    if ledger.event is None:
        for case in ledger.queued.values():
            _check_patience(ledger, now, case)
    for pool, cases in company.items():
        if is_due(ledger, cases):
            raise Violation("batch", f"{cases} wait for more in {pool}, and somebody is idle")


def _is_at_ease(ledger: Ledger, case: Case) -> bool:
    """Whether the first pool with somebody idle that is untried has nobody busy or away."""
    for pool, slots in ledger.roster.slots.items():
        workers = [ledger.roster.workers.get(slot) for slot in slots]
        is_open = pool not in case.excluded_pools and any(
            slot not in case.excluded_slots and worker is not None and worker.state is State.IDLE
            for slot, worker in zip(slots, workers, strict=True)
        )
        resting = (State.IDLE, State.EJECTED)
        if is_open:
            return all(worker is not None and worker.state in resting for worker in workers)
    return False


def _check_patience(ledger: Ledger, now: float, case: Case) -> None:
    if case.grace_ends_at is not None and now > case.grace_ends_at + TINY_S:
        raise Violation("P5 503 last", f"{case} waits longer than revive_grace_s")
    if case.patience_ends_at is not None and now > case.patience_ends_at + TINY_S:
        raise Violation("queue timeout", f"{case} waits longer than queue_timeout_s")


def check_dates(ledger: Ledger, now: float, next_deadline: float | None) -> None:
    """No date is missed, and the next one is known. All dates up to now have passed if the
    event was the passing of time.
    """
    dates = [case.deadline for case in ledger.cases.values()]
    if ledger.is_draining and dates:
        dates.append(ledger.drain_ends_at)
    for case in ledger.waiting[Prospect.IDLE]:
        if waits_in(ledger, now, case) is not None:
            dates.append(fill_until(ledger.limits, case))
    dates += [
        case.patient_until if case.patient_until > now else case.gives_way_until
        for case in ledger.queued.values()
        if case.gives_way_until is not None
    ]
    dates += [next_date(worker) for worker in ledger.roster.all()]
    soonest = min(dates, default=NEVER)
    if ledger.event is None and soonest <= now - TINY_S:
        raise Violation("P1 deadline", f"what was due at {soonest} was not done")
    if ledger.event is None and next_deadline is not None and next_deadline <= now:
        raise Violation("P1 deadline", f"{next_deadline} is due and was passed over")
    if soonest != NEVER and (next_deadline is None or next_deadline > soonest + TINY_S):
        raise Violation("P1 deadline", f"the next date is {soonest}, not {next_deadline}")


def next_date(worker: Worker) -> float:
    """When something is due for it, if it stays as it is."""
    if worker.attempt is not None:
        return kill_at(worker) if worker.attempt.is_over else worker.attempt.times_out_at
    return min(kill_at(worker), worker.ejected_until)


def check_holders(ledger: Ledger, now: float) -> None:
    """Who waits for a try waits for one that a worker has in hand and whose time is not over."""
    for case in ledger.cases.values():
        if case.holder is None:
            continue
        worker = ledger.roster.find(case.holder.worker)
        if worker is None or worker.attempt is not case.holder:
            raise Violation("P1 one answer", f"{case} waits for a worker that lets it go")
        if case.holder.is_over:
            raise Violation("P4 failover", f"{case} waits for a try whose time is over")
