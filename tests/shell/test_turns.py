"""Whose turn it is to be replaced."""

from workers.turns import Turns


def asked(*slots: str) -> Turns:
    turns = Turns()
    for slot in slots:
        turns.ask(slot.partition("-")[0], slot)
    return turns


def test_one_slot_of_each_pool_has_its_turn() -> None:
    turns = asked("a-1", "a-2", "b-1", "b-2")
    assert list(turns.begin()) == ["a-1", "b-1"]
    assert list(turns.begin()) == []
    turns.end("b-1")
    assert list(turns.begin()) == ["b-2"]
    turns.end("a-1")
    turns.end("b-2")
    assert list(turns.begin()) == ["a-2"]
    turns.end("a-2")
    assert list(turns.begin()) == []


def test_asking_again_does_not_lengthen_the_wait_nor_the_queue() -> None:
    turns = asked("a-1", "a-2", "a-3", "a-2")
    assert repr(turns) == "a: - < a-1, a-2, a-3"


def test_whoever_has_a_turn_may_ask_for_another() -> None:
    turns = asked("a-1", "a-2")
    assert list(turns.begin()) == ["a-1"]
    turns.ask("a", "a-1")
    assert repr(turns) == "a: a-1 < a-2, a-1"
    turns.end("a-1")
    assert list(turns.begin()) == ["a-2"]


def test_the_dismissed_are_forgotten_but_turns_go_on() -> None:
    turns = asked("a-1", "a-2")
    list(turns.begin())
    turns.dismiss()
    turns.ask("a", "a-3")
    assert list(turns.begin()) == []
    turns.end("a-1")
    assert list(turns.begin()) == ["a-3"]


def test_the_end_of_a_turn_that_nobody_had_is_nothing() -> None:
    turns = asked("a-1")
    list(turns.begin())
    turns.end("a-2")
    assert repr(turns) == "a: a-1 < "
