"""What is counted of many good answers at once is what each of them by itself would count."""

from balancer.core.events import RequestId, WorkerId
from balancer.figures import Answered, Figures

A, B = WorkerId("a", 1), WorkerId("b", 1)
NEW_A = WorkerId("a", 2)


def counted(*answers: Answered, at_once: int) -> Figures:
    figures = Figures()
    figures.add("a", "p")
    figures.add("b", "q")
    for first in range(0, len(answers), at_once):
        figures.count_answers(answers[first : first + at_once])
    return figures


def answered(worker: WorkerId, arrived_at: float, started_at: float, ended_at: float) -> Answered:
    return RequestId(1), worker, arrived_at, started_at, ended_at


ANSWERS = (
    answered(A, 0.0, 1.0, 2.0),
    answered(B, 0.0, 1.5, 2.0),  # another worker at the same instant
    answered(A, 1.0, 2.0, 5.0),
    answered(A, 4.0, 5.0, 5.5),  # the same worker again
    answered(A, 5.0, 5.5, 7.0),  # a batch of two
    answered(A, 5.1, 5.5, 7.0),
    answered(NEW_A, 7.0, 8.0, 9.0),
)


def test_many_at_once_are_as_many_one_after_the_other() -> None:
    together, alone = counted(*ANSWERS, at_once=len(ANSWERS)), counted(*ANSWERS, at_once=1)
    for slot in ("a", "b"):
        assert together.workers[slot].snapshot() == alone.workers[slot].snapshot()
    assert together.pools() == alone.pools()
    assert together.snapshot() == alone.snapshot()


def test_each_worker_was_busy_with_its_own_and_with_a_batch_once() -> None:
    figures = counted(*ANSWERS, at_once=len(ANSWERS))
    seen = {slot: worker.snapshot() for slot, worker in figures.workers.items()}
    assert {slot: (one["served"], one["busy_ms"]) for slot, one in seen.items()} == {
        "a": (6, 7000.0),
        "b": (1, 500.0),
    }
