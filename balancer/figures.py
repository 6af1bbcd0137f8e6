"""What is counted, for each worker, each pool and the whole."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from balancer.core.events import Answer, RequestId, TryFailed, Why, WorkerId
from balancer.histogram import Histogram, quantile_s
from balancer.lines import reason_of

UNSETTLED_MAX = 256
NOBODY = ""
"""Stands for a pool where a request had an end without a worker."""
_FAILURES = {why.value: 0 for why in Why}
_TOTALS = (
    "failovers",
    "batches",
    "batched",
    "late_replies",
    "ejections",
    "clients_gone",
)


@dataclass(slots=True)
class PoolFigures:
    latency: Histogram = field(default_factory=Histogram)
    """From arrival to answer, of those that its workers answered; nobody's pool has those that
    were refused."""
    refused: int = 0
    queue_time: Histogram = field(default_factory=Histogram)
    """From arrival to the first try, of those that it had first."""
    failures: Counter[str] = field(default_factory=Counter)
    """Its tries that ended otherwise, by how."""

    def snapshot(self) -> dict[str, Any]:
        return {
            "latency": _of_histogram(self.latency),
            "queue_time": _of_histogram(self.queue_time),
            "tries": {"answer": self._answers(), **_FAILURES, **self.failures},
        }

    def _answers(self) -> int:
        return self.latency.counts.total() - self.refused


@dataclass(slots=True)
class WorkerFigures:
    slot: str
    pool: PoolFigures
    failures: Counter[str] = field(default_factory=Counter)
    busy_s: float = 0.0
    busy_until: float = 0.0
    took: Histogram = field(default_factory=Histogram)
    """Its tries that ended with an answer."""

    def note_busy(self, since: float, until: float) -> None:
        """A batch counts once, whatever it holds; a worker is never busy with two things."""
        self.busy_s += max(0.0, until - max(since, self.busy_until))
        self.busy_until = until

    def snapshot(self) -> dict[str, Any]:
        counts = self.took.counts
        return {
            "served": counts.total(),
            **_FAILURES,
            **self.failures,
            "busy_ms": round(self.busy_s * 1000, 1),
            "p50_ms": _in_ms(quantile_s(counts, 0.5)),
            "p99_ms": _in_ms(quantile_s(counts, 0.99)),
        }


class Figures:
    """Of everything; slots that are gone keep theirs, for totals never fall."""

    def __init__(self) -> None:
        self.requests = self.first_tries = 0
        self._unsettled = 0
        """So many durations at most are in no class yet, in each histogram."""
        self.totals: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.by_reason: Counter[str] = Counter()
        self._pools: dict[str, PoolFigures] = {NOBODY: PoolFigures()}
        self.workers: dict[str, WorkerFigures] = {}
        """By slot; ask ``worker`` for one that may not be known yet."""

    def add(self, slot: str, pool: str) -> None:
        """A slot belongs to this pool."""
        figures = self._pools.setdefault(pool, PoolFigures())
        if slot in self.workers:
            self.workers[slot].pool = figures
        else:
            self.workers[slot] = WorkerFigures(slot, figures)

    def worker(self, slot: str) -> WorkerFigures:
        if slot not in self.workers:
            self.add(slot, NOBODY)
        return self.workers[slot]

    def count_answers(self, answers: Sequence["Answered"]) -> None:
        """Good ones by the first worker that was asked, in the order in which they came."""
        last_replied: WorkerId | None = None
        last_ended_at = 0.0
        for _, replied, arrived_at, started_at, ended_at in answers:
            if replied is not last_replied or ended_at != last_ended_at:
                last_replied, last_ended_at = replied, ended_at
                worker = self.workers.get(replied.slot) or self.worker(replied.slot)
                note_took, pool = worker.took.note, worker.pool
                note_latency, note_queue_time = pool.latency.note, pool.queue_time.note
                # As ``note_busy``, in place: this is all the work that a good reply costs here.
                busy_until = worker.busy_until
                worker.busy_s += ended_at - (started_at if started_at > busy_until else busy_until)
                worker.busy_until = ended_at
            note_took(ended_at - started_at)
            note_latency(ended_at - arrived_at)
            note_queue_time(started_at - arrived_at)
        self.by_status[200] += len(answers)
        self._settle_if_many(len(answers))

    def count_answer(self, answer: Answer, ended_at: float) -> None:
        """Any other one."""
        worker, status = self.worker(answer.worker.slot), answer.reply.status
        worker.took.note(ended_at - answer.started_at)
        worker.pool.latency.note(ended_at - answer.arrived_at)
        if not answer.tried:
            worker.pool.queue_time.note(answer.started_at - answer.arrived_at)
        worker.note_busy(answer.started_at, ended_at)
        self.by_status[status] += 1
        if status != 200:
            self.by_reason[reason_of(status)] += 1
        self._settle_if_many(1)

    def count_failed_try(self, failed: TryFailed, ended_at: float) -> None:
        worker, why = self.worker(failed.worker.slot), failed.why.value
        worker.failures[why] += 1
        worker.pool.failures[why] += 1
        started_at = ended_at - failed.took_s
        worker.note_busy(started_at, ended_at)
        if failed.attempt == 1:
            worker.pool.queue_time.note(started_at - failed.arrived_at)
        self._settle_if_many(1)

    def count_refusal(self, status: int, reason: str, took_s: float) -> None:
        self.by_status[status] += 1
        self.by_reason[reason] += 1
        nobody = self._pools[NOBODY]
        nobody.refused += 1
        nobody.latency.note(took_s)
        self._settle_if_many(1)

    def _settle_if_many(self, more: int) -> None:
        """Not each time: it takes a look at every worker."""
        self._unsettled += more
        if self._unsettled < UNSETTLED_MAX:
            return
        self._unsettled = 0
        for worker in self.workers.values():
            worker.took.settle()
        for pool in self._pools.values():
            pool.latency.settle()
            pool.queue_time.settle()

    def pools(self) -> list[dict[str, Any]]:
        return [{"name": name, **pool.snapshot()} for name, pool in self._pools.items()]

    def snapshot(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "tries": self.first_tries + self.totals["failovers"],
            **{name: self.totals[name] for name in _TOTALS},
            "answered": sum(self.by_status.values()),
            "by_status": {str(status): n for status, n in sorted(self.by_status.items())},
            "by_reason": dict(sorted(self.by_reason.items())),
        }


Answered = tuple[RequestId, WorkerId, float, float, float]
"""Request, its worker, its arrival, the try's start and end. A plain tuple, made for each request,
costs a quarter of one with names."""


def _of_histogram(histogram: Histogram) -> dict[str, Any]:
    counts = {str(number): count for number, count in sorted(histogram.counts.items())}
    return {"counts": counts, "sum_s": round(histogram.sum_s, 6)}


def _in_ms(duration_s: float | None) -> float | None:
    return None if duration_s is None else round(duration_s * 1000, 3)
