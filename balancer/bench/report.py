"""The result for people: plain lines of at most 80 columns."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from balancer.bench.result import Result
from balancer.bench.schedule import LATE_S
from balancer.bench.tally import INTERRUPTED
from balancer.bench.text import bar, duration, heights, number
from balancer.durations import format_duration_s
from balancer.printable import printable_line

COLUMNS = 80
TITLE_COLUMNS = 13
HISTOGRAM_ROWS_MAX = 12
HISTOGRAM_BAR_COLUMNS = 48
TIMELINE_COLUMNS_MAX = 51
"""A little more than a run has slots: its last answers come after its end."""
_BODY_SHARE = 0.999
_SHARES = {"p50": "p50", "p90": "p90", "p99": "p99", "p99_9": "p99.9", "max": "max"}
_HINTS = {
    "client_limit": "one client may have so many requests open; ask for fewer at once, "
    "or start the cluster with a higher --client-limit",
    "handler_error": "if the handler does not know this request, give it another: --request JSON",
    "exhausted": "if no handler knows this request, give it another: --request JSON",
}


def render(result: Result) -> str:
    """All of it, ending with a newline."""
    blocks = (
        [_heading(result)],
        _counts(result),
        _latencies(result),
        _histogram(result),
        _timeline(result),
        _conclusion(result),
    )
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _heading(result: Result) -> str:
    load = result["load"]
    how = (
        f"{load['concurrency']} at once"
        if load["loop"] == "closed"
        else f"{number(load['rate_per_s'])} a second"
    )
    who = f"cluster {result['cluster']} at " if result["cluster"] else ""
    how_long = format_duration_s(load["duration_s"])
    how_large = _of(load["payload_bytes"], "byte", "bytes")
    text = f"{who}{printable_line(result['address'])}: {how} for {how_long}, {how_large} each"
    return _wrapped(text, 0)


# --- what became of them ------------------------------------------------------------------------


def _counts(result: Result) -> list[str]:
    lines = [
        _titled("requests", f"{number(result['sent'])} in {result['took_s']:.1f} s"),
        _titled("answered", f"{number(result['answered'])}, {_endings(result)}"),
    ]
    if result["unanswered"]:
        reasons = _counted(result["unanswered_by_reason"])
        lines.append(_titled("unanswered", f"{number(result['unanswered'])}: {reasons}"))
    lines.append(_titled("failovers", _failovers(result)))
    if result["schedule"]:
        lines.append(_titled("schedule", _kept(result["schedule"])))
    for kind, text in result["first_errors"].items():
        lines.append(_titled("first error", printable_line(f"{kind}: {text}")))
    hints = {_HINTS.get(kind.partition(" ")[2], "") for kind in result["first_errors"]}
    lines += [_titled("hint", hint) for hint in sorted(hints) if hint]
    return lines


def _endings(result: Result) -> str:
    endings = [f"{number(result['answered_per_s'])}/s"]
    good, total = result["by_status"].get("200", 0), result["answered"]
    if 0 < good < total:
        endings.append(f"with 200 {number(result['answered_per_s'] * good / total)}/s")
    if result["by_status"]:
        endings.append(f"status {_counted(result['by_status'])}")
    if result["by_reason"]:
        endings.append(f"reason {_counted(result['by_reason'])}")
    return "; ".join(endings)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{printable_line(name)} x {number(count)}" for name, count in counts.items())


def _failovers(result: Result) -> str:
    text = number(result["failovers"])
    if result["failed_tries"]:
        text += f"; tries that failed: {_counted(result['failed_tries'])}"
    return text


def _kept(schedule: Mapping[str, Any]) -> str:
    behind = duration(schedule["behind_max_ms"])
    if schedule["kept"]:
        return f"kept; the sender was at most {behind} behind"
    late = f"{number(schedule['late'])} of {number(schedule['due'])} requests were sent more than "
    late += f"{duration(LATE_S * 1000)} late, at most {behind}"
    if schedule["unsent"]:
        late += f", {number(schedule['unsent'])} not at all"
    return f"NOT KEPT: {late}; latencies count from the schedule"


def _latencies(result: Result) -> list[str]:
    rows = [
        f"{title:<{TITLE_COLUMNS}}" + "".join(f"{duration(figures[key]):>12}" for key in _SHARES)
        for title, figures in (
            ("status 200", result["latency_ms"]["ok"]),
            ("all others", result["latency_ms"]["failed"]),
        )
        if figures
    ]
    if not rows:
        return []
    return [f"{'latency':<{TITLE_COLUMNS}}" + "".join(f"{n:>12}" for n in _SHARES.values()), *rows]


# --- pictures -----------------------------------------------------------------------------------


def _histogram(result: Result) -> list[str]:
    """A row for each class, or for several; the rare long ones are one row, or all the others
    would be as narrow as they are."""
    rows = _histogram_rows(result["histogram"])
    largest = max((count for _, count in rows), default=0)
    return [
        f"{label:>{TITLE_COLUMNS - 1}} "
        f"{bar(count, largest, HISTOGRAM_BAR_COLUMNS):<{HISTOGRAM_BAR_COLUMNS}}"
        f"{number(count):>{COLUMNS - TITLE_COLUMNS - HISTOGRAM_BAR_COLUMNS - 1}}"
        for label, count in rows
    ]


def _histogram_rows(classes: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    body_max = _BODY_SHARE * sum(one["count"] for one in classes)
    body, rest, seen = list[Mapping[str, Any]](), 0, 0
    for one in classes:
        if seen < body_max and one["up_to_ms"] is not None:
            body.append(one)
        else:
            rest += one["count"]
        seen += one["count"]
    step = -(-len(body) // HISTOGRAM_ROWS_MAX)
    # Counted from the end, for the last row says where the rest begins.
    groups = [body[max(0, end - step) : end] for end in range(len(body), 0, -step or -1)][::-1]
    rows = [
        (f"≤ {_limit(group[-1]['up_to_ms'])}", sum(one["count"] for one in group))
        for group in groups
    ]
    if rest:
        rows.append((f"> {_limit(body[-1]['up_to_ms'])}" if body else "longer", rest))
    return rows


def _limit(milliseconds: float) -> str:
    return f"{milliseconds:g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"


def _timeline(result: Result) -> list[str]:
    timeline = result["timeline"]
    slots = len(timeline["kills"])
    if not slots:
        return []
    step = -(-slots // TIMELINE_COLUMNS_MAX)
    slot_s = timeline["slot_s"] * step
    ok = [sum(part) for part in _parts(timeline["ok"], step)]
    failed = [sum(part) for part in _parts(timeline["failed"], step)]
    longest_ms = [max(part) for part in _parts(timeline["longest_ms"], step)]
    kills = [sum(part) for part in _parts(timeline["kills"], step)]
    end = f"{slots * timeline['slot_s']:.4g} s"
    ruler = f"0 s{end:>{max(len(end) + 1, len(ok) - 3)}}"
    lines = [
        _row("time", ruler, f"({slot_s:.3g} s each)"),
        _row("answers 200", heights(ok, max(ok)), f"max {number(round(max(ok) / slot_s))}/s"),
    ]
    if any(failed):
        lines.append(_row("failed", heights(failed, max(failed)), number(sum(failed))))
    lines.append(
        _row("longest", heights(longest_ms, max(longest_ms)), f"max {duration(max(longest_ms))}")
    )
    if result["kills"]:
        marks = "".join(
            " " if not n else "x" if n == 1 else f"{n}" if n < 10 else "#" for n in kills
        )
        lines.append(_row("kill -9", marks, number(sum(kills))))
    return lines


def _parts(values: Sequence[Any], step: int) -> list[Sequence[Any]]:
    return [values[start : start + step] for start in range(0, len(values), step)]


# --- the end ------------------------------------------------------------------------------------


def _conclusion(result: Result) -> list[str]:
    texts = []
    if result["interrupted"]:
        still_open = result["unanswered_by_reason"].get(INTERRUPTED, 0)
        texts.append(f"interrupted: {_of(still_open, 'request was', 'requests were')} still open")
    kills = result["kills"]
    if kills:
        texts.append(
            f"{_of(kills['workers'], 'worker was', 'workers were')} killed, "
            f"{number(kills['caught_requests'])} of {number(result['sent'])} requests were caught "
            f"by it, {number(result['failed'])} failed"
        )
        missed = kills["missed"].items()
        texts += [printable_line(f"{number(n)} x not killed: {why}") for why, n in missed]
    elif result["failed"]:
        texts.append(f"{number(result['failed'])} of {number(result['sent'])} requests failed")
    return [_wrapped(text, 0) for text in texts]


def _of(count: int, one: str, many: str) -> str:
    return f"{number(count)} {one if count == 1 else many}"


def _row(title: str, picture: str, note: str) -> str:
    return f"{title:<{TITLE_COLUMNS}}{picture}  {note}"


def _titled(title: str, text: str) -> str:
    return _wrapped(f"{title:<{TITLE_COLUMNS}}{text}", TITLE_COLUMNS)


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(
        text, COLUMNS, subsequent_indent=" " * indent, break_on_hyphens=False, drop_whitespace=True
    )
