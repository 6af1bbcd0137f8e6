"""The status of the cluster: what the launcher knows of it and what the balancer counts, in one."""

import os
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from balancer.config import Config
from workers.balancer_process import BalancerProcess
from workers.crew import Crew
from workers.slot import WorkerSlot

_COUNTED = ("served", "empty", "timeout", "died", "garbled", "undelivered")
_MEASURED = ("request", "request_age_ms", "p50_ms", "p99_ms")
_SERVING = ("idle", "busy")


def take(
    config: Config,
    crew: Crew,
    balancer: BalancerProcess,
    started_at: datetime,
    counted: Mapping[str, Any],
) -> dict[str, Any]:
    """What ``status`` answers. ``counted`` is the balancer's part: empty if it does not answer."""
    workers, now = counted.get("workers", {}), time.monotonic()
    queue = counted.get("queue", {"length": 0, "bytes": 0})
    pulse_s = balancer.pulse_s
    return {
        "cluster": {
            "name": config.name,
            "bind": config.bind,
            "launcher_pid": os.getpid(),
            "balancer_pid": balancer.pid,
            "balancer_restarts": balancer.restarts,
            "balancer_pulse_ms": None if pulse_s is None else round(pulse_s * 1000, 3),
            "started_at": started_at.isoformat(timespec="milliseconds"),
            "uptime_s": round((datetime.now(UTC) - started_at).total_seconds(), 1),
            "draining": counted.get("draining", False),
            "dashboard": f"http://{config.dashboard}/" if config.dashboard else None,
        },
        "workers": [_of_slot(slot, workers.get(slot.name, {}), now) for slot in crew]
        + _of_endpoints(config, workers),
        "pools": _of_pools(config, counted.get("pools", ())),
        "queue": {
            **queue,
            "limit": config.limits.queue_limit,
            "limit_bytes": config.limits.queue_limit_bytes,
        },
        "totals": counted.get("totals", {}),
        "restarts": {**crew.restarts, "balancer": balancer.restarts},
    }


def _of_slot(slot: WorkerSlot, figures: Mapping[str, Any], now: float) -> dict[str, Any]:
    process = slot.present or slot.succession.process
    state = _state(slot, figures)
    return {
        "name": slot.name,
        "pool": slot.pool,
        "pid": process.pid if process is not None else None,
        "incarnation": process.incarnation if process is not None else slot.incarnation,
        "state": state,
        "why": _why(slot, state, figures, now),
        "endpoint": process.endpoint if process is not None else "",
        "restarts": slot.restarts,
        **_counted(figures),
        "last_death": slot.last_death,
        "last_death_age_s": round(now - slot.died_at, 1) if slot.last_death else None,
        "stack": slot.stack,
    }


def _state(slot: WorkerSlot, figures: Mapping[str, Any]) -> str:
    if slot.has_failed:
        return "failed"
    if slot.is_drained and slot.succession.process is None:
        return "draining" if slot.is_alive else "drained"
    state = str(figures.get("state", "down"))
    return "starting" if state == "down" and slot.is_alive else state


def _why_of_endpoint(figures: Mapping[str, Any]) -> str:
    state = figures.get("state", "down")
    if state in ("overdue", "ejected"):
        return _why_of_serving(state, figures)
    words = {"down": "not reached; it is dialed again and again", "connecting": "connecting"}
    return words.get(state, "")


def _why_of_serving(state: str, figures: Mapping[str, Any]) -> str:
    """Why one that is up gets nothing."""
    if state == "overdue":
        return f"overdue {figures['overdue_s']:.1f} s on request {figures['request']}"
    left_s = figures["back_in_s"] or 0.0
    return f"failed one request after another: ejected for another {left_s:.1f} s"


def _why(slot: WorkerSlot, state: str, figures: Mapping[str, Any], now: float) -> str:
    """Why it is not in rotation, in words; nothing if it is."""
    if state in _SERVING:
        return ""
    if state in ("overdue", "ejected"):
        return _why_of_serving(state, figures)
    if state == "failed":
        return f"{slot.why}: 'ready {slot.name}' tries once more"
    if slot.is_given_up or not slot.last_death:
        return slot.why
    return f"{slot.last_death} {now - slot.died_at:.1f} s ago, {_next_step(slot, now)}"


def _next_step(slot: WorkerSlot, now: float) -> str:
    restart = f"{_ordinal(slot.restarts)} restart"
    if slot.restart_at is not None:
        return f"{restart} in {max(0.0, slot.restart_at - now):.1f} s"
    return slot.why if slot.why != slot.last_death else f"{restart} under way"


def _ordinal(number: int) -> str:
    last = number % 10 if number // 10 % 10 != 1 else 0
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def _of_endpoints(config: Config, workers: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": slot,
            "pool": pool.name,
            "pid": None,
            "incarnation": 0,
            "state": (figures := workers.get(slot, {})).get("state", "down"),
            "why": _why_of_endpoint(figures),
            "endpoint": endpoint,
            "restarts": 0,
            **_counted(figures),
            "last_death": "",
            "last_death_age_s": None,
            "stack": "",
        }
        for pool in config.pools
        for slot, endpoint in zip(pool.slots, pool.endpoints, strict=False)
    ]


def _of_pools(config: Config, counted: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    wanted = {pool.name: len(pool.slots) for pool in config.pools}
    return [{**pool, "workers": wanted.get(pool["name"], 0)} for pool in counted]


def _counted(figures: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: figures.get(name, 0) for name in (*_COUNTED, "busy_ms")}
    return counts | {name: figures.get(name) for name in _MEASURED}
