"""What of the cluster leaves this process: the fields that are listed here, and nothing else.

Whatever is added to the control protocol later, a body, a key, a command line, stays inside until
somebody decides to show it. What peers wrote is made harmless for readers of text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from balancer.control import Message
from balancer.printable import printable_block

TEXT_CHARACTERS_MAX = 16 * 1024
"""A stack of eight threads is half as long."""

_CLUSTER = (
    *("name", "bind", "launcher_pid", "balancer_pid", "balancer_restarts", "started_at"),
    *("uptime_s", "draining", "dashboard", "balancer_pulse_ms"),
)
_WORKER = (
    *("name", "pool", "pid", "incarnation", "state", "why", "endpoint", "restarts"),
    *("served", "empty", "timeout", "died", "garbled", "undelivered", "busy_ms"),
    *("request", "request_age_ms", "p50_ms", "p99_ms", "last_death", "last_death_age_s"),
)
_POOL = ("name", "workers", "latency", "queue_time", "tries")
_QUEUE = ("length", "bytes", "limit", "limit_bytes")
_TOTALS = (
    *("requests", "tries", "failovers", "batches", "batched", "late_replies", "ejections"),
    *("clients_gone", "replies_undelivered", "open", "answered", "by_status", "by_reason"),
    "retry_budget",
)
_EVENT = (
    *("time", "level", "source", "text", "event", "worker", "request", "why", "status", "reason"),
    *("ms", "attempts", "pid", "by"),
)


def shown_status(status: Mapping[str, Any]) -> Message:
    """``status`` of the control protocol, for everybody who may read; stacks are not in it."""
    return {
        "cluster": _only(_CLUSTER, status["cluster"]),
        "workers": [_only(_WORKER, worker) for worker in status["workers"]],
        "pools": [_only(_POOL, pool) for pool in status["pools"]],
        "queue": _only(_QUEUE, status["queue"]),
        "totals": _only(_TOTALS, status["totals"]),
        "restarts": _harmless(status["restarts"]),
    }


def shown_event(record: Mapping[str, Any]) -> Message:
    return _only(_EVENT, record)


def shown_text(text: str) -> str:
    """Half a surrogate pair, which JSON can carry, could not be written as UTF-8."""
    text = text[:TEXT_CHARACTERS_MAX].encode("utf-8", "backslashreplace").decode()
    return printable_block(text)


def _only(fields: Sequence[str], part: Mapping[str, Any]) -> Message:
    return {field: _harmless(part[field]) for field in fields if field in part}


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return shown_text(value)
    if isinstance(value, Mapping):
        return {shown_text(str(key)): _harmless(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_harmless(inner) for inner in value]
    return value
