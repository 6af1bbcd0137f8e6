"""The benchmarks with a handful of requests: that they work, and that their arithmetic is right."""

import json
import os
import signal
import threading
import time
import xml.etree.ElementTree
from dataclasses import replace

import msgpack
import pytest

from tests.benchmarks import picture, report, table
from tests.benchmarks.contestants import CONTESTANTS, Setting
from tests.benchmarks.dealer_load import is_echo
from tests.benchmarks.plans import Kind, Outcome, Plan
from tests.benchmarks.processes import PeerFailed, cpu_s, deadline
from tests.benchmarks.rounds import Results, Scale, Turn, play
from tests.benchmarks.rows_of_echo import OUTSTANDING, ROWS, section_of
from tests.benchmarks.statistics_of_rounds import median_of_ratios, median_or_none, percentile
from tests.cluster.running import processes_of_session_tree

ECHO = next(row for row in ROWS if row.name == "echo")
FEW = Scale(requests_max=40)
CHOSEN = ["direct", "loop", "strict"]


# --- arithmetic ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.001, 1), (0.5, 50), (0.501, 51), (0.99, 99), (1.0, 100)]
)
def test_a_percentile_is_a_value_that_was_seen(share: float, value: int) -> None:
    assert percentile(range(100, 0, -1), share) == value


def test_the_percentile_of_one_value_is_that_value() -> None:
    assert [percentile([7.0], share) for share in (0.0, 0.5, 0.999)] == [7.0] * 3


def test_a_median_is_of_the_rounds_that_gave_a_value() -> None:
    assert median_or_none([3.0, None, 1.0]) == 2.0
    assert median_or_none([None]) is None


def test_ratios_are_taken_within_a_round() -> None:
    # In the second round everything was ten times as slow: the ratio of the medians would be 1.
    assert median_of_ratios([200.0, 20.0, 100.0], [100.0, 10.0, 100.0]) == 2.0
    assert median_of_ratios([1.0, None, 3.0, 5.0], [2.0, 1.0, None, 0.0]) == 0.5
    assert median_of_ratios([None], [1.0]) is None


@pytest.mark.parametrize(
    ("keeps_order", "expected"),
    [(False, ["a", "b", "c", "b", "c", "a", "c", "a", "b"]), (True, ["a", "b", "c"] * 3)],
)
def test_another_one_begins_in_each_round(keeps_order: bool, expected: list[str]) -> None:
    turns = []

    def measure(turn: Turn) -> dict[str, dict[str, float]]:
        turns.append(turn.contestant)
        return {}

    contestants = ("a", "b", "c", "left out")
    row = replace(ECHO, measure=measure, contestants=contestants, keeps_order=keeps_order)
    play(row, ["c", "b", "a"], 3, FEW)
    assert turns == expected


def test_results_are_medians_of_their_rounds() -> None:
    results = Results(ECHO, 3)
    for number, (loop, strict) in enumerate([(100, 50), (10, 5), (80, 60)]):
        results.note(number, "loop", {"8": {"req/s": loop}})
        results.note(number, "strict", {"8": {"req/s": strict}})
    assert results.median("8", "loop", "req/s") == 80
    assert results.ratio("8", "strict", "loop", "req/s") == 0.5
    assert results.ratio("8", "batch", "loop", "req/s") is None


def test_the_clock_of_a_process_counts_its_own_time() -> None:
    before_s = cpu_s(os.getpid())
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    assert 0.02 <= cpu_s(os.getpid()) - before_s < 0.2


# --- requests and answers -----------------------------------------------------------------------


def test_an_echo_is_the_same_value_and_nothing_else() -> None:
    payload = msgpack.packb(b"request 1")
    ours = msgpack.packb({"body": b"request 1", "status": 200, "worker": "echo-1"})
    reordered = msgpack.packb({"status": 200, "body": b"request 1"})
    assert all(is_echo(reply, payload) for reply in (payload, ours, reordered))
    other = msgpack.packb({"body": b"request 2", "status": 200})
    refusal = msgpack.packb({"status": 503, "error": "request 1"})
    wrong = (other, refusal, msgpack.packb(b"request 2"), msgpack.packb(9))
    assert not any(is_echo(reply, payload) for reply in wrong)
    assert not is_echo(msgpack.packb({"status": 200}), b""), "an answer to nothing"


def test_requests_take_turns_and_keep_their_shares() -> None:
    requests = Plan(1, 1.0).requests()
    assert len({request for _, request in requests}) == len(requests) > 100
    kinds = (Kind(95, cpu_s=0.1), Kind(5, sleep_s=0.2))
    mixed = Plan(1, 1.0, None, kinds).requests()
    assert sorted(number for number, _ in mixed) == [0] * 95 + [1] * 5
    assert all(request[1:] == [0.1, 0.0] for number, request in mixed if number == 0)
    assert len({request[0] for _, request in mixed}) == 100


def test_words_between_processes_lose_nothing() -> None:
    plan = Plan(8, 0.5, None, (Kind(95), Kind(5, 0.0, 0.05)), rate_per_s=10.0)
    assert Plan.from_words(json.loads(json.dumps(plan.to_words()))) == plan
    outcome = Outcome([[0.1, 0.2], []], 1, 2, 3.0, {"1": 0.5})
    assert Outcome.from_words(json.loads(json.dumps(outcome.to_words()))) == outcome
    assert (outcome.answered, outcome.all_latencies_s) == (2, [0.1, 0.2])


# --- contestants --------------------------------------------------------------------------------


def test_the_echo_row_has_a_figure_of_everybody() -> None:
    results = play(ECHO, CHOSEN, 1, FEW)
    assert results.troubles == []  # each reply was compared with its request, or there would be
    sections = [section_of(outstanding) for outstanding in OUTSTANDING]
    assert list(results.values) == sections
    for section in sections:
        assert list(results.values[section]) == CHOSEN
        for name in CHOSEN:
            assert (results.median(section, name, "req/s") or 0) > 0
            assert (results.median(section, name, "CPU s/1000") or 0) > 0
    lines = list(table.lines(results))
    assert len(lines) == 2 + len(sections) * (1 + len(CHOSEN))
    assert len({len(line) for line in lines[1:]}) == 1, "columns are aligned"
    assert [line.split()[0] for line in lines[3 : 3 + len(CHOSEN)]] == CHOSEN
    words = json.loads(json.dumps(report.to_words(results)))
    assert words["sections"][sections[0]]["strict"]["req/s"]["strict/it"] == 1.0
    drawing = xml.etree.ElementTree.fromstring(picture.draw(results))
    bars = [element for element in drawing.iter() if element.tag.endswith("rect")]
    assert len(bars) == len(sections) * len(CHOSEN)


def test_a_pool_is_measured_by_the_same_words() -> None:
    results = play(replace(ECHO, contestants=("executor", "pool")), ["executor", "pool"], 1, FEW)
    assert results.troubles == []
    assert list(results.values[section_of(8)]) == ["executor", "pool"]


def test_requests_at_their_times_are_all_answered() -> None:
    turn = Turn("direct", Setting(workers=1), FEW, {})
    with turn.opened() as running:
        outcome = running.run(turn.plan(Plan(1, 0.2, rate_per_s=200.0)))
    assert (outcome.answered, outcome.wrong, outcome.unanswered) == (40, 0, 0)
    assert 0.19 < outcome.elapsed_s < 5.0


@pytest.mark.parametrize("contestant", ["direct", "executor"])
def test_who_answers_wrong_is_found_out(contestant: str) -> None:
    turn = Turn(contestant, Setting(workers=1, job="builtins:len"), FEW, {})
    with (
        turn.opened() as running,
        pytest.raises(PeerFailed, match=r"requests [1-9]\d* were not answered with"),
    ):
        running.run(turn.plan(Plan(4, 5.0)))


def test_who_fails_is_named_and_the_others_have_their_turn() -> None:
    row = replace(ECHO, settings=(Setting(job="tests.benchmarks.jobs:none"),))
    row = replace(row, measure=lambda turn: ECHO.measure(replace(turn, setting=_good(turn))))
    results = play(row, ["direct", "loop"], 1, FEW)
    assert [trouble.split(",")[0] for trouble in results.troubles] == ["direct"]
    assert list(results.values[section_of(1)]) == ["loop"]


def _good(turn: Turn) -> Setting:
    return turn.setting if turn.contestant == "direct" else Setting()


def test_who_dies_under_the_load_is_found_out() -> None:
    turn = Turn("executor", Setting(workers=1, job="tests.benchmarks.jobs:work"), Scale(), {})
    with turn.opened() as running:
        plan = Plan(1, 30.0, None, (Kind(sleep_s=0.01),), warm_up=1)
        running.run(replace(plan, requests_max=1))
        [worker] = processes_of_session_tree(running.load.pid) - {running.load.pid}
        timer = threading.Timer(0.2, os.kill, (worker, signal.SIGKILL))
        timer.start()
        with pytest.raises(
            PeerFailed, match=r"1 of its processes ended|not answered with their echo"
        ):
            running.run(replace(plan, warm_up=0))
        timer.join()


def test_nothing_outlives_its_turn() -> None:
    before = processes_of_session_tree(os.getpid())
    with CONTESTANTS["loop"](Setting(workers=2)) as running:
        during = processes_of_session_tree(os.getpid())
        assert {*running.pids, running.load.pid} <= during - before
    assert processes_of_session_tree(os.getpid()) - before == set()


def test_a_wait_has_an_end() -> None:
    with pytest.raises(PeerFailed, match="a nap: not within"), deadline(0.05, "a nap"):
        time.sleep(10)
