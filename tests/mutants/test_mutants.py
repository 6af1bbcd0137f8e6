"""All planted bugs still apply, and a sample of them is caught; the command hunts them all."""

import pytest

from tests.mutants.planting import DoesNotApply, hunt, mutated, source_of
from tests.mutants.table import MUTANTS, Mutant

SAMPLE = (
    "once is sent again after a death",
    "a free worker takes one request and no more",
    "any incarnation is the one in the slot",
)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_applies(mutant: Mutant) -> None:
    text = source_of(mutant).read_text(encoding="utf-8")
    assert mutated(mutant, text) != text


def test_there_are_enough_of_them_each_with_a_name_of_its_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 40


@pytest.mark.parametrize("name", SAMPLE)
def test_it_is_caught(name: str) -> None:
    (mutant,) = (mutant for mutant in MUTANTS if mutant.name == name)
    catch = hunt(mutant, seeds=300)
    assert catch.checker is not None


def test_a_change_that_changes_nothing_survives() -> None:
    mutant = Mutant("nothing", "suspects.py", "\nUNUSUAL = 10\n", "\nUNUSUAL = 5 + 5\n")
    catch = hunt(mutant, seeds=20)
    assert (catch.checker, catch.seed) == (None, 20)


@pytest.mark.parametrize("old", ["no such text", "return", "\nUNUSUAL = 10\n"])
def test_a_mutant_that_does_not_apply_is_told(old: str) -> None:
    mutant = Mutant("it", "suspects.py", old, "\nUNUSUAL = = 10\n")
    with pytest.raises(DoesNotApply):
        mutated(mutant, source_of(mutant).read_text(encoding="utf-8"))
