"""Why a worker is not in rotation, in words; nothing if it is."""

from collections.abc import Mapping
from typing import Any

from workers.slot import WorkerSlot


def why_not(slot: WorkerSlot, state: str, figures: Mapping[str, Any], now: float) -> str:
    """``state`` is the one that is shown, ``figures`` what the balancer knows of the slot."""
    if state in _UP:
        return _UP[state](figures)
    if state == "failed":
        return f"{slot.why}: 'ready {slot.name}' tries once more"
    if slot.is_retired:
        return "leaves its pool when it has finished what it does"
    recovery = slot.recovery
    if slot.is_given_up or not recovery.last_death:
        return slot.why
    return f"{recovery.last_death} {now - recovery.died_at:.1f} s ago, {_next_step(slot, now)}"


def why_not_endpoint(figures: Mapping[str, Any]) -> str:
    """Of a worker that somebody else started."""
    state = figures.get("state", "down")
    if state in _UP:
        return _UP[state](figures)
    return "not reached; it is dialed again and again" if state == "down" else str(state)


def _overdue(figures: Mapping[str, Any]) -> str:
    return f"overdue {figures['overdue_s']:.1f} s on request {figures['request']}"


def _ejected(figures: Mapping[str, Any]) -> str:
    left_s = figures.get("back_in_s") or 0.0
    return f"failed one request after another: ejected for another {left_s:.1f} s"


_UP = {
    "idle": lambda figures: "",
    "busy": lambda figures: "",
    "overdue": _overdue,
    "ejected": _ejected,
}
"""What is said of a worker that runs, by its state."""


def _next_step(slot: WorkerSlot, now: float) -> str:
    recovery = slot.recovery
    restart = f"{_ordinal(recovery.restarts)} restart"
    if slot.restart_at is not None:
        return f"{restart} in {max(0.0, slot.restart_at - now):.1f} s"
    return slot.why if slot.why not in ("", recovery.last_death) else f"{restart} under way"


def _ordinal(number: int) -> str:
    last = number % 10 if number // 10 % 10 != 1 else 0
    ending = {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
    return f"{number}{ending}"
