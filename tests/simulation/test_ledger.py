"""The checkers' books skip what cannot have changed: they must never be out of date for it."""

import pytest

from tests.simulation.books import Prospect
from tests.simulation.ledger import Ledger
from tests.simulation.simulator import play


# In the first four somebody's try runs out of time when its request is over: no action tells of it.
@pytest.mark.parametrize("seed", [44, 163, 530, 659, *range(3000, 3006)])
def test_what_the_queue_may_hope_for_is_as_if_worked_out_anew(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[int, Prospect]] = []
    anew: list[dict[int, Prospect]] = []
    note_end_of_step = Ledger.note_end_of_step

    def note_and_compare(ledger: Ledger, now: float) -> None:
        note_end_of_step(ledger, now)
        kept.append(
            {
                case.arrived.request: prospect
                for prospect, cases in ledger.waiting.items()
                for case in cases
            }
        )
        anew.append(
            {
                request: Prospect.NOBODY
                if case.is_final
                else ledger.roster.prospect((case.excluded_slots, case.excluded_pools))
                for request, case in ledger.queued.items()
            }
        )

    monkeypatch.setattr(Ledger, "note_end_of_step", note_and_compare)
    assert play(seed).error is None
    assert kept == anew
