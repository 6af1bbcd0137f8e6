"""What the balancer says about requests and workers: lines for the log, and for who watches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from balancer.core.events import (
    STATUS,
    Action,
    Answer,
    Ejected,
    FailedTry,
    Forward,
    ForwardBatch,
    Readmitted,
    Reason,
    Refuse,
    TryFailed,
    Why,
)

LINES_PER_SECOND = 50
LINES_BURST = 200
ERROR_CHARACTERS_MAX = 500
HANDLER_ERROR = "handler_error"
_HOW = {
    Why.DIED: "lost {}, which died after",
    Why.TIMEOUT: "got nothing from {} within",
    Why.GARBLED: "got nonsense from {} after",
    Why.UNDELIVERED: "did not reach {} after",
    Why.EMPTY: "got an empty reply from {} after",
}


@dataclass(frozen=True, slots=True)
class Line:
    """``fields`` is what machines read; with an ``event`` in them it is for those who watch."""

    level: str
    text: str
    fields: dict[str, Any]
    is_logged: bool = True
    """Else it is for those who watch alone."""


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
        # Once some had to be left out, it waits for a second's worth: else there would be as many
        # lines that count others as there are others.
        if self._tokens < (LINES_PER_SECOND if self._left_out else 1):
            self._left_out += 1
            return None
        self._tokens -= 1
        return self.take_left_out()

    def take_left_out(self) -> int:
        """How many were left out and not told of."""
        left_out, self._left_out = self._left_out, 0
        return left_out


def failed_try(
    name: str, action: TryFailed, following: Sequence[Action], *, is_logged: bool
) -> Line:
    """A try of the request ``name`` ended without an answer; ``following`` is what comes of it."""
    slot, why = action.worker.slot, action.why
    text = f"request {name} {_HOW[why].format(slot)} {_duration(action.took_s)}"
    for next_action in _tries_in(following):
        if next_action.request == action.request:
            text += f"; forwarded to {next_action.worker.slot} (attempt {next_action.attempt})"
            break
    else:
        if not any(
            isinstance(a, Refuse | Answer) and a.request == action.request for a in following
        ):
            text += "; waiting for a worker"
    fields = {"event": "try_failed", "request": name, "worker": slot, "why": why.value}
    level = "info" if why is Why.EMPTY else "warning"
    return Line(level, text, {**fields, "ms": ms(action.took_s)}, is_logged)


def answered(name: str, action: Answer, took_s: float, *, is_logged: bool) -> Line:
    """A worker answered the request; it is an event if that was an error, or others were tried."""
    slot, reply, reason = action.worker.slot, action.reply, reason_of(action.reply.status)
    status = f"{reply.status} {reason}".rstrip()
    text = f"request {name} answered {status} by {slot} in {_duration(took_s)}"
    fields: dict[str, Any] = {"request": name, "worker": slot, "status": reply.status}
    fields |= {"reason": reason, "attempts": action.attempts, "ms": ms(took_s)}
    fields["tried"] = _tried(action.tried)
    if action.tried:
        text += f", attempt {action.attempts} after {_story(action.tried)}"
        fields = {"event": "failed_over", **fields}
    if not reason:
        return Line("info", text, fields, is_logged)
    error = shortened(reply.error)
    fields = {**fields, "event": reason, "error": error}
    return Line("warning", f"{text}: {error}", fields, is_logged)


def reason_of(status: int) -> str:
    """What a worker's answer of that status is called, if it is an error."""
    return {200: "", 500: HANDLER_ERROR}.get(status, Reason.MALFORMED.value)


def shortened(error: str) -> str:
    return error if len(error) <= ERROR_CHARACTERS_MAX else error[:ERROR_CHARACTERS_MAX] + "…"


def refused(name: str, action: Refuse, took_s: float, *, is_logged: bool) -> Line:
    status, reason = STATUS[action.reason], action.reason.value
    text = f"request {name} answered {status} {reason} in {_duration(took_s)}"
    if action.tried:
        text += f", tried {_story(action.tried)}"
    fields = {"event": "refused", "request": name, "status": status, "reason": reason}
    fields |= {"attempts": action.attempts, "ms": ms(took_s), "tried": _tried(action.tried)}
    return Line("warning", text, fields, is_logged)


def dropped(name: str, took_s: float) -> Line:
    """The request's client left before it was over."""
    text = f"request {name} dropped after {_duration(took_s)}: its client is gone"
    return Line("info", text, {"request": name, "ms": ms(took_s)})


def ejected(action: Ejected) -> Line:
    slot = action.worker.slot
    text = f"worker {slot} is out of rotation for {action.duration_s:g} s: it failed"
    text += " one request after another"
    return Line("warning", text, {"event": "ejected", "worker": slot})


def readmitted(action: Readmitted) -> Line:
    slot = action.worker.slot
    text = f"worker {slot} is back in rotation after its ejection"
    return Line("info", text, {"event": "readmitted", "worker": slot})


def left_out(number: int, *, is_logged: bool) -> Line:
    """The log and whoever watches each have their own number."""
    fields = {} if is_logged else {"event": "left_out"}
    return Line("warning", f"{number} lines about requests left out", fields, is_logged)


def ms(duration_s: float) -> float:
    return round(duration_s * 1000, 1)


def _tries_in(actions: Sequence[Action]) -> Iterator[Forward]:
    for action in actions:
        if isinstance(action, ForwardBatch):
            yield from action.tries
        elif isinstance(action, Forward):
            yield action


def _story(tried: Sequence[FailedTry]) -> str:
    return ", ".join(f"{t.worker} {t.why.value}" for t in tried)


def _tried(tried: Sequence[FailedTry]) -> list[dict[str, Any]]:
    return [{"worker": t.worker, "why": t.why.value, "ms": ms(t.took_s)} for t in tried]


def _duration(duration_s: float) -> str:
    return f"{duration_s:.2f} s" if duration_s >= 1 else f"{ms(duration_s):g} ms"
