"""What the balancer writes and counts: lines that tell the story, figures that add up."""

import json

import pytest

from balancer.core import events as ev
from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    Action,
    Answer,
    ClientId,
    Event,
    FailedTry,
    Forget,
    Forward,
    ForwardBatch,
    Outcome,
    Reason,
    Refuse,
    RequestId,
    TryFailed,
    Why,
    WorkerId,
    WorkerReply,
)
from balancer.core.limits import Limits
from balancer.observe import LINES_BURST, LINES_PER_SECOND, Line, Observer, Throttle
from workers.console import shortened

NOW = 1_000.0
A, B = WorkerId("a-1", 1), WorkerId("b-1", 1)
R = RequestId(7)


class Story:
    """An observer that is told what happens, and its lines."""

    def __init__(self) -> None:
        self.observer = Observer(lambda number: f"boot-{number}")

    def at(self, now: float, event: Event | None, *actions: Action) -> list[Line]:
        return self.observer.note(now, event, actions)

    def lines(self, now: float, event: Event | None, *actions: Action) -> list[str]:
        return [f"{line.level}: {line.text}" for line in self.at(now, event, *actions)]

    def totals(self) -> dict[str, object]:
        dispatcher = Dispatcher(Limits(), ["a", "b"])
        totals: dict[str, object] = self.observer.snapshot(dispatcher)["totals"]
        return totals


@pytest.fixture
def story() -> Story:
    return Story()


def arrived(request: RequestId = R) -> ev.RequestArrived:
    return ev.RequestArrived(request, ClientId(b"client"))


def forward(worker: WorkerId, attempt: int, request: RequestId = R) -> Forward:
    return Forward(worker, request, attempt, 1.0, NOW)


def answer(worker: WorkerId, attempts: int, *tried: FailedTry, status: int = 200) -> Answer:
    return Answer(R, worker, WorkerReply(Outcome.ANSWER, status), attempts, tried)


# --- lines ----------------------------------------------------------------------------------------


def test_what_goes_well_is_not_worth_a_line(story: Story) -> None:
    assert story.lines(NOW, arrived(), forward(A, 1)) == []
    assert story.lines(NOW + 0.1, None, answer(A, 1)) == []


def test_a_death_and_a_failover_are_one_line_and_the_answer_another(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    death = story.at(NOW + 0.312, None, TryFailed(A, R, 1, Why.DIED, 0.312), forward(B, 2))
    assert [line.text for line in death] == [
        "request boot-7 lost a-1, which died after 312 ms; forwarded to b-1 (attempt 2)"
    ]
    assert death[0].fields == {"request": "boot-7", "worker": "a-1", "why": "died", "ms": 312.0}
    end = story.at(NOW + 1.412, None, answer(B, 2, FailedTry("a-1", Why.DIED, 0.312)))
    assert [line.text for line in end] == [
        "request boot-7 answered 200 by b-1 in 1.41 s, attempt 2 after a-1 died"
    ]
    assert end[0].fields == {
        "request": "boot-7",
        "worker": "b-1",
        "status": 200,
        "attempts": 2,
        "ms": 1412.0,
    }


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (Why.DIED, "request boot-7 lost a-1, which died after 5 ms; waiting for a worker"),
        (Why.TIMEOUT, "request boot-7 got nothing from a-1 within 5 ms; waiting for a worker"),
        (Why.GARBLED, "request boot-7 got nonsense from a-1 after 5 ms; waiting for a worker"),
        (Why.UNDELIVERED, "request boot-7 did not reach a-1 after 5 ms; waiting for a worker"),
    ],
)
def test_a_failed_try_says_how_it_failed(story: Story, why: Why, text: str) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    assert story.lines(NOW, None, TryFailed(A, R, 1, why, 0.005)) == [f"warning: {text}"]


def test_an_empty_reply_is_ordinary(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    assert story.lines(NOW, None, TryFailed(A, R, 1, Why.EMPTY, 0.001), forward(B, 2)) == []


def test_the_forwarding_of_another_request_is_not_taken_for_this_ones(story: Story) -> None:
    other = RequestId(8)
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW, arrived(other))
    failed = TryFailed(A, R, 1, Why.TIMEOUT, 1.0)
    (line,) = story.lines(NOW + 1, None, failed, forward(B, 1, other))
    assert line.endswith("waiting for a worker")


def test_a_refusal_tells_who_was_tried(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    tried = (FailedTry("a-1", Why.EMPTY, 0.001), FailedTry("b-1", Why.DIED, 0.2))
    lines = story.lines(NOW + 0.25, None, Refuse(R, Reason.EXHAUSTED, 2, tried))
    assert lines == [
        "warning: request boot-7 answered 503 exhausted in 250 ms, tried a-1 empty, b-1 died"
    ]


@pytest.mark.parametrize(
    "reason", [Reason.MALFORMED, Reason.TOO_LARGE, Reason.CLIENT_LIMIT, Reason.QUEUE_FULL]
)
def test_what_a_client_alone_can_cause_at_any_rate_is_counted_but_not_written(
    story: Story, reason: Reason
) -> None:
    assert story.lines(NOW, arrived(), Refuse(R, reason)) == []
    assert story.totals()["by_reason"] == {reason.value: 1}


def test_every_reason_that_is_written_has_a_line(story: Story) -> None:
    quiet = {Reason.MALFORMED, Reason.TOO_LARGE, Reason.CLIENT_LIMIT, Reason.QUEUE_FULL}
    for reason in set(Reason) - quiet:
        (line,) = story.lines(NOW, arrived(), Refuse(R, reason))
        assert reason.value in line


def test_lines_are_harmless_however_a_worker_is_called(story: Story) -> None:
    """The console escapes them; machines get them as JSON."""
    evil = WorkerId("a\x1b[2J\n-1", 1)
    story.at(NOW, arrived(), forward(evil, 1))
    (line,) = story.at(NOW, None, TryFailed(evil, R, 1, Why.DIED, 0.1))
    assert "\x1b" not in shortened(line.text)
    assert json.loads(json.dumps(line.fields)) == line.fields


# --- the throttle ---------------------------------------------------------------------------------


def test_a_burst_of_lines_is_admitted_and_then_a_steady_rate() -> None:
    throttle = Throttle()
    admitted = [throttle.admit(NOW) is not None for _ in range(2 * LINES_BURST)]
    assert sum(admitted) == LINES_BURST
    assert admitted[:LINES_BURST] == [True] * LINES_BURST
    steady = [throttle.admit(NOW + n / 1000) is not None for n in range(1, 10_001)]
    assert sum(steady) == pytest.approx(10 * LINES_PER_SECOND, abs=2)


def test_what_was_left_out_is_told_with_the_next_line() -> None:
    throttle = Throttle()
    for _ in range(LINES_BURST):
        assert throttle.admit(NOW) == 0
    for _ in range(17):
        assert throttle.admit(NOW) is None
    assert throttle.admit(NOW + 1.0) == 17
    assert throttle.admit(NOW + 1.0) == 0


def test_a_long_silence_fills_the_bucket_and_no_more() -> None:
    throttle = Throttle()
    throttle.admit(NOW)
    later = NOW + 1e6
    assert sum(throttle.admit(later) is not None for _ in range(3 * LINES_BURST)) == LINES_BURST


def test_a_storm_of_failures_costs_a_bounded_number_of_lines(story: Story) -> None:
    lines: list[Line] = []
    for number in range(10_000):
        request = RequestId(number)
        story.at(NOW, arrived(request), forward(A, 1, request))
        lines += story.at(NOW, None, Refuse(request, Reason.NO_WORKERS))
    assert len(lines) == LINES_BURST
    after = story.lines(NOW + 1, arrived(), Refuse(R, Reason.NO_WORKERS))
    assert after[0] == f"warning: {10_000 - LINES_BURST} lines about requests left out"
    assert "no_workers" in after[1]
    assert story.totals()["by_reason"] == {"no_workers": 10_001}


# --- figures --------------------------------------------------------------------------------------


def test_the_totals_add_up(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW + 1, None, TryFailed(A, R, 1, Why.TIMEOUT, 1.0), forward(B, 2))
    story.at(NOW + 2, None, answer(B, 2, FailedTry("a-1", Why.TIMEOUT, 1.0)))
    story.at(NOW + 3, None, ev.ReplyDropped(A, R))
    story.at(NOW + 4, arrived(), Refuse(R, Reason.QUEUE_FULL))
    story.at(NOW + 5, arrived(), forward(A, 1))
    story.at(NOW + 6, None, answer(A, 1, status=500))
    story.at(NOW + 7, arrived())
    story.at(NOW + 8, None, Forget(R))
    story.at(NOW + 9, ev.RequestUnreadable(R, ClientId(b"c"), ""), Refuse(R, Reason.MALFORMED))
    assert story.totals() == {
        "requests": 5,
        "tries": 3,
        "failovers": 1,
        "batches": 0,
        "batched": 0,
        "late_replies": 1,
        "ejections": 0,
        "clients_gone": 1,
        "open": 0,
        "answered": 4,
        "by_status": {"200": 1, "400": 1, "500": 1, "503": 1},
        "by_reason": {"handler_error": 1, "malformed": 1, "queue_full": 1},
    }


def test_batches_and_what_is_in_them_are_counted(story: Story) -> None:
    story.at(NOW, None, ForwardBatch(A, (forward(A, 1), forward(A, 2, RequestId(8)))))
    story.at(NOW, None, ForwardBatch(B, tuple(forward(B, 1, RequestId(n)) for n in (9, 10, 11))))
    totals = story.totals()
    assert (totals["batches"], totals["batched"]) == (2, 5)
    assert (totals["tries"], totals["failovers"]) == (5, 1)


def test_a_failed_try_that_goes_on_in_a_batch_says_so(story: Story) -> None:
    batch = ForwardBatch(B, (forward(B, 1, RequestId(8)), forward(B, 2)))
    assert story.lines(NOW, None, TryFailed(A, R, 1, Why.GARBLED, 0.1), batch) == [
        "warning: request boot-7 got nonsense from a-1 after 100 ms; forwarded to b-1 (attempt 2)"
    ]


def test_each_worker_has_its_figures() -> None:
    dispatcher = Dispatcher(Limits(try_timeout_s=1.0), ["a"])
    observer = Observer(str)

    def at(now: float, event: Event) -> None:
        observer.note(now, event, dispatcher.step(event, now))

    at(NOW, ev.SlotAdded("a-1", "a"))
    at(NOW, ev.SlotAdded("a-2", "a"))
    for worker in (A, WorkerId("a-2", 1)):
        at(NOW, ev.WorkerConnected(worker))
        at(NOW, ev.WorkerReady(worker))
    at(NOW, arrived())
    at(NOW + 0.25, ev.ReplyArrived(A, WorkerReply(Outcome.EMPTY)))
    at(NOW + 0.75, ev.ReplyArrived(WorkerId("a-2", 1), WorkerReply(Outcome.ANSWER, value=b"\x01")))
    at(NOW + 1.0, arrived(RequestId(8)))
    snapshot = observer.snapshot(dispatcher)
    assert snapshot["workers"] == {
        "a-1": figures("idle", empty=1, busy_ms=250.0),
        "a-2": figures("busy", served=1, busy_ms=500.0),
    }
    assert snapshot["queue"] == {"length": 0, "bytes": 0}
    assert snapshot["draining"] is False
    assert json.loads(json.dumps(snapshot)) == snapshot


def figures(state: str, **others: float) -> dict[str, object]:
    nothing = {"served": 0, "busy_ms": 0.0, **{why.value: 0 for why in Why}}
    return {"state": state, **nothing, **others}


def test_nothing_is_kept_of_a_request_that_is_over(story: Story) -> None:
    """However it ended: the same number may come again, and its time counts from then."""
    for end in (answer(A, 1, FailedTry("b-1", Why.DIED, 0.1)), Refuse(R, Reason.DEADLINE)):
        story.at(NOW, arrived(), forward(A, 1))
        (line,) = story.lines(NOW + 0.5, None, end)
        assert "500 ms" in line
    story.at(NOW, arrived())
    story.at(NOW, None, Forget(R))
    with pytest.raises(KeyError):
        story.at(NOW, None, Refuse(R, Reason.DEADLINE))
