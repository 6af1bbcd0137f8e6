"""How a bench counts: every request once, latencies to the microsecond, slots of time."""

import random
from collections import Counter
from itertools import pairwise

import pytest

from balancer.bench.latencies import Latencies
from balancer.bench.tally import INTERRUPTED, Tally
from balancer.bench.timeline import SLOTS_MAX, Timeline
from balancer.wire.reply import Reply, Try

SHARES = (0.5, 0.9, 0.99, 0.999)


def latencies(*latencies_s: float) -> Latencies:
    noted = Latencies()
    for latency_s in latencies_s:
        noted.note(latency_s)
    return noted


# --- latencies ----------------------------------------------------------------------------------


def test_percentiles_are_those_of_the_sorted_list() -> None:
    dice = random.Random(7)
    sample = [round(dice.lognormvariate(-6, 0.6), 6) for _ in range(1000)]
    ordered = sorted(sample)
    assert max(sample) < 0.1
    wanted = [ordered[rank - 1] for rank in (500, 900, 990, 999)]
    assert latencies(*sample).percentiles_s(SHARES) == wanted


def test_percentiles_of_few() -> None:
    assert latencies(0.003).percentiles_s(SHARES) == [0.003] * 4
    assert latencies(0.001, 0.002).percentiles_s(SHARES) == [0.001, 0.002, 0.002, 0.002]
    assert latencies().percentiles_s(SHARES) == []


def test_a_percentile_counts_whole_requests() -> None:
    hundred = latencies(*(number / 1000 for number in range(100)))
    assert hundred.percentiles_s((0.07, 0.99)) == [0.006, 0.098]  # 0.07 x 100 is above 7


def test_the_maximum_and_the_mean_are_exact() -> None:
    noted = latencies(0.25, 12.3456789)
    assert noted.max_s == 12.3456789
    assert noted.mean_s() == pytest.approx((0.25 + 12.3456789) / 2)
    assert latencies().mean_s() == 0.0


def test_four_digits_stay_of_long_latencies() -> None:
    for latency_s in (0.1, 0.123456, 1.23456, 9.99999, 12.3456, 299.999):
        [found_s] = latencies(latency_s).percentiles_s((0.5,))
        assert found_s == pytest.approx(latency_s, rel=1e-3)
        assert found_s <= latency_s + 1e-9


def test_memory_does_not_grow_with_the_number_of_requests() -> None:
    noted = latencies(*(number / 1e5 for number in range(0, 5_000_000, 7)))
    assert len(noted._counts) < 120_000
    assert noted.count == 714_286


def test_classes_include_their_upper_limit() -> None:
    noted = latencies(0.001, 0.0011, 0.002, 5.0)
    assert noted.classes((0.001, 0.002)) == Counter({0: 1, 1: 2, 2: 1})


# --- the tally ----------------------------------------------------------------------------------


def tally_of(*replies: Reply, sent: int = 0, is_answer: bool = True) -> Tally:
    tally = Tally(duration_s=10.0)
    tally.sent = sent or len(replies)
    for reply in replies:
        tally.note_end(1.0, 0.01, reply, is_answer=is_answer)
    return tally


def test_every_request_is_counted_once() -> None:
    tally = tally_of(Reply(200), Reply(503, reason="exhausted"), Reply(503, reason="draining"))
    tally.sent += 4
    tally.note_end(2.0, 1.0, Reply(504, reason="deadline"), is_answer=False)
    assert tally.open_now == 3
    tally.cut_off()
    assert tally.answers == {(200, ""): 1, (503, "exhausted"): 1, (503, "draining"): 1}
    assert tally.unanswered == {"deadline": 1, INTERRUPTED: 3}
    assert tally.sent == tally.answered + tally.unanswered.total() == 7
    assert (tally.ok.count, tally.failed.count) == (1, 3)


def test_nothing_is_cut_off_where_nothing_is_open() -> None:
    tally = tally_of(Reply(200))
    tally.cut_off()
    assert tally.unanswered == {}


def test_a_reply_that_the_client_wrote_is_no_answer() -> None:
    tally = tally_of(Reply(200), is_answer=False)
    assert (tally.answered, tally.ok.count, tally.failed.count) == (0, 0, 1)


def test_failed_tries_are_counted_by_what_ended_them() -> None:
    died, empty = Try("a-1", "died", 3.0), Try("a-2", "empty", 1.0)
    missed = Try("a-1", "undelivered", 3.0)
    tally = tally_of(
        Reply(200, attempts=2, tried=(missed,)),
        Reply(200, attempts=1),
        Reply(200, attempts=3, tried=(died, died)),
        Reply(200, attempts=2, tried=(empty,)),
        Reply(503, reason="no_workers", attempts=1, tried=(died,)),
    )
    assert tally.failovers == 3
    assert tally.failed_tries == {"died": 3, "undelivered": 1, "empty": 1}
    assert tally.caught == 3


def test_the_first_error_of_each_kind_is_kept_and_not_all_of_a_long_one() -> None:
    tally = tally_of(
        Reply(500, error="first", reason="handler_error"),
        Reply(500, error="second", reason="handler_error"),
        Reply(503, error="x" * 1000, reason="exhausted"),
    )
    assert tally.first_errors["500 handler_error"] == "first"
    assert tally.first_errors["503 exhausted"] == "x" * 200


# --- the timeline -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration_s", "slot_s"), [(2.0, 0.1), (5.0, 0.1), (10.0, 0.2), (60.0, 2.0), (86400.0, 1728.0)]
)
def test_a_run_has_at_most_as_many_slots_as_fit_on_a_line(duration_s: float, slot_s: float) -> None:
    assert Timeline(duration_s).slot_s == slot_s
    assert duration_s / slot_s <= SLOTS_MAX


def test_what_happens_is_put_into_its_slot() -> None:
    timeline = Timeline(2.0)
    timeline.note_end(0.05, 0.03, is_ok=True)
    timeline.note_end(0.07, 0.01, is_ok=True)
    timeline.note_kill(0.3)  # which is a little more than three tenths
    timeline.note_end(0.12, 0.5, is_ok=False)
    assert timeline.to_json() == {
        "slot_s": 0.1,
        "ok": [2, 0, 0, 0],
        "failed": [0, 1, 0, 0],
        "longest_ms": [30.0, 500.0, 0.0, 0.0],
        "kills": [0, 0, 0, 1],
    }


def test_answers_after_the_end_have_their_slots() -> None:
    timeline = Timeline(2.0)
    timeline.note_end(3.05, 0.03, is_ok=True)
    lengths = {len(row) for row in timeline.to_json().values() if isinstance(row, list)}
    assert lengths == {31}


def test_slots_rise_in_preferred_steps() -> None:
    slots_s = [Timeline(duration_s).slot_s for duration_s in range(1, 30_000, 60)]
    assert all(one <= other for one, other in pairwise(slots_s))
