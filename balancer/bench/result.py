"""What was measured, as the object that ``--json`` prints and the report is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from balancer.bench.latencies import Latencies
from balancer.bench.plan import Plan
from balancer.bench.schedule import LATE_SHARE_MAX, OpenLoop, Schedule
from balancer.bench.tally import Tally
from balancer.histogram import LIMITS_S

SHARES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999}

Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """Where and how long."""

    cluster: str | None
    """Its name; None if only its address is known."""
    address: str
    started_at: str
    took_s: float
    is_interrupted: bool


def result(run: Run, plan: Plan, schedule: Schedule, tally: Tally) -> Result:
    """The keys are stable: where there is nothing to say they hold null or nothing."""
    # The wait for the last answers counts, that for requests without an answer does not.
    measured_s = max(min(run.took_s, plan.duration_s), tally.last_answer_at_s)
    return {
        "cluster": run.cluster,
        "address": run.address,
        "started_at": run.started_at,
        "took_s": round(run.took_s, 3),
        "interrupted": run.is_interrupted,
        "load": _load(plan),
        "sent": tally.sent,
        "answered": tally.answered,
        "unanswered": tally.unanswered.total(),
        "ok": tally.ok.count,
        "failed": tally.failed.count,
        "answered_per_s": round(tally.answered / measured_s, 3) if measured_s else 0.0,
        "by_status": _by_status(tally),
        "by_reason": _by_reason(tally),
        "unanswered_by_reason": dict(tally.unanswered),
        "first_errors": dict(tally.first_errors),
        "failovers": tally.failovers,
        "failed_tries": dict(tally.failed_tries),
        "latency_ms": {"ok": _latency_ms(tally.ok), "failed": _latency_ms(tally.failed)},
        "histogram": _histogram(tally.ok if tally.ok.count else tally.failed),
        "schedule": _schedule(schedule, run.took_s),
        "kills": None if plan.kill_every_s is None else _kills(tally),
        "timeline": tally.timeline.to_json(),
    }


def _load(plan: Plan) -> dict[str, Any]:
    is_open = plan.rate_per_s is not None
    return {
        "loop": "open" if is_open else "closed",
        "rate_per_s": plan.rate_per_s,
        "concurrency": None if is_open else plan.concurrency,
        "duration_s": plan.duration_s,
        "timeout_s": plan.timeout_s,
        "payload_bytes": len(plan.payload),
        "kill_every_s": plan.kill_every_s,
    }


def _by_status(tally: Tally) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (status, _), count in sorted(tally.answers.items()):
        counts[str(status)] = counts.get(str(status), 0) + count
    return counts


def _by_reason(tally: Tally) -> dict[str, int]:
    counts: dict[str, int] = {}
    for (_, reason), count in sorted(tally.answers.items()):
        if reason:
            counts[reason] = counts.get(reason, 0) + count
    return counts


def _latency_ms(latencies: Latencies) -> dict[str, float] | None:
    if not latencies.count:
        return None
    figures_s = latencies.percentiles_s(list(SHARES.values()))
    named = dict(zip(SHARES, figures_s, strict=True))
    named |= {"max": latencies.max_s, "mean": latencies.mean_s()}
    return {name: round(figure_s * 1000, 3) for name, figure_s in named.items()}


def _histogram(latencies: Latencies) -> list[dict[str, Any]]:
    """One class after the other, from the first that is not empty to the last."""
    classes = latencies.classes(LIMITS_S)
    if not classes:
        return []
    limits_ms = [*(round(limit_s * 1000, 3) for limit_s in LIMITS_S), None]
    numbers = range(min(classes), max(classes) + 1)
    return [{"up_to_ms": limits_ms[number], "count": classes[number]} for number in numbers]


def _schedule(schedule: Schedule, until_s: float) -> dict[str, Any] | None:
    if not isinstance(schedule, OpenLoop):
        return None
    unsent = schedule.unsent_by(until_s)
    late_max = LATE_SHARE_MAX * schedule.sent
    return {
        "due": schedule.sent + unsent,
        "unsent": unsent,
        "late": schedule.late,
        "behind_max_ms": round(schedule.behind_max_s * 1000, 3),
        "kept": not unsent and schedule.late <= late_max,
    }


def _kills(tally: Tally) -> dict[str, Any]:
    return {
        "workers": tally.kills,
        "missed": dict(tally.missed_kills),
        "caught_requests": tally.caught,
    }
