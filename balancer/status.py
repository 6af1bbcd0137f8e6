"""The state of a cluster as a table for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from balancer.printable import printable_block, printable_line

WHY_CHARACTERS_MAX = 80
_COLUMNS = (
    ("name", "WORKER"),
    ("state", "STATE"),
    ("pid", "PID"),
    ("served", "SERVED"),
    ("empty", "EMPTY"),
    ("timeout", "TIMEOUT"),
    ("died", "DIED"),
    ("garbled", "GARBLED"),
    ("restarts", "RESTARTS"),
    ("busy_ms", "BUSY"),
    ("request_age_ms", "HOLDS"),
    ("why", "WHY"),
)
_TEXTS = {"name", "state", "why"}
_DURATIONS_MS = {"busy_ms", "request_age_ms"}
"""All that it has worked, and for how long it has held what it holds now."""


def render(status: Mapping[str, Any]) -> str:
    """What ``status`` of a running cluster answers, as aligned lines that end with a newline."""
    blocks = (
        _cluster_lines(status["cluster"]),
        _worker_lines(status["workers"]),
        *(_stack_lines(worker) for worker in status["workers"] if worker["stack"]),
        _totals_lines(status["queue"], status["totals"]),
    )
    return "\n\n".join("\n".join(lines) for lines in blocks) + "\n"


def _cluster_lines(cluster: Mapping[str, Any]) -> list[str]:
    name, bind = printable_line(str(cluster["name"])), printable_line(str(cluster["bind"]))
    state = "draining" if cluster["draining"] else "running"
    restarts = cluster["balancer_restarts"]
    plural = "s" * (restarts > 1)
    restarted = f" ({restarts} restart{plural}: figures since then)" if restarts else ""
    return [
        f"cluster {name}  {state}  {bind}  up {_uptime(cluster['uptime_s'])}",
        f"launcher {_cell(cluster['launcher_pid'])}  balancer {_cell(cluster['balancer_pid'])}"
        f"{restarted}  started {_cell(cluster['started_at'])}",
    ]


def _worker_lines(workers: Sequence[Mapping[str, Any]]) -> list[str]:
    if not workers:
        return ["no workers"]
    rows = [[title for _, title in _COLUMNS]]
    rows += [[_field(worker, key) for key, _ in _COLUMNS] for worker in workers]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [_line(row, widths) for row in rows]


def _stack_lines(worker: Mapping[str, Any]) -> list[str]:
    lines = printable_block(worker["stack"]).splitlines()
    return [f"where {_cell(worker['name'])} hung:", *(f"    {line}" for line in lines)]


def _field(worker: Mapping[str, Any], key: str) -> str:
    value = worker[key]
    if key in _DURATIONS_MS and value is not None:
        return f"{value / 1000:.1f}s"
    if key == "why":
        return _shortened(_cell(value or ""))
    return _cell(value)


def _cell(value: object) -> str:
    return "-" if value is None else printable_line(str(value))


def _shortened(text: str) -> str:
    return text if len(text) <= WHY_CHARACTERS_MAX else text[: WHY_CHARACTERS_MAX - 3] + "..."


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Texts stand at the left of their column, numbers at the right."""
    cells = [
        cell.ljust(width) if key in _TEXTS else cell.rjust(width)
        for cell, width, (key, _) in zip(row, widths, _COLUMNS, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _totals_lines(queue: Mapping[str, Any], totals: Mapping[str, Any]) -> list[str]:
    """The launcher answers without ``totals`` while its balancer cannot."""
    if not totals:
        return ["no figures: the balancer does not answer"]
    gone = totals["clients_gone"]
    dropped = f", {gone} dropped because the client left" if gone else ""
    lines = [
        f"queue     {queue['length']} of {queue['limit']} requests, "
        f"{_size(queue['bytes'])} of {_size(queue['limit_bytes'])}",
        f"requests  {totals['requests']}, answered {totals['answered']}{dropped}",
        f"tries     {totals['tries']}, failovers {totals['failovers']}, "
        f"late replies {totals['late_replies']}",
    ]
    if totals["batches"]:
        lines.append(f"batches   {totals['batches']}, of {totals['batched']} tries")
    for title, key in (("statuses", "by_status"), ("reasons", "by_reason")):
        if totals[key]:
            counts = (f"{_cell(name)}: {totals[key][name]}" for name in sorted(totals[key]))
            lines.append(f"{title:<8}  {', '.join(counts)}")
    return lines


def _size(size_bytes: int) -> str:
    size, units = float(size_bytes), ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.1f}".removesuffix(".0") + f" {units[0]}"


def _uptime(uptime_s: float) -> str:
    """The two largest units are enough."""
    minutes, seconds = divmod(int(uptime_s), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"
