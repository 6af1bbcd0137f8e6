"""What a bench prints: the same figures for programs and for people, in 80 columns."""

import json
from typing import Any

import pytest

from balancer.bench.plan import Plan
from balancer.bench.progress import progress_line
from balancer.bench.report import render
from balancer.bench.result import Run, result
from balancer.bench.schedule import OpenLoop, schedule_of
from balancer.bench.tally import Tally
from balancer.bench.text import bar, duration, heights, number
from balancer.wire.reply import Reply, Try

KEYS = """
    cluster address started_at took_s interrupted load sent answered unanswered ok failed
    answered_per_s by_status by_reason unanswered_by_reason first_errors failovers failed_tries
    latency_ms histogram schedule kills timeline"""


def tally_of(*ends: tuple[float, float, Reply], unanswered: int = 0) -> Tally:
    """Each is when it ended, how long it took, and the reply."""
    tally = Tally(duration_s=2.0)
    tally.sent = len(ends) + unanswered
    for at_s, latency_s, reply in ends:
        tally.note_end(at_s, latency_s, reply, is_answer=True)
    for _ in range(unanswered):
        tally.note_end(6.0, 5.0, Reply(504, error="No.", reason="deadline"), is_answer=False)
    return tally


def result_of(
    tally: Tally, interrupted: bool = False, took_s: float = 2.0, **plan: Any
) -> dict[str, Any]:
    run = Run("blue", "tcp://127.0.0.1:5555", "2026-01-01T00:00:00+00:00", took_s, interrupted)
    asked = Plan(b"\xa5hello", duration_s=2.0, timeout_s=5.0, **plan)
    return dict(result(run, asked, schedule_of(asked), tally))


OK = Reply(200, attempts=1)
STEADY = [(number / 100, 0.005, OK) for number in range(200)]
CAUGHT = Reply(200, attempts=2, tried=(Try("slow-1", "died", 3.0),))


# --- the object ---------------------------------------------------------------------------------


def test_the_keys_are_stable_whatever_happened() -> None:
    for tally in (tally_of(), tally_of(*STEADY, unanswered=3)):
        shown = json.loads(json.dumps(result_of(tally)))
        assert list(shown) == KEYS.split()


def test_the_figures_of_a_steady_run() -> None:
    shown = result_of(tally_of(*STEADY))
    assert (shown["sent"], shown["answered"], shown["ok"], shown["failed"]) == (200, 200, 200, 0)
    assert shown["answered_per_s"] == 100.0
    assert shown["latency_ms"] == {
        "ok": dict.fromkeys(("p50", "p90", "p99", "p99_9", "max", "mean"), 5.0),
        "failed": None,
    }
    assert shown["histogram"] == [{"up_to_ms": 5.0, "count": 200}]
    assert shown["by_status"] == {"200": 200}
    assert shown["kills"] is shown["schedule"] is None
    assert sum(shown["timeline"]["ok"]) == 200


def test_failures_are_told_apart() -> None:
    refused = Reply(503, error="Full.", reason="queue_full")
    shown = result_of(tally_of(*STEADY, (1.0, 0.001, refused), unanswered=2))
    assert (shown["sent"], shown["answered"], shown["unanswered"]) == (203, 201, 2)
    assert (shown["ok"], shown["failed"]) == (200, 3)
    assert shown["by_status"] == {"200": 200, "503": 1}
    assert shown["by_reason"] == {"queue_full": 1}
    assert shown["unanswered_by_reason"] == {"deadline": 2}
    assert shown["first_errors"] == {"503 queue_full": "Full.", "504 deadline": "No."}
    assert shown["latency_ms"]["ok"]["max"] == 5.0
    assert shown["latency_ms"]["failed"]["max"] == 5000.0


def test_the_wait_for_who_never_answers_is_not_part_of_the_throughput() -> None:
    assert result_of(tally_of(*STEADY, unanswered=1), took_s=7.0)["answered_per_s"] == 100.0


def test_the_wait_for_late_answers_is() -> None:
    assert result_of(tally_of((4.0, 4.0, OK)), took_s=4.0)["answered_per_s"] == 0.25


def test_a_histogram_has_no_holes() -> None:
    shown = result_of(tally_of((0.1, 0.001, OK), (0.1, 0.002, OK), (0.1, 500.0, OK)))["histogram"]
    assert [one["up_to_ms"] for one in shown][:4] == [1.0, 1.25, 1.6, 2.0]
    assert [one["count"] for one in shown][:4] == [1, 0, 0, 1]
    assert shown[-1] == {"up_to_ms": None, "count": 1}


# --- the schedule -------------------------------------------------------------------------------


def scheduled(loop: OpenLoop) -> tuple[dict[str, Any], str]:
    """What the object and the report say of it."""
    run = Run(None, "tcp://127.0.0.1:5555", "", 1.25, False)
    plan = Plan(b"\xc0", duration_s=1.0, timeout_s=5.0, rate_per_s=100.0)
    found = result(run, plan, loop, tally_of())
    return found["schedule"], render(found)


def test_a_schedule_that_was_kept() -> None:
    loop = OpenLoop(100.0, 1.0)
    for ordinal in range(100):
        loop.due(ordinal / 100 + 0.002, 0)
    schedule, text = scheduled(loop)
    assert schedule == {"due": 100, "unsent": 0, "late": 0, "behind_max_ms": 2.0, "kept": True}
    assert "\nschedule     kept; the sender was at most 2.00 ms behind\n" in text


def test_one_late_request_of_a_hundred_is_within_the_schedule_and_two_are_not() -> None:
    for late, kept in ((1, True), (2, False)):
        loop = OpenLoop(100.0, 1.0)
        for ordinal in range(100):
            is_late = ordinal in (30, 60)[:late]
            loop.due(ordinal / 100 + (0.015 if is_late else 0.001), 0)
        schedule, text = scheduled(loop)
        assert schedule["due"] == 100
        assert schedule["kept"] == kept, schedule
        assert ("NOT KEPT" in text) != kept


def test_requests_that_were_never_sent_break_the_schedule() -> None:
    loop = OpenLoop(100.0, 1.0)
    for ordinal in range(50):
        loop.due(ordinal / 100 + 0.001, 0)
    schedule, text = scheduled(loop)
    assert (schedule["due"], schedule["unsent"], schedule["kept"]) == (100, 50, False)
    assert "NOT KEPT: 0 of 100 requests were sent more than 10.0 ms late" in text
    assert "50 not at all" in " ".join(text.split())


# --- the report ---------------------------------------------------------------------------------


def test_the_report_of_a_demonstration() -> None:
    tally = tally_of(*STEADY, (1.01, 0.0123, CAUGHT))
    for at_s in (0.5, 1.0, 1.5):
        tally.note_kill(at_s)
    shown = render(result_of(tally, rate_per_s=100.0, kill_every_s=0.5))
    lines = shown.splitlines()
    assert lines[0] == ("cluster blue at tcp://127.0.0.1:5555: 100 a second for 2s, 6 bytes each")
    assert "failovers    1; tries that failed: died x 1" in lines
    assert "kill -9           x    x    x      3" in lines
    assert lines[-1] == "3 workers were killed, 1 of 201 requests were caught by it, 0 failed"


def test_the_timeline_stands_below_its_ruler() -> None:
    tally = tally_of(*STEADY)
    tally.note_kill(1.95)
    lines = render(result_of(tally, kill_every_s=1.0)).splitlines()
    ruler, answers, longest, kills = lines[-6:-2]
    assert ruler == f"time         0 s{'2 s':>17}  (0.1 s each)"
    assert answers == f"answers 200  {'█' * 20}  max 100/s"
    assert longest == f"longest      {'█' * 20}  max 5.00 ms"
    assert kills == f"kill -9      {'x':>20}  1"


def test_failures_and_long_waits_have_a_row_in_the_timeline() -> None:
    shown = render(result_of(tally_of(*STEADY, unanswered=3), took_s=6.1))
    [failed] = [line for line in shown.splitlines() if line.startswith("failed")]
    assert failed.endswith("█  3")
    assert "3 of 203 requests failed" in shown


def test_an_interruption_is_said_and_is_no_failure() -> None:
    tally = tally_of(*STEADY)
    tally.sent += 1
    tally.cut_off()
    shown = render(result_of(tally, interrupted=True))
    assert shown.endswith("\n\ninterrupted: 1 request was still open\n")


def test_a_run_without_any_request_has_a_report() -> None:
    shown = render(result_of(tally_of(), interrupted=True))
    assert "requests     0 in 2.0 s" in shown
    assert "latency" not in shown


def test_what_a_peer_wrote_cannot_move_the_cursor() -> None:
    evil = Reply(500, error="\x1b[2J\nowned", reason="handler_error\x1b[2J")
    shown = render(result_of(tally_of((1.0, 0.1, evil))))
    assert "\x1b" not in shown
    assert "\nowned" not in shown


def test_a_refusal_for_too_many_open_requests_says_what_to_do() -> None:
    refused = Reply(429, error="Too many.", reason="client_limit")
    shown = " ".join(render(result_of(tally_of((1.0, 0.1, refused)))).split())
    assert "ask for fewer at once, or start the cluster with a higher --client-limit" in shown


def test_it_fits_into_80_columns_with_the_largest_figures() -> None:
    reasons = ("queue_full", "queue_timeout", "exhausted", "client_limit", "retry_budget")
    tally = tally_of(*STEADY)
    tried = tuple(Try("a", why, 1.0) for why in ("died", "empty", "timeout", "undelivered"))
    for at_s, reason in enumerate(reasons * 20):
        reply = Reply(503, error="word " * 40, reason=reason, attempts=5, tried=tried)
        tally.note_end(at_s, 123.0 * 1.3**-at_s, reply, is_answer=True)
    tally.sent = 300
    for ending in tally.answers:
        tally.answers[ending] *= 12_345_678
    for why in tally.failed_tries:
        tally.failed_tries[why] *= 12_345_678
    shown = render(result_of(tally, rate_per_s=100.0, kill_every_s=0.5, took_s=130.0))
    assert max(map(len, shown.splitlines())) <= 80


def test_a_histogram_keeps_its_shape_and_shows_the_rare_long_ones() -> None:
    ends = [(1.0, 0.0008 + 0.0000004 * n, OK) for n in range(5000)]
    ends += [(1.0, 3.0, OK)]
    lines = render(result_of(tally_of(*ends))).splitlines()
    rows = [line for line in lines if line.lstrip().startswith(("≤", ">"))]
    assert 4 <= len(rows) <= 13
    assert rows[-1].split() == [">", "3.15", "ms", "▏", "1"]
    assert sum(int(row.split()[-1].replace(",", "")) for row in rows) == 5001


def test_a_wide_histogram_is_merged() -> None:
    ends = [(1.0, 0.0002 * 1.2**n, OK) for n in range(60)]
    lines = render(result_of(tally_of(*ends))).splitlines()
    rows = [line for line in lines if line.lstrip().startswith(("≤", ">"))]
    assert 6 <= len(rows) <= 13
    assert sum(int(row.split()[-1]) for row in rows) == 60


# --- texts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0.0123, "12 µs"),
        (0.9994, "999 µs"),
        (0.9996, "1.00 ms"),
        (9.994, "9.99 ms"),
        (9.996, "10.0 ms"),
        (99.96, "100 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (65_000.0, "65.0 s"),
        (300_000.0, "300 s"),
    ],
)
def test_durations_have_three_digits(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_numbers_have_as_many_digits_as_a_person_reads() -> None:
    assert [number(n) for n in (0, 7, 12_345, 0.05, 12.345, 1234.5)] == [
        "0",
        "7",
        "12,345",
        "0.05",
        "12.3",
        "1,234",
    ]


def test_bars_are_exact_to_an_eighth_and_never_hide_one() -> None:
    assert bar(10, 10, 4) == "████"
    assert bar(5, 10, 4) == "██"
    assert bar(9, 32, 4) == "█▏"
    assert bar(1, 1_000_000, 4) == "▏"
    assert bar(0, 10, 4) == ""


def test_heights_never_hide_one() -> None:
    assert heights([0, 1, 500, 1000], 1000) == " ▁▄█"
    assert heights([0, 0], 0) == "  "


def test_the_progress_line_says_what_is_done_how_fast_and_what_went_wrong() -> None:
    tally = tally_of(*STEADY, unanswered=3)
    tally.sent += 4
    assert progress_line(1.0, 2.0, tally, 98.6) == (
        "▕██████████          ▏1.0/2 s  200 answers  99/s  3 failed"
    )
    tally.note_kill(1.0)
    assert progress_line(2.1, 2.0, tally, 98.6).endswith("3 failed  1 killed  waiting for 4")
    assert progress_line(2.1, 2.0, tally, 98.6).startswith(f"▕{'█' * 20}▏2.0/2 s")
