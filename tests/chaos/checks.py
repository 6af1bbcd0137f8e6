"""The checker: what the histories of clients and executions must fulfil, whatever was broken.

It knows nothing of what the cluster says of itself.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.excuses import STRIKES, STRIKES_MAX, Faults
from tests.chaos.history import History, Operation, Run

REPLY_MARGIN_S = 0.5
"""How long past its deadline a reply may arrive: two busy cores serve everybody."""
START_MARGIN_S = 0.1
REFUSALS = (409, 429, 503, 504)
"""Each says whether the request may have run; so does 500 ``poisoned``."""


@dataclass(frozen=True, slots=True)
class Violation:
    check: str
    op: str
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.op}: {self.text}"


Found = Iterator[tuple[str, str]]
"""The operation or worker, and what is wrong with it."""


def one_outcome(history: History) -> Found:
    """No request has two replies, and only those of killed clients have no outcome at all."""
    for op, operation in history.operations.items():
        outcomes = history.outcomes.get(op, [])
        replies = [outcome for outcome in outcomes if outcome.status is not None]
        if len(replies) > 1:
            yield op, f"{len(replies)} replies: {replies}"
        elif not outcomes and operation.client not in history.killed_clients:
            yield op, "nothing is known of how it ended"
    for op in history.outcomes.keys() - history.operations.keys():
        yield op, "an outcome of what nobody asked for"


def own_body(history: History) -> Found:
    """What came back is what an execution of just this request gave."""
    runs = history.runs_of()
    for operation, outcome in history.endings():
        answers = {run.digest for run in runs.get(operation.op, ()) if run.digest}
        if outcome.status == 200 and answers and outcome.digest not in answers:
            yield operation.op, f"its body is none of the {len(answers)} that were made for it"


def one_at_a_time(history: History) -> Found:
    """Executions of one worker never overlap."""
    of_worker: dict[str, list[Run]] = defaultdict(list)
    for run in history.runs.values():
        of_worker[run.worker].append(run)
    for worker, runs in of_worker.items():
        for first, second in pairwise(sorted(runs, key=lambda run: run.started_at)):
            if first.ended_at is None or first.ended_at > second.started_at:
                yield worker, f"{second.op} began before {first.op} had ended"


def once_is_once(history: History) -> Found:
    """What is marked so runs at most once; *not mine* does not count."""
    runs = history.runs_of()
    for op, operation in history.operations.items():
        if operation.once and len(executions := _executions(runs.get(op, ()))) > 1:
            yield op, f"marked once, executed {len(executions)} times: {executions}"


def answers_were_made(history: History) -> Found:
    """200 is the word of an execution that has ended."""
    runs = history.runs_of()
    for operation, outcome in history.endings():
        has_ended = any(
            run.ended_at is not None and run.ended_at <= outcome.at and run.digest
            for run in runs.get(operation.op, ())
        )
        if outcome.status == 200 and not has_ended:
            yield operation.op, "answered 200, and no execution has ended with an answer"


def never_run_is_true(history: History) -> Found:
    """Whoever is told that nothing has run can count on it."""
    runs = history.runs_of()
    for operation, outcome in history.endings():
        executions = _executions(runs.get(operation.op, ()))
        is_refused = outcome.status in REFUSALS or outcome.reason == "poisoned"
        if is_refused and not outcome.may_have_run and executions:
            yield operation.op, f"{outcome.label} says it did not run, but {executions}"


def in_time(history: History) -> Found:
    """No outcome comes long after the deadline, or after the end of what held it up; our own
    clients have no excuse whatever."""
    faults = Faults(history.faults)
    for operation, outcome in history.endings():
        late_s = outcome.at - operation.deadline
        if outcome.status is None or late_s <= REPLY_MARGIN_S:
            continue
        held_up_until = None
        if operation.shell not in ("sync", "async"):
            held_up_until = faults.held_up_until(operation, outcome.at)
        if held_up_until is None or outcome.at > held_up_until:
            yield operation.op, f"{outcome.label} came {late_s:.3f} s past its deadline"


def not_begun_late(history: History) -> Found:
    """Nothing is executed for a client that has its answer, or cannot wait for it any more."""
    faults = Faults(history.faults)
    outcomes = {operation.op: outcome for operation, outcome in history.endings()}
    for run in history.runs.values():
        operation, outcome = history.operations.get(run.op), outcomes.get(run.op)
        if operation is None:
            continue
        late_s = run.started_at - operation.deadline
        # How long a request lay in the socket of a frozen balancer, that balancer cannot know.
        if late_s > START_MARGIN_S and not faults.held_up(operation, run.started_at):
            yield run.op, f"began {late_s:.3f} s past its deadline"
        if outcome is None or outcome.status != 200:
            continue
        # What was sent again may be answered while a first worker has not begun with it.
        if run.started_at > outcome.at and not faults.cuts(operation, outcome.at):
            yield run.op, f"began {run.started_at - outcome.at:.3f} s after it was answered"


def failed_for_a_reason(history: History) -> Found:
    """A request fails only while something is broken that can be blamed for it."""
    faults = Faults(history.faults)
    for operation, outcome in history.endings():
        if not faults.excuse(operation, outcome):
            during = Counter(faults.during(operation.invoked_at, outcome.at))
            yield (
                operation.op,
                f"{_name(operation)} ended in {outcome.label}, during {dict(during)}",
            )


def poison_is_stopped(history: History) -> Found:
    """A request kills so many workers and no more; sent again to a new balancer, as many again."""
    faults, runs = Faults(history.faults), history.runs_of()
    for operation, outcome in history.endings():
        if operation.kind not in ("crash", "hang"):
            continue
        cuts = faults.cuts(operation, outcome.at)
        victims = len(_executions(runs.get(operation.op, ())))
        allowed = STRIKES_MAX + history.has_batches  # once in company, where nobody is to blame
        if victims > allowed * (1 + cuts):
            yield operation.op, f"{_name(operation)} took {victims} workers"
        # A worker that somebody else killed may not have begun: then only the reply tells of it.
        strikes = max(victims, sum(why in STRIKES for _, why in outcome.tried))
        if outcome.reason == "poisoned" and not cuts and strikes < STRIKES_MAX:
            yield operation.op, f"{_name(operation)} was called poisoned after {strikes} workers"


CHECKS: dict[str, Callable[[History], Found]] = {
    "C1 one outcome": one_outcome,
    "C2 its own body": own_body,
    "C3 one at a time": one_at_a_time,
    "C4 once": once_is_once,
    "C5 answers were made": answers_were_made,
    "C6 never run is true": never_run_is_true,
    "C7 in time": in_time,
    "C8 not begun late": not_begun_late,
    "C9 failed for a reason": failed_for_a_reason,
    "C10 poison": poison_is_stopped,
}


def violations(history: History) -> list[Violation]:
    """All that is wrong, check by check."""
    return [Violation(name, *found) for name, check in CHECKS.items() for found in check(history)]


def _executions(runs: Iterator[Run] | list[Run] | tuple[Run, ...]) -> list[str]:
    """Those that were not just a *not mine*."""
    return [f"{run.run} (try {run.attempt})" for run in runs if not run.is_empty]


def _name(operation: Operation) -> str:
    once = ", once" if operation.once else ""
    proxy = ", by the proxy" if operation.via_proxy else ""
    return f"{operation.kind} ({operation.shell}{once}{proxy})"
