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
from workers.why import why_not, why_not_endpoint

_COUNTED = ("served", "empty", "timeout", "died", "garbled", "undelivered")
_MEASURED = ("request", "request_age_ms", "p50_ms", "p99_ms")


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
    process, recovery = slot.present or slot.succession.process, slot.recovery
    state = _state(slot, figures)
    death_age_s = round(now - recovery.died_at, 1) if recovery.last_death else None
    return {
        "name": slot.name,
        "pool": slot.pool,
        "pid": process.pid if process is not None else None,
        "incarnation": process.incarnation if process is not None else slot.incarnation,
        "state": state,
        "why": why_not(slot, state, figures, now),
        "endpoint": process.endpoint if process is not None else "",
        "restarts": recovery.restarts,
        **_counted(figures),
        "last_death": recovery.last_death,
        "last_death_age_s": death_age_s,
        "stack": recovery.stack,
    }


def _state(slot: WorkerSlot, figures: Mapping[str, Any]) -> str:
    if slot.has_failed:
        return "failed"
    if slot.is_drained:
        return "draining" if slot.is_alive else "drained"
    state = str(figures.get("state", "down"))
    return "starting" if state == "down" and slot.is_alive else state


def _of_endpoints(config: Config, workers: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": slot,
            "pool": pool.name,
            "pid": None,
            "incarnation": 0,
            "state": (figures := workers.get(slot, {})).get("state", "down"),
            "why": why_not_endpoint(figures),
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
