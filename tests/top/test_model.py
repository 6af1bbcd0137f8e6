"""What top decides on statuses, events and keys."""

import pytest

from balancer.top.model import EVENTS_MAX, NOTICE_S, SILENCE_S, Message, Model, Order
from tests.shell.fake_cluster import event, status, worker

NAMES = ("a-1", "a-2", "a-3")


def model_of(*names: str) -> Model:
    model = Model("test", interval_s=1.0)
    model.note_connected()
    model.note_message(1_000.0, status("test", *map(worker, names)))
    return model


def press(model: Model, *keys: str, now: float = 1_001.0) -> list[Order]:
    orders = [model.note_key(now, key) for key in keys]
    return [order for order in orders if order is not None]


def said(model: Model, now: float = 1_001.0) -> str:
    notice = model.notice(now)
    return notice.text if notice else ""


# --- selecting ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "selected"),
    [
        ("", "a-1"),
        (["j"], "a-2"),
        (["down", "down", "up"], "a-2"),
        (["up"], "a-1"),
        (["j", "j", "j", "j", "k"], "a-2"),
        (["end"], "a-3"),
        (["page down", "home"], "a-1"),
        (["page down", "page up", "j"], "a-2"),
    ],
)
def test_keys_move_the_selection_and_stop_at_the_ends(keys: list[str], selected: str) -> None:
    model = model_of(*NAMES)
    press(model, *keys)
    assert model.selected == selected


def test_the_selection_stays_with_its_worker_and_else_with_its_place() -> None:
    model = model_of(*NAMES)
    press(model, "j")
    model.note_message(1_001.0, status("test", *map(worker, ("b-1", "a-1", "a-2", "a-3"))))
    assert (model.selected, model.selected_place) == ("a-2", 2)
    model.note_message(1_002.0, status("test", *map(worker, ("b-1", "a-1"))))
    assert (model.selected, model.selected_place) == ("a-1", 1)
    model.note_message(1_003.0, status("test"))
    assert (model.selected, model.selected_place) == ("", 0)


# --- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "op"), [("d", "drain"), ("r", "restart"), ("x", "kill"), ("K", "kill")]
)
def test_an_order_is_given_only_after_yes(key: str, op: str) -> None:
    model = model_of(*NAMES)
    assert press(model, "j", key) == []
    assert model.doubted == Order(op, "a-2")
    assert press(model, "y") == [Order(op, "a-2")]
    assert Order(op, "a-2").question == {"op": op, "worker": "a-2", "by": "top"}
    assert model.doubted is None
    assert said(model) == f"{op} a-2 …"


@pytest.mark.parametrize("key", ["n", "x", "Y", "q", "escape", "down"])
def test_any_other_key_does_nothing_but_say_so(key: str) -> None:
    model = model_of(*NAMES)
    assert press(model, "x", key) == []
    assert model.doubted is None
    assert said(model) == "nothing was done"
    assert (model.selected, model.has_quit) == ("a-1", False)
    assert press(model, "y") == []


def test_ready_needs_no_yes() -> None:
    assert press(model_of(*NAMES), "u") == [Order("ready", "a-1")]


def test_what_is_asked_about_stays_the_same_while_the_table_changes() -> None:
    model = model_of(*NAMES)
    press(model, "x")
    model.note_message(1_001.0, status("test", worker("b-1")))
    assert press(model, "y") == [Order("kill", "a-1")]


def test_where_there_is_no_worker_there_is_no_order() -> None:
    for model in (model_of(), Model("test", 1.0)):
        assert press(model, "x", "y", "u") == []
        assert said(model) == "there is no worker to ready"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [({"did": "a-1 is killed", "changed": True}, "done"), ({"error": "a-1 is killed"}, "error")],
)
def test_an_answer_is_shown_for_a_while_or_until_the_next_key(reply: Message, kind: str) -> None:
    model = model_of(*NAMES)
    press(model, "x", "y")
    assert said(model, 1_001.0 + 2 * NOTICE_S) == "kill a-1 …", "it is still owed"
    model.note_message(1_050.0, {"op": "kill", **reply})
    notice = model.notice(1_050.0)
    assert notice is not None
    assert (notice.text, notice.kind) == ("a-1 is killed", kind)
    assert said(model, 1_050.0 + NOTICE_S) == ""
    press(model, "j", now=1_051.0)
    assert said(model, 1_051.0) == ""


def test_an_order_that_is_still_owed_when_the_cluster_goes_is_told_of() -> None:
    model = model_of(*NAMES)
    press(model, "x", "y")
    model.note_gone(1_001.0)
    assert said(model) == "the cluster went before it answered: kill a-1"
    model = model_of(*NAMES)
    press(model, "x")
    model.note_gone(1_001.0)
    assert (said(model), model.doubted) == ("", None)


# --- help and the end -----------------------------------------------------------------------------


def test_any_key_leaves_the_help_and_does_nothing_else() -> None:
    model = model_of(*NAMES)
    for key in ("?", "q", "x"):
        press(model, "?")
        assert model.is_help_shown
        assert press(model, key) == []
        assert (model.is_help_shown, model.has_quit, model.doubted) == (False, False, None)
    press(model, "q")
    assert model.has_quit


# --- the cluster ----------------------------------------------------------------------------------


def test_silence_is_told_of_once_it_is_too_long() -> None:
    model = model_of(*NAMES)
    assert not model.is_waiting
    model.note_asked(1_001.0)
    assert model.is_waiting
    assert model.silent_s(1_001.0 + SILENCE_S) is None
    assert model.silent_s(1_001.5 + SILENCE_S) == SILENCE_S + 0.5
    model.note_message(1_005.0, status("test"))
    assert not model.is_waiting
    assert model.silent_s(1_100.0) is None


def test_a_cluster_that_goes_has_no_workers_and_a_new_one_has_events_of_its_own() -> None:
    model = model_of(*NAMES)
    model.note_message(1_001.0, event("old"))
    model.note_gone(1_002.0)
    model.note_gone(1_003.0)
    assert (model.status, model.ended_at, list(model.workers)) == (None, 1_002.0, [])
    model.note_connected()
    assert (model.ended_at, list(model.events)) == (None, [])


def test_only_the_last_events_are_kept() -> None:
    model = model_of()
    for number in range(10 * EVENTS_MAX):
        model.note_message(1_001.0, event(str(number)))
    assert len(model.events) == EVENTS_MAX
    assert model.events[-1]["text"] == str(10 * EVENTS_MAX - 1)


def test_statuses_become_history() -> None:
    model = model_of()
    model.note_message(1_001.0, status("test"))
    assert [point.at for point in model.history.points] == [1_001.0]
    without = status("test") | {"totals": {}, "pools": []}
    model.note_message(1_002.0, without)
    assert len(model.history.points) == 1
