"""The screen at the sizes of terminals that people have, and at sizes that nobody has."""

from copy import deepcopy
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from balancer.top.columns import STYLES
from balancer.top.model import Message, Model
from balancer.top.screen import render
from tests.shell.fake_cluster import event, status, worker
from tests.top.answered_requests import answer

WHY = "killed by SIGKILL 3.2 s ago, 3rd restart in 0.4 s"
NOW = 1_300.0


def five_workers() -> list[Message]:
    return [
        worker("slow-1", "busy", request="7f3a-12", request_age_ms=1240.0, served=12_345),
        worker("slow-2", served=9_120, empty=41, timeout=7, died=3, garbled=2, p99_ms=14.0),
        worker("slow-3", "down", pid=None, why=WHY, last_death="killed by SIGKILL", restarts=3),
        worker("slow-4", "drained", why="drained by hand"),
        worker("slow-5", last_death="exit status 3", last_death_age_s=130.0),
    ]


def model_of(*workers: Message, seconds: int = 100) -> Model:
    """It has seen so many seconds pass."""
    model = Model("shop", interval_s=1.0)
    model.note_connected()
    said = status("shop", *workers)
    for second in range(seconds):
        answer(said, {0.002: 1000 + 10 * second, 0.012: 20})
        model.note_message(NOW - seconds + second, deepcopy(said))
    return model


def shown(model: Model, width: int = 80, height: int = 24, now: float = NOW) -> str:
    """As plain text; it is exactly as large as the terminal."""
    console = Console(file=StringIO(), width=width, height=height, force_terminal=False)
    with console.capture() as capture:
        console.print(render(model, width, height, now))
    *lines, rest = capture.get().split("\n")
    assert rest == ""
    assert len(lines) == height
    assert {cell_len(line) for line in lines} == {width}
    return "\n".join(line.rstrip() for line in lines)


def row(screen: str, name: str) -> str:
    """The worker's line in the table."""
    return next(line for line in screen.splitlines() if line[2:].startswith(name))


# --- what is seen at which width ------------------------------------------------------------------


def test_80_columns_show_all_that_matters() -> None:
    model = model_of(*five_workers())
    assert model.status is not None
    answer(model.status, {0.01: 5}, "503")
    model.status["cluster"]["balancer_restarts"] = 1
    model.status["queue"]["length"] = 3
    model.status["totals"].update(open=7, failovers=12)
    model.note_key(NOW, "j")
    screen = shown(model)
    for text in (
        "  shop   running   tcp://127.0.0.1:5555",
        "up 2h 14m",
        "workers 3 of 5 in rotation   launcher 4711   balancer 4712, 1 restart",
        "queue 3 of 1,024   open 7   rate 2,010/s   p50 2.0ms   p99 2.0ms",
        "failovers 12   answers  200 152k  503 5",
        "WORKER  STATE       REQUEST   SERVED  FAILED     P99  WHY",
        "slow-1  busy           1.2s   12,345       ·       ·",
        "▸ slow-2  idle              ·    9,120      12    14ms",
        "failures 41 empty, 7 timeout, 3 died, 2 garbled",
        "q quit",
    ):
        assert text in screen
    assert "…" not in screen.replace(row(screen, "slow-3"), "")


def test_the_whole_reason_is_below_the_table() -> None:
    model = model_of(*five_workers())
    model.note_key(NOW, "j")
    model.note_key(NOW, "j")
    screen = shown(model)
    assert row(screen, "slow-3").endswith("killed by SIGKILL 3.2 …")
    assert f"  {WHY}\n" in screen
    assert "slow-3  down   pid none   restarts 3   pool slow" in screen


def test_160_columns_have_the_failures_by_kind_and_the_reasons_in_full() -> None:
    screen = shown(model_of(*five_workers()), 160, 45)
    assert "SERVED  EMPTY  TIMEOUT  DIED  GARBLED     P50     P99  RESTARTS  WHY" in screen
    assert row(screen, "slow-2").endswith(
        "9,120     41        7     3        2       ·    14ms         ·"
    )
    assert row(screen, "slow-3").endswith(WHY)
    assert row(screen, "slow-5").endswith("exit status 3, 2m ago")
    assert "…" not in screen


def test_60_columns_drop_columns_and_cut_no_figure() -> None:
    screen = shown(model_of(*five_workers()), 60)
    assert "WORKER  STATE       REQUEST   SERVED  WHY" in screen
    assert "slow-1  busy           1.2s   12,345" in screen
    lines = [line for line in screen.splitlines() if "…" in line]
    assert lines == [row(screen, "slow-3")]
    for text in ("p99 2.0ms", "failovers 0", "answers  200 ", "balancer 4712", "d drain", "q quit"):
        assert text in screen


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("state", STYLES)
def test_every_state_is_a_word_in_full(state: str, width: int) -> None:
    assert (
        f" {state} " in row(shown(model_of(worker("slow-1", state)), width) + " ", "slow-1") + " "
    )


@pytest.mark.parametrize("width", [1, 2, 7, 20, 39, 60, 80, 97, 160, 400])
@pytest.mark.parametrize("height", [1, 2, 3, 5, 9, 24, 100])
def test_any_size_is_filled_and_never_exceeded(width: int, height: int) -> None:
    for model in (model_of(*five_workers(), seconds=10), model_of(seconds=1), Model("shop", 1.0)):
        model.note_message(NOW, event("line " * 50))
        shown(model, width, height)
        model.note_key(NOW, "?")
        shown(model, width, height)
        model.note_key(NOW, "?")
        model.note_key(NOW, "x")
        shown(model, width, height)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_three_lines_are_the_cluster_the_selected_worker_and_the_keys(width: int) -> None:
    model = model_of(*five_workers())
    model.note_key(NOW, "j")
    first, second, third = shown(model, width, 3).splitlines()
    assert first.startswith("  shop   running")
    assert second.startswith("▸ slow-2")
    assert third.endswith("q quit")


def test_what_is_cut_shows_that_it_is() -> None:
    model = model_of(*five_workers())
    model.note_message(NOW, event("line " * 50))
    screen = shown(model, 30)
    assert screen.splitlines()[0] == "  shop   running   tcp://127…"
    lines = shown(model, 60, 40).splitlines()
    assert lines[-3].endswith("line …")


def test_wide_characters_keep_the_columns() -> None:
    screen = shown(model_of(worker("工作者-1", served=5), worker("b-1", served=6)))
    lines = [row(screen, name) for name in ("工作者-1", "b-1")]
    ends = [cell_len(line.partition(f" {n}")[0]) for line, n in zip(lines, "56", strict=True)]
    assert ends[0] == ends[1]


# --- many workers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "part"), [(0, "1-6 of 40"), (20, "18-23 of 40"), (99, "35-40")])
def test_the_table_scrolls_with_the_selection(steps: int, part: str) -> None:
    model = model_of(*(worker(f"w-{number}") for number in range(1, 41)))
    for _ in range(steps):
        model.note_key(NOW, "j")
    screen = shown(model, height=25)
    assert part in screen
    assert f"▸ {model.selected}" in screen


# --- graphs ---------------------------------------------------------------------------------------


def test_graphs_go_back_as_far_as_the_width_allows() -> None:
    model = model_of(*five_workers(), seconds=300)

    def bars(width: int) -> int:
        line = next(line for line in shown(model, width).splitlines() if "answers/s " in line)
        assert line.endswith("max 4,010")
        return sum(character in "▁▂▃▄▅▆▇█" for character in line)

    assert [bars(width) for width in (60, 80, 160)] == [33, 53, 133]


def test_graphs_grow_with_the_height() -> None:
    screen = shown(model_of(*five_workers()), 80, 60)
    assert sum("██" in line for line in screen.splitlines()) >= 7


# --- trouble --------------------------------------------------------------------------------------


def test_without_the_balancer_there_are_no_figures_but_workers() -> None:
    model = model_of(*five_workers())
    assert model.status is not None
    down = model.status | {"totals": {}, "pools": []}
    down["cluster"] = down["cluster"] | {"balancer_pid": None}
    model.note_message(NOW, down)
    screen = shown(model)
    assert "no figures: the balancer does not answer" in screen
    assert "balancer down" in screen
    assert "slow-1  busy" in screen


def test_states_of_the_cluster_are_told() -> None:
    model = model_of(*five_workers())
    assert model.status is not None
    model.status["cluster"]["draining"] = True
    assert "shop   draining" in shown(model)
    model.note_asked(NOW)
    assert "shop   no answer for 12s" in shown(model, now=NOW + 12)
    model.note_gone(NOW)
    screen = shown(model, now=NOW + 60)
    assert "shop   not running" in screen
    assert "No cluster named 'shop' is running. It ended 1m 0s ago." in screen
    assert "Start one with: python run_cluster.py --name shop\n" in screen
    assert "kill" not in screen


def test_a_cluster_without_workers_says_so() -> None:
    assert "no workers" in shown(model_of())


def test_what_peers_wrote_moves_nothing() -> None:
    evil = "\x1b[2J\u202egnp\n\x9b1A"
    model = model_of(worker("slow-1", "down", why=evil, last_death=evil, request=evil))
    model.note_message(NOW, event(evil, source=evil))
    model.note_message(NOW, {"op": "kill", "error": evil})
    screen = shown(model, 160)
    assert all(character.isprintable() or character == "\n" for character in screen)
    assert r"\u001b[2J\u202egnp" in screen


# --- the lower lines ------------------------------------------------------------------------------


def test_the_latest_events_are_at_the_bottom_and_long_ones_take_two_lines() -> None:
    model = model_of(*five_workers())
    for number in range(9):
        model.note_message(NOW, event(f"event {number}"))
    model.note_message(NOW, event("request 7f3a-9 lost slow-3, " + "which died, " * 5 + "the end"))
    *_, before, first, second, gap, _ = shown(model).splitlines()
    assert before.endswith("slow-1     event 8")
    assert "request 7f3a-9 lost slow-3" in first
    assert (second.strip().endswith("the end"), gap) == (True, "")


def test_a_stack_is_one_line_that_says_how_long_it_is() -> None:
    model = model_of(worker("slow-1"))
    model.note_message(NOW, event("its stack when it hung:\n  File x\n  File y"))
    assert "its stack when it hung: (and 2 lines)" in shown(model)


def test_a_long_answer_is_shown_in_full() -> None:
    model = model_of(*five_workers())
    text = "there is no worker 'slow-9' here, but " + ", ".join(f"slow-{n}" for n in range(1, 9))
    model.note_message(NOW, {"op": "kill", "error": text})
    assert " ".join(shown(model).split()).endswith(text)


def test_a_question_names_the_worker_and_what_says_yes() -> None:
    model = model_of(*five_workers())
    model.note_key(NOW, "x")
    assert shown(model).endswith("  kill slow-1? y does it, any other key does not")


def test_help_is_complete_at_80_columns() -> None:
    model = model_of(*five_workers())
    model.note_key(NOW, "?")
    screen = shown(model)
    assert "…" not in screen
    for state in STYLES:
        assert state in screen
    assert "any key goes back" in screen


def test_the_latency_is_that_of_the_last_second() -> None:
    model = model_of(worker("slow-1"))
    assert model.status is not None
    later = deepcopy(model.status)
    answer(later, {0.25: 100})
    model.note_message(NOW, later)
    assert "rate 100/s   p50 250ms   p99 250ms" in shown(model)
