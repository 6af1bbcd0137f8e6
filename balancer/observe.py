"""Figures and log lines as a fold over (now, event, actions): it watches, nothing depends on it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    STATUS,
    Action,
    Answer,
    Ejected,
    Event,
    FailedTry,
    Forget,
    Forward,
    ForwardBatch,
    Reason,
    Refuse,
    ReplyDropped,
    RequestArrived,
    RequestId,
    RequestUnreadable,
    TryFailed,
    Why,
    WorkerId,
)

LINES_PER_SECOND = 50
LINES_BURST = 200
_ARRIVALS = {RequestArrived, RequestUnreadable}
_NOT_WORTH_A_LINE = {Why.EMPTY}
_QUIET = {Reason.MALFORMED, Reason.TOO_LARGE, Reason.CLIENT_LIMIT, Reason.QUEUE_FULL}


@dataclass(slots=True)
class WorkerFigures:
    served: int = 0
    failures: Counter[Why] = field(default_factory=Counter)
    busy_s: float = 0.0
    started_at: float = 0.0

    def note_busy(self, now: float) -> None:
        """It was, until now; a batch counts once, whatever it holds."""
        self.busy_s += now - self.started_at
        self.started_at = now


@dataclass(frozen=True, slots=True)
class Line:
    """A line for the log; ``fields`` is what machines read."""

    level: str
    text: str
    fields: dict[str, Any]


class Throttle:
    """A token bucket: lines beyond it are counted, and the count is told with the next one."""

    def __init__(self) -> None:
        self._tokens = float(LINES_BURST)
        self._at: float | None = None
        self._left_out = 0

    def admit(self, now: float) -> int | None:
        """None to leave the line out, else how many were left out since the last one."""
        elapsed_s = now - self._at if self._at is not None else 0.0
        self._at = now
        self._tokens = min(LINES_BURST, self._tokens + elapsed_s * LINES_PER_SECOND)
        if self._tokens < 1:
            self._left_out += 1
            return None
        self._tokens -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


class Observer:
    def __init__(self, request_name: Callable[[int], str]) -> None:
        self._request_name = request_name
        self._arrived_at: dict[RequestId, float] = {}
        self._workers: dict[str, WorkerFigures] = {}
        self._by_status: Counter[int] = Counter()
        self._by_reason: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._throttle = Throttle()

    def note(self, now: float, event: Event | None, actions: Sequence[Action]) -> list[Line]:
        """Count what happened; the lines worth writing. ``event`` is None for expired timers."""
        if type(event) in _ARRIVALS:
            self._totals["requests"] += 1
            self._arrived_at[event.request] = now  # type: ignore[union-attr]
        lines: list[Line] = []
        for number, action in enumerate(actions):
            # Most actions are of two kinds that are only counted.
            if type(action) is Forward:
                self._count_try(now, action)
            elif type(action) is Answer and not action.tried:
                self._count_answer(now, action)
            else:
                following = actions[number + 1 :]
                lines += self._admitted(now, self._note_action(now, action, following))
        return lines

    def _count_try(self, now: float, action: Forward) -> None:
        self._totals["tries"] += 1
        self._totals["failovers"] += action.attempt > 1
        self._figures(action.worker).started_at = now

    def _count_answer(self, now: float, action: Answer) -> float:
        """How long the client has waited for it."""
        figures = self._figures(action.worker)
        figures.served += 1
        figures.note_busy(now)
        status = action.reply.status
        if status != 200:
            self._by_reason["handler_error" if status == 500 else "malformed"] += 1
        return self._end(now, action.request, status)

    def _admitted(self, now: float, lines: Iterator[Line]) -> Iterator[Line]:
        for line in lines:
            left_out = self._throttle.admit(now)
            if left_out:
                yield Line("warning", f"{left_out} lines about requests left out", {})
            if left_out is not None:
                yield line

    def _note_action(
        self, now: float, action: Action, following: Sequence[Action]
    ) -> Iterator[Line]:
        match action:
            case ForwardBatch(_, tries):
                self._totals["batches"] += 1
                self._totals["batched"] += len(tries)
                for one in tries:
                    self._count_try(now, one)
            case TryFailed(worker, _, _, why):
                figures = self._figures(worker)
                figures.failures[why] += 1
                if why is not Why.TIMEOUT:
                    figures.note_busy(now)
                if why not in _NOT_WORTH_A_LINE:
                    yield self._failed_try(action, following)
            case Answer():
                yield self._answered(action, self._count_answer(now, action))
            case Refuse(request, reason):
                self._by_reason[reason.value] += 1
                took_s = self._end(now, request, STATUS[reason])
                if reason not in _QUIET:
                    yield self._refused(action, took_s)
            case Ejected(worker, duration_s):
                self._totals["ejections"] += 1
                text = f"worker {worker.slot} is out of rotation for {duration_s:g} s: it failed"
                text += " one request after another"
                yield Line("warning", text, {"worker": worker.slot})
            case ReplyDropped(worker):
                figures = self._figures(worker)
                figures.note_busy(now)
                self._totals["late_replies"] += 1
            case Forget(request):
                self._totals["clients_gone"] += 1
                del self._arrived_at[request]

    def _end(self, now: float, request: RequestId, status: int) -> float:
        self._by_status[status] += 1
        return now - self._arrived_at.pop(request)

    def _figures(self, worker: WorkerId) -> WorkerFigures:
        figures = self._workers.get(worker.slot)
        if figures is None:
            figures = self._workers[worker.slot] = WorkerFigures()
        return figures

    # --- lines ----------------------------------------------------------------------------------

    def _failed_try(self, action: TryFailed, following: Sequence[Action]) -> Line:
        name, slot = self._request_name(action.request), action.worker.slot
        how = {
            Why.DIED: f"lost {slot}, which died after",
            Why.TIMEOUT: f"got nothing from {slot} within",
            Why.GARBLED: f"got nonsense from {slot} after",
            Why.UNDELIVERED: f"did not reach {slot} after",
        }[action.why]
        text = f"request {name} {how} {_duration(action.took_s)}"
        for next_action in _tries_in(following):
            if next_action.request == action.request:
                text += f"; forwarded to {next_action.worker.slot} (attempt {next_action.attempt})"
                break
        else:
            if not any(
                isinstance(a, Refuse | Answer) and a.request == action.request for a in following
            ):
                text += "; waiting for a worker"
        fields = {"request": name, "worker": slot, "why": action.why.value}
        return Line("warning", text, {**fields, "ms": round(action.took_s * 1000, 1)})

    def _answered(self, action: Answer, took_s: float) -> Line:
        name, status = self._request_name(action.request), action.reply.status
        text = (
            f"request {name} answered {status} by {action.worker.slot} in {_duration(took_s)}, "
            f"attempt {action.attempts} after {_story(action.tried)}"
        )
        fields = {"request": name, "worker": action.worker.slot, "status": status}
        return Line("info", text, {**fields, "attempts": action.attempts, "ms": _ms(took_s)})

    def _refused(self, action: Refuse, took_s: float) -> Line:
        name, status = self._request_name(action.request), STATUS[action.reason]
        text = f"request {name} answered {status} {action.reason.value} in {_duration(took_s)}"
        if action.tried:
            text += f", tried {_story(action.tried)}"
        fields = {"request": name, "status": status, "reason": action.reason.value}
        return Line("warning", text, {**fields, "attempts": action.attempts, "ms": _ms(took_s)})

    # --- the snapshot -----------------------------------------------------------------------------

    def snapshot(self, dispatcher: Dispatcher) -> dict[str, Any]:
        """The balancer's part of ``status --json``."""
        queue = dispatcher.queue
        return {
            "workers": {
                member.slot: {"state": member.state.value, **self._worker_figures(member.slot)}
                for member in dispatcher.pools.members()
            },
            "queue": {"length": len(queue), "bytes": queue.size_bytes},
            "totals": {
                **{name: self._totals[name] for name in _TOTALS},
                "open": dispatcher.open_requests,
                "answered": sum(self._by_status.values()),
                "by_status": {str(status): n for status, n in sorted(self._by_status.items())},
                "by_reason": dict(sorted(self._by_reason.items())),
            },
            "draining": dispatcher.is_draining,
        }

    def _worker_figures(self, slot: str) -> dict[str, Any]:
        figures = self._workers.get(slot, WorkerFigures())
        failures = {why.value: figures.failures[why] for why in Why}
        return {"served": figures.served, **failures, "busy_ms": _ms(figures.busy_s)}


_TOTALS = (
    "requests",
    "tries",
    "failovers",
    "batches",
    "batched",
    "late_replies",
    "ejections",
    "clients_gone",
)


def _tries_in(actions: Sequence[Action]) -> Iterator[Forward]:
    for action in actions:
        if isinstance(action, ForwardBatch):
            yield from action.tries
        elif isinstance(action, Forward):
            yield action


def _story(tried: Sequence[FailedTry]) -> str:
    return ", ".join(f"{t.worker} {t.why.value}" for t in tried)


def _ms(duration_s: float) -> float:
    return round(duration_s * 1000, 1)


def _duration(duration_s: float) -> str:
    return f"{duration_s:.2f} s" if duration_s >= 1 else f"{_ms(duration_s):g} ms"
