"""What the balancer writes and counts: lines that tell the story, figures that add up."""

import json
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

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
from balancer.histogram import from_json, quantile_s
from balancer.lines import LINES_BURST, LINES_PER_SECOND, Line, Throttle
from balancer.observe import UNCOUNTED_MAX, Observer
from balancer.stories import STORIES_MAX
from workers.console import shortened

NOW = 1_000.0
A, B = WorkerId("a-1", 1), WorkerId("b-1", 1)
R, OTHER = RequestId(7), RequestId(8)


class DatingObserver:
    """Is told of actions without a date, and gives them those that the core would have given."""

    def __init__(self, request_name: Callable[[int], str], *, has_access_log: bool = False) -> None:
        self._observer = observer = Observer(request_name, has_access_log=has_access_log)
        self.last_lines, self.names = observer.last_lines, observer.names
        self.snapshot, self.trace = observer.snapshot, observer.trace
        self._arrived_at: dict[int, float] = {}
        self._started_at: dict[WorkerId, float] = {}

    def note(self, now: float, event: Event | None, actions: Sequence[Action]) -> list[Line]:
        if isinstance(event, ev.RequestArrived | ev.RequestUnreadable):
            self._arrived_at[event.request] = now
        return self._observer.note(now, event, [self._dated(action, now) for action in actions])

    def watch(self) -> None:
        self._observer.is_watched = True

    def _dated(self, action: Action, now: float) -> Action:
        match action:
            case Forward() | ForwardBatch():
                self._started_at[action.worker] = now
            case Answer(arrived_at=0.0):
                arrived_at = self._arrived_at[action.request]
                started_at = self._started_at.get(action.worker, arrived_at)
                return replace(action, arrived_at=arrived_at, started_at=started_at)
            case Refuse(arrived_at=0.0) | Forget(arrived_at=0.0) | TryFailed(arrived_at=0.0):
                return replace(action, arrived_at=self._arrived_at[action.request])
            case ev.ReplyDropped(started_at=0.0):
                return replace(action, started_at=self._started_at[action.worker])
        return action


class Story:
    """An observer that is told what happens, and its lines."""

    def __init__(self) -> None:
        self.observer = DatingObserver(lambda number: f"boot-{number}")

    def at(self, now: float, event: Event | None, *actions: Action) -> list[Line]:
        return self.observer.note(now, event, actions)

    def lines(self, now: float, event: Event | None, *actions: Action) -> list[str]:
        return [f"{line.level}: {line.text}" for line in self.at(now, event, *actions)]

    def totals(self) -> dict[str, object]:
        dispatcher = Dispatcher(Limits(), ["a", "b"])
        totals: dict[str, object] = self.observer.snapshot(dispatcher, NOW)["totals"]
        return totals


@pytest.fixture
def story() -> Story:
    return Story()


def arrived(request: RequestId = R) -> ev.RequestArrived:
    return ev.RequestArrived(request, ClientId(b"client"))


def forward(worker: WorkerId, attempt: int, request: RequestId = R) -> Forward:
    return Forward(worker, request, attempt, 1.0, NOW)


def answer(worker: WorkerId, attempts: int, *tried: FailedTry, status: int = 200) -> Answer:
    error = "ValueError: no good" if status != 200 else ""
    return Answer(R, worker, WorkerReply(Outcome.ANSWER, status, error=error), attempts, tried)


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
    assert death[0].fields == {
        "event": "try_failed",
        "request": "boot-7",
        "worker": "a-1",
        "why": "died",
        "ms": 312.0,
    }
    end = story.at(NOW + 1.412, None, answer(B, 2, FailedTry("a-1", Why.DIED, 0.312)))
    assert [line.text for line in end] == [
        "request boot-7 answered 200 by b-1 in 1.41 s, attempt 2 after a-1 died"
    ]
    assert end[0].fields == {
        "event": "failed_over",
        "request": "boot-7",
        "worker": "b-1",
        "status": 200,
        "attempts": 2,
        "reason": "",
        "ms": 1412.0,
        "tried": [{"worker": "a-1", "why": "died", "ms": 312.0}],
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


@pytest.mark.parametrize("end", [Refuse(R, Reason.EXHAUSTED, 1), answer(B, 1)])
def test_a_failed_try_with_which_the_request_ends_has_nothing_to_wait_for(
    story: Story, end: Action
) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    line, *_ = story.lines(NOW, None, TryFailed(A, R, 1, Why.DIED, 0.005), end)
    assert line == "warning: request boot-7 lost a-1, which died after 5 ms"


def test_what_follows_on_a_failed_try_is_not_what_was_before(story: Story) -> None:
    """After a long pause two tries of a request may time out at once."""
    story.at(NOW, arrived(), forward(A, 1))
    first, second = (TryFailed(w, R, n, Why.TIMEOUT, 1.0) for n, w in ((1, A), (2, B)))
    told = story.lines(NOW + 9, None, first, forward(B, 2), second)
    assert [line.rpartition("; ")[2] for line in told] == [
        "forwarded to b-1 (attempt 2)",
        "waiting for a worker",
    ]


def test_an_empty_reply_is_ordinary(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    assert story.lines(NOW, None, TryFailed(A, R, 1, Why.EMPTY, 0.001), forward(B, 2)) == []
    nothing, death = FailedTry("a-1", Why.EMPTY, 0.001), FailedTry("c-1", Why.DIED, 0.002)
    assert story.lines(NOW, None, answer(B, 2, nothing)) == []
    assert len(story.lines(NOW, None, answer(B, 3, nothing, death))) == 1
    story.observer.watch()
    (line,) = story.at(NOW, None, answer(B, 2, nothing))
    assert not line.is_logged


@pytest.mark.parametrize(
    "news", [forward(B, 1, OTHER), Refuse(OTHER, Reason.NO_WORKERS), ev.Ejected(A, 5.0)]
)
def test_what_becomes_of_another_request_or_of_the_worker_is_not_taken_for_this_ones(
    story: Story, news: Action
) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW, arrived(OTHER))
    failed = TryFailed(A, R, 1, Why.TIMEOUT, 1.0)
    line, *_ = story.lines(NOW + 1, None, failed, news)
    assert line.endswith("waiting for a worker")


def test_a_refusal_tells_who_was_tried(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    tried = (FailedTry("a-1", Why.EMPTY, 0.001), FailedTry("b-1", Why.DIED, 0.2))
    (line,) = story.at(NOW + 0.25, None, Refuse(R, Reason.EXHAUSTED, 2, tried))
    text = "request boot-7 answered 503 exhausted in 250 ms, tried a-1 empty, b-1 died"
    assert (line.level, line.text) == ("warning", text)
    assert line.fields == {
        "event": "refused",
        "request": "boot-7",
        "status": 503,
        "reason": "exhausted",
        "attempts": 2,
        "ms": 250.0,
        "tried": [
            {"worker": "a-1", "why": "empty", "ms": 1.0},
            {"worker": "b-1", "why": "died", "ms": 200.0},
        ],
    }


@pytest.mark.parametrize(
    "reason", [Reason.MALFORMED, Reason.TOO_LARGE, Reason.CLIENT_LIMIT, Reason.QUEUE_FULL]
)
def test_what_a_client_alone_can_cause_at_any_rate_is_counted_but_not_written(
    story: Story, reason: Reason
) -> None:
    assert story.lines(NOW, arrived(), Refuse(R, reason)) == []
    assert story.totals()["by_reason"] == {reason.value: 1}


@pytest.mark.parametrize("reason", [Reason.MALFORMED, Reason.QUEUE_FULL])
def test_whoever_watches_is_told_of_it_all_the_same(story: Story, reason: Reason) -> None:
    story.observer.watch()
    (line,) = story.at(NOW, arrived(), Refuse(R, reason))
    assert (line.is_logged, line.fields["event"], line.fields["reason"]) == (
        False,
        "refused",
        reason.value,
    )
    story.at(NOW, arrived(), forward(A, 1))
    (line,) = story.at(NOW, None, TryFailed(A, R, 1, Why.EMPTY, 0.001), forward(B, 2))
    assert (line.is_logged, line.level, line.fields["why"]) == (False, "info", "empty")
    text = "request boot-7 got an empty reply from a-1 after 1 ms; forwarded to b-1 (attempt 2)"
    assert line.text == text


def test_a_storm_of_what_only_watchers_hear_leaves_the_log_its_lines(story: Story) -> None:
    story.observer.watch()
    for number in range(2 * LINES_BURST):
        story.at(NOW, arrived(RequestId(number)), Refuse(RequestId(number), Reason.QUEUE_FULL))
    (line,) = story.at(NOW, arrived(), Refuse(R, Reason.NO_WORKERS))
    assert line.is_logged


def test_an_ejection_and_its_end_are_a_line_each(story: Story) -> None:
    told = story.at(NOW, None, ev.Ejected(A, 5.0), ev.Readmitted(A))
    assert [(line.fields["event"], line.fields["worker"]) for line in told] == [
        ("ejected", "a-1"),
        ("readmitted", "a-1"),
    ]
    assert [f"{line.level}: {line.text}" for line in told] == [
        "warning: worker a-1 is out of rotation for 5 s: it failed one request after another",
        "info: worker a-1 is back in rotation after its ejection",
    ]
    assert story.totals()["ejections"] == 1


def test_with_an_access_log_each_request_that_is_over_has_one_line() -> None:
    """Whatever their number: only lines about trouble are left out where there are too many."""
    observer = DatingObserver(str, has_access_log=True)
    lines: list[Line] = []
    for number in range(3 * LINES_BURST):
        request = RequestId(number)
        observer.note(NOW, arrived(request), [forward(A, 1, request)])
        good = Answer(request, A, WorkerReply(Outcome.ANSWER), 1, ())
        lines += observer.note(NOW + 0.005, None, [good])
    lines += observer.note(NOW, arrived(), [Refuse(R, Reason.QUEUE_FULL)])
    observer.note(NOW, arrived(OTHER), [])
    lines += observer.note(NOW + 1.5, ev.ClientGone(ClientId(b"client")), [Forget(OTHER)])
    assert len(lines) == 3 * LINES_BURST + 2
    assert lines[0].text == "request 0 answered 200 by a-1 in 5 ms"
    assert lines[0].level == "info"
    assert "event" not in lines[0].fields
    assert lines[-2].text == "request 7 answered 503 queue_full in 0 ms"
    assert lines[-1].text == "request 8 dropped after 1.50 s: its client is gone"
    assert all(line.is_logged for line in lines)


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
    assert sum(steady) == pytest.approx(10 * LINES_PER_SECOND, abs=LINES_PER_SECOND)


def test_in_a_storm_one_line_a_second_tells_of_those_left_out() -> None:
    """Not as many as there are lines: they come a second's worth at a time."""
    throttle = Throttle()
    counts = [throttle.admit(NOW + n / 1000) for n in range(20_000)]
    assert 10 <= sum(bool(left_out) for left_out in counts) <= 20


def test_what_was_left_out_is_told_at_the_end_if_no_line_follows(story: Story) -> None:
    for number in range(LINES_BURST + 7):
        request = RequestId(number)
        story.at(NOW, arrived(request), forward(A, 1, request))
        story.at(NOW, None, Refuse(request, Reason.NO_WORKERS))
    (line,) = story.observer.last_lines()
    assert line.text == "7 lines about requests left out"
    assert list(story.observer.last_lines()) == []


def test_what_is_left_out_for_those_who_watch_has_a_name_for_machines(story: Story) -> None:
    story.observer.watch()
    for number in range(LINES_BURST + 7):
        request = RequestId(number)
        story.at(NOW, arrived(request), Refuse(request, Reason.CLIENT_LIMIT))
    (line,) = story.observer.last_lines()
    assert (line.is_logged, line.fields) == (False, {"event": "left_out"})
    assert line.text == "7 lines about requests left out"


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
        "retry_budget": {"spent": 0, "allowed": 0.0},
    }


def test_batches_and_what_is_in_them_are_counted(story: Story) -> None:
    story.at(NOW, None, ForwardBatch(A, (forward(A, 1), forward(A, 2, RequestId(8)))))
    story.at(NOW, None, ForwardBatch(B, tuple(forward(B, 1, RequestId(n)) for n in (9, 10, 11))))
    totals = story.totals()
    assert (totals["batches"], totals["batched"]) == (2, 5)
    assert (totals["tries"], totals["failovers"]) == (5, 1)


def test_a_failed_try_that_goes_on_in_a_batch_says_so(story: Story) -> None:
    story.at(NOW - 0.1, arrived(), forward(A, 1))
    batch = ForwardBatch(B, (forward(B, 1, RequestId(8)), forward(B, 2)))
    assert story.lines(NOW, None, TryFailed(A, R, 1, Why.GARBLED, 0.1), batch) == [
        "warning: request boot-7 got nonsense from a-1 after 100 ms; forwarded to b-1 (attempt 2)"
    ]


def test_each_request_of_a_batch_that_failed_says_where_it_goes(story: Story) -> None:
    one, two = RequestId(1), RequestId(2)
    story.at(NOW, arrived(one))
    story.at(NOW, arrived(two))
    story.at(NOW, None, ForwardBatch(A, (forward(A, 1, one), forward(A, 1, two))))
    failed = [TryFailed(A, request, 1, Why.DIED, 0.1) for request in (one, two)]
    elsewhere = [forward(B, 2, one), forward(WorkerId("c-1", 1), 2, two)]
    told = story.lines(NOW + 0.1, None, *failed, *elsewhere)
    assert [line.rpartition("; ")[2] for line in told] == [
        "forwarded to b-1 (attempt 2)",
        "forwarded to c-1 (attempt 2)",
    ]


def test_each_worker_has_its_figures() -> None:
    dispatcher = Dispatcher(Limits(try_timeout_s=1.0), ["a"])
    observer = DatingObserver(str)

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
    snapshot = observer.snapshot(dispatcher, NOW + 1.5)
    assert snapshot["workers"] == {
        "a-1": figures("idle", empty=1, busy_ms=250.0),
        "a-2": figures(
            "busy",
            served=1,
            busy_ms=500.0,
            p50_ms=500.0,
            p99_ms=500.0,
            request="8",
            request_age_ms=500.0,
            overdue_s=-0.5,
        ),
    }
    assert snapshot["queue"] == {"length": 0, "bytes": 0}
    assert snapshot["draining"] is False
    assert json.loads(json.dumps(snapshot)) == snapshot


def test_the_percentiles_of_a_worker_are_of_its_own_tries(story: Story) -> None:
    for took_s in (0.09, *[0.005] * 68, *[0.001] * 30, 0.06):
        story.at(NOW, arrived())
        story.at(NOW + 1, None, forward(A, 1))
        story.at(NOW + 1 + took_s, None, answer(A, 1))
    figures_of_a = story.observer.snapshot(Dispatcher(Limits(), []), NOW)["workers"]["a-1"]
    assert (figures_of_a["p50_ms"], figures_of_a["p99_ms"]) == (5.0, 63.0)


def test_an_ejected_worker_says_when_it_is_back() -> None:
    dispatcher = Dispatcher(Limits(ejection_tries=1, ejection_s=5.0), ["a"])
    observer = DatingObserver(str)
    for event in (
        *(ev.SlotAdded("a-1", "a"), ev.WorkerConnected(A), ev.WorkerReady(A)),
        *(ev.SlotAdded("b-1", "a"), ev.WorkerConnected(B), ev.WorkerReady(B)),
        ev.RequestArrived(R, ClientId(b"client"), once=True),
        ev.ReplyArrived(A, WorkerReply(Outcome.GARBLED)),
    ):
        observer.note(NOW, event, dispatcher.step(event, NOW))
    shown = observer.snapshot(dispatcher, NOW + 1.3)["workers"]["a-1"]
    assert (shown["state"], shown["back_in_s"]) == ("ejected", 3.7)


def test_of_a_batch_the_first_few_requests_are_named() -> None:
    observer = DatingObserver(str)
    named = [observer.names([RequestId(n) for n in range(held)]) for held in (0, 1, 3, 4, 64)]
    assert named == [None, "0", "0, 1, 2", "0, 1, 2, 1 more", "0, 1, 2, 61 more"]


def figures(state: str, **others: object) -> dict[str, object]:
    nothing: dict[str, object] = {"served": 0, "busy_ms": 0.0, **{why.value: 0 for why in Why}}
    nothing |= {"p50_ms": None, "p99_ms": None}
    return {"state": state, **nothing, **others}


def test_nothing_is_kept_of_a_request_that_is_over(story: Story) -> None:
    """However it ended: the same number may come again, and its time counts from then."""
    ends: list[Action] = [
        answer(A, 2, FailedTry("a-1", Why.DIED, 0.1)),
        Refuse(R, Reason.DEADLINE),
        Forget(R),
    ]
    for number, end in enumerate(ends):
        begin = NOW + 10 * number
        story.at(begin, arrived(), forward(A, 1))
        story.at(begin + 0.1, None, TryFailed(A, R, 1, Why.DIED, 0.1), forward(A, 2))
        story.at(begin + 0.5, None, end)
        story.at(begin + 1.0, arrived())
        (line,) = story.lines(begin + 1.25, None, Refuse(R, Reason.NO_WORKERS))
        assert "250 ms" in line
        before, last = stories(story, begin + 2.0, last=2)
        assert (len(before["tries"]) > 0, last["tries"]) == (True, [])


def pool_named(name: str, snapshot: dict[str, Any]) -> dict[str, Any]:
    return next(pool for pool in snapshot["pools"] if pool["name"] == name)


def test_each_pool_has_its_times_and_the_ends_of_its_tries() -> None:
    dispatcher = Dispatcher(Limits(), ["a", "b"])
    observer = DatingObserver(str)
    for slot in ("a-1", "b-1"):
        observer.note(NOW, ev.SlotAdded(slot, slot[0]), [])
    observer.note(NOW, arrived(), [])
    observer.note(NOW + 0.02, None, [forward(A, 1)])
    failed = TryFailed(A, R, 1, Why.DIED, 0.1)
    observer.note(NOW + 0.12, None, [failed, forward(B, 2)])
    observer.note(NOW + 0.17, None, [answer(B, 2, FailedTry("a-1", Why.DIED, 0.1))])
    observer.note(NOW + 1.0, arrived(), [])
    observer.note(NOW + 1.001, None, [forward(B, 1)])
    observer.note(NOW + 1.002, None, [answer(B, 1)])
    observer.note(NOW + 2.0, arrived(), [])
    observer.note(NOW + 2.5, None, [Refuse(R, Reason.NO_WORKERS)])
    snapshot = observer.snapshot(dispatcher, NOW + 3)
    a, b, nobody = (pool_named(name, snapshot) for name in ("a", "b", ""))
    assert [pool["tries"]["died"] for pool in (a, b)] == [1, 0]
    assert [pool["tries"]["answer"] for pool in (a, b)] == [0, 2]
    assert quantile_of(a["queue_time"], 0.5) == pytest.approx(0.02)
    assert a["latency"]["counts"] == {}
    assert b["queue_time"]["sum_s"] == pytest.approx(0.001), "of the request that began there"
    assert b["latency"]["sum_s"] == pytest.approx(0.172)
    assert quantile_of(b["latency"], 1.0) == pytest.approx(0.2)
    assert nobody["latency"]["sum_s"] == pytest.approx(0.5)
    assert nobody["tries"]["answer"] == 0, "a refusal is no answered try"


def test_only_the_first_try_tells_how_long_a_request_was_queued(story: Story) -> None:
    story.at(NOW, ev.SlotAdded("a-1", "a"))
    story.at(NOW, arrived())
    story.at(NOW + 0.25, None, forward(A, 1))
    story.at(NOW + 0.5, None, TryFailed(A, R, 1, Why.DIED, 0.25), forward(A, 2))
    story.at(NOW + 1.5, None, TryFailed(A, R, 2, Why.DIED, 1.0), forward(A, 3))
    story.at(NOW + 2.0, None, answer(A, 3, FailedTry("a-1", Why.DIED, 0.25)))
    pools = story.observer.snapshot(Dispatcher(Limits(), []), NOW + 3)["pools"]
    assert pool_named("a", {"pools": pools})["queue_time"]["sum_s"] == 0.25


def quantile_of(times: dict[str, Any], share: float) -> float | None:
    return quantile_s(from_json(times["counts"]), share)


def test_what_is_not_counted_yet_is_counted_when_somebody_asks(story: Story) -> None:
    for number in range(2 * UNCOUNTED_MAX + 3):
        story.at(NOW, arrived(), forward(A, 1))
        story.at(NOW + 0.001, None, answer(A, 1))
        assert story.totals()["answered"] == number + 1
    for _ in range(2 * UNCOUNTED_MAX + 3):
        story.at(NOW, arrived(), forward(A, 1))
        story.at(NOW + 0.001, None, answer(A, 1))
    assert story.totals()["answered"] == 2 * (2 * UNCOUNTED_MAX + 3)


def left_behind_bytes(do: Callable[[], None]) -> int:
    """What is kept of it, beyond what is kept after it was done once."""
    tracemalloc.start()
    try:
        do()
        before, _ = tracemalloc.get_traced_memory()
        do()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before


def test_answers_that_nobody_asks_about_take_no_room(story: Story) -> None:
    def answer_many() -> None:
        for number in range(4 * STORIES_MAX):
            story.at(NOW + number, arrived(), forward(A, 1))
            story.at(NOW + number + 0.001, None, answer(A, 1))

    answer_many()
    assert left_behind_bytes(answer_many) < 60_000


@pytest.mark.parametrize(
    "trouble",
    [
        [Refuse(R, Reason.QUEUE_FULL)],
        [TryFailed(A, R, 1, Why.EMPTY, 0.1), Refuse(R, Reason.EXHAUSTED)],
        [TryFailed(A, R, 1, Why.DIED, 0.1), Forget(R)],
        [answer(A, 1, status=500)],
    ],
)
def test_nothing_piles_up_where_there_is_trouble_alone(story: Story, trouble: list[Action]) -> None:
    def much_of_it() -> None:
        for _ in range(3 * STORIES_MAX):
            story.at(NOW, arrived(), forward(A, 1))
            story.at(NOW + 0.1, None, *trouble)

    assert left_behind_bytes(much_of_it) < 30_000


def test_a_batch_keeps_its_worker_busy_once(story: Story) -> None:
    story.at(NOW, arrived(RequestId(1)))
    story.at(NOW, arrived(RequestId(2)))
    batch = ForwardBatch(A, (forward(A, 1, RequestId(1)), forward(A, 1, RequestId(2))))
    story.at(NOW, None, batch)
    both = [Answer(RequestId(n), A, WorkerReply(Outcome.ANSWER), 1, ()) for n in (1, 2)]
    story.at(NOW + 0.5, None, *both)
    dispatcher = Dispatcher(Limits(), ["a"])
    dispatcher.step(ev.SlotAdded("a-1", "a"), NOW)
    figures_of_a = story.observer.snapshot(dispatcher, NOW)["workers"]["a-1"]
    assert (figures_of_a["served"], figures_of_a["busy_ms"]) == (2, 500.0)


@pytest.mark.parametrize(
    "last", [answer(A, 1, status=500), TryFailed(A, R, 1, Why.DIED, 0.25), ev.ReplyDropped(A, R)]
)
def test_whatever_comes_after_a_good_answer_is_counted_after_it(story: Story, last: Action) -> None:
    story.at(NOW, arrived(OTHER), forward(A, 1, OTHER))
    story.at(NOW + 0.5, None, Answer(OTHER, A, WorkerReply(Outcome.ANSWER), 1, ()))
    story.at(NOW + 0.5, arrived(), forward(A, 1))
    story.at(NOW + 0.75, None, last)
    assert busy_ms(story) == 750.0


def busy_ms(story: Story) -> float:
    dispatcher = Dispatcher(Limits(), ["a"])
    dispatcher.step(ev.SlotAdded("a-1", "a"), NOW)
    spent: float = story.observer.snapshot(dispatcher, NOW)["workers"]["a-1"]["busy_ms"]
    return spent


def test_an_overdue_worker_was_busy_all_the_time_and_counts_it_once(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW + 1.0, None, TryFailed(A, R, 1, Why.TIMEOUT, 1.0), forward(B, 2))
    assert busy_ms(story) == 1000.0
    story.at(NOW + 1.2, None, answer(B, 2, FailedTry("a-1", Why.TIMEOUT, 1.0)))
    story.at(NOW + 1.8, None, ev.ReplyDropped(A, R))
    assert busy_ms(story) == 1800.0
    assert story.totals()["late_replies"] == 1


def test_a_worker_that_answers_and_then_fails_was_busy_with_both(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW + 1.0, None, answer(A, 1))
    story.at(NOW + 1.0, arrived(), forward(A, 1))
    story.at(NOW + 2.0, None, TryFailed(A, R, 1, Why.DIED, 1.0))
    assert busy_ms(story) == 2000.0


def test_each_try_is_timed_by_itself(story: Story) -> None:
    for start in (NOW, NOW + 10):
        story.at(start, arrived())
        story.at(start + 0.5, None, forward(A, 1))
        story.at(start + 0.7503, None, answer(A, 1))
    for told in stories(story, NOW + 20):
        assert (told["state"], told["status"], told["reason"]) == ("answered", 200, "")
        assert (told["queued_ms"], told["took_ms"]) == (500.0, 750.3)
        assert told["tries"] == [
            {"worker": "a-1", "attempt": 1, "after_ms": 500.0, "took_ms": 250.3, "ended": "answer"}
        ]


def test_a_slot_that_changes_its_pool_counts_for_the_new_one(story: Story) -> None:
    story.at(NOW, ev.SlotAdded("a-1", "old"))
    story.at(NOW, ev.SlotAdded("a-1", "new"))
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW + 1, None, answer(A, 1))
    pools = story.observer.snapshot(Dispatcher(Limits(), []), NOW)["pools"]
    answers = {pool["name"]: pool["tries"]["answer"] for pool in pools}
    assert answers == {"": 0, "old": 0, "new": 1}


# --- stories --------------------------------------------------------------------------------------


def stories(
    story: Story, now: float, dispatcher: Dispatcher | None = None, **question: object
) -> list[dict[str, Any]]:
    asked = {"last": 20, "troubled": False, **question}
    nobody = Dispatcher(Limits(), [])
    return story.observer.trace(dispatcher or nobody, asked, now, 1_700_000_000.0 + now)


def test_a_story_tells_of_every_try(story: Story) -> None:
    story.at(NOW, arrived())
    story.at(NOW + 0.02, None, forward(A, 1))
    story.at(NOW + 0.12, None, TryFailed(A, R, 1, Why.DIED, 0.1), forward(B, 2))
    story.at(NOW + 0.17, None, answer(B, 2, FailedTry("a-1", Why.DIED, 0.1)))
    (told,) = stories(story, NOW + 60)
    assert told == {
        "request": "boot-7",
        "arrived_at": "2023-11-14T22:30:00.000+00:00",
        "state": "answered",
        "status": 200,
        "reason": "",
        "error": "",
        "queued_ms": 20.0,
        "took_ms": 170.0,
        "tries": [
            {"worker": "a-1", "attempt": 1, "after_ms": 20.0, "took_ms": 100.0, "ended": "died"},
            {"worker": "b-1", "attempt": 2, "after_ms": 120.0, "took_ms": 50.0, "ended": "answer"},
        ],
    }
    assert stories(story, NOW + 60, request="boot-7") == [told]
    assert stories(story, NOW + 60, request="boot-8") == []


def test_good_ones_do_not_wash_away_those_with_trouble(story: Story) -> None:
    story.at(NOW, arrived(), Refuse(R, Reason.NO_WORKERS))
    for number in range(100, 100 + 2 * STORIES_MAX):
        request = RequestId(number)
        story.at(NOW + number, arrived(request), forward(A, 1, request))
        good = Answer(request, A, WorkerReply(Outcome.ANSWER), 1, ())
        story.at(NOW + number + 0.1, None, good)
    later = NOW + 9999
    assert [told["request"] for told in stories(story, later, troubled=True)] == ["boot-7"]
    latest = [told["request"] for told in stories(story, later, last=2)]
    assert latest == [f"boot-{99 + 2 * STORIES_MAX - 1}", f"boot-{99 + 2 * STORIES_MAX}"]
    assert stories(story, later, request="boot-100") == []
    assert len(stories(story, later, last=5000)) == 1 + 1000, "the latest thousand are known"


def test_to_be_passed_on_by_a_worker_with_nothing_to_say_is_no_trouble(story: Story) -> None:
    tried = FailedTry("a-1", Why.EMPTY, 0.1)
    for status in (200, 500):
        story.at(NOW, arrived(), forward(A, 1))
        story.at(NOW + 0.1, None, TryFailed(A, R, 1, Why.EMPTY, 0.1), forward(B, 2))
        story.at(NOW + 0.2, None, answer(B, 2, tried, status=status))
    assert [told["status"] for told in stories(story, NOW + 5, troubled=True)] == [500]
    both = stories(story, NOW + 5)
    assert [told["status"] for told in both] == [200, 500]
    assert [[one["ended"] for one in told["tries"]] for told in both] == [
        ["empty", "answer"],
        ["empty", "error"],
    ]


def test_the_story_of_an_open_request_says_who_has_it() -> None:
    dispatcher = Dispatcher(Limits(), ["a"])
    story = Story()

    def at(now: float, event: Event) -> None:
        story.observer.note(now, event, dispatcher.step(event, now))

    second, idle = WorkerId("a-2", 1), WorkerId("a-3", 1)
    for worker in (A, second, idle):
        at(NOW, ev.SlotAdded(worker.slot, "a"))
        at(NOW, ev.WorkerConnected(worker))
        at(NOW, ev.WorkerReady(worker))
    at(NOW, arrived())
    at(NOW + 0.5, ev.ReplyArrived(A, WorkerReply(Outcome.EMPTY)))
    (told,) = stories(story, NOW + 2, dispatcher, request="boot-7")
    assert (told["state"], told["took_ms"]) == ("open", 2000.0)
    assert [(one["worker"], one["attempt"], one["ended"]) for one in told["tries"]] == [
        ("a-1", 1, "empty"),
        ("a-2", 2, "running"),
    ]


def test_who_left_a_request_unanswered_is_not_said_to_be_at_it_still() -> None:
    dispatcher = Dispatcher(Limits(), ["a"])
    story = Story()

    def at(now: float, event: Event | None) -> None:
        actions = dispatcher.expire(now) if event is None else dispatcher.step(event, now)
        story.observer.note(now, event, actions)

    patient, hurried = RequestId(8), ev.RequestArrived(R, ClientId(b"client"), try_timeout_s=1.0)
    for worker in (A, WorkerId("a-2", 1)):
        at(NOW, ev.SlotAdded(worker.slot, "a"))
        at(NOW, ev.WorkerConnected(worker))
        at(NOW, ev.WorkerReady(worker))
    at(NOW, hurried)
    at(NOW, arrived(patient))
    at(NOW + 1, None)
    (told,) = stories(story, NOW + 2, dispatcher, request="boot-7")
    assert (told["state"], [one["ended"] for one in told["tries"]]) == ("open", ["timeout"])


def test_the_latest_story_is_the_one_that_ended_last(story: Story) -> None:
    other = RequestId(8)
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW + 1, arrived(other), forward(B, 1, other))
    story.at(NOW + 2, None, Answer(other, B, WorkerReply(Outcome.ANSWER), 1, ()))
    story.at(NOW + 3, None, answer(A, 1))
    assert [told["request"] for told in stories(story, NOW + 4, last=1)] == ["boot-7"]


def test_errors_refusals_and_clients_that_left_are_trouble(story: Story) -> None:
    story.at(NOW, arrived(), forward(A, 1))
    story.at(NOW + 1, None, answer(A, 1, status=500))
    story.at(NOW + 2, arrived())
    story.at(NOW + 3, None, Forget(R))
    story.at(NOW + 4, arrived())
    story.at(NOW + 4.5, None, Refuse(R, Reason.QUEUE_TIMEOUT))
    raised, gone, refused = stories(story, NOW + 5, troubled=True)
    assert stories(story, NOW + 5) == [raised, gone, refused], "each is told once"
    assert (raised["state"], raised["status"], raised["reason"]) == (
        "answered",
        500,
        "handler_error",
    )
    assert raised["error"] == "ValueError: no good"
    assert [one["ended"] for one in raised["tries"]] == ["error"]
    assert (gone["state"], gone["status"], gone["took_ms"]) == ("gone", None, 1000.0)
    assert (refused["state"], refused["status"]) == ("refused", 503)
    assert (refused["reason"], refused["error"]) == ("queue_timeout", "")
    assert refused["took_ms"] == 500.0


def test_long_words_of_a_handler_are_cut_in_the_log_and_in_the_story(story: Story) -> None:
    reply = WorkerReply(Outcome.ANSWER, 500, error="x" * 10_000)
    story.observer.watch()
    story.at(NOW, arrived(), forward(A, 1))
    (line,) = story.at(NOW, None, Answer(R, A, reply, 1, ()))
    (told,) = stories(story, NOW)
    assert told["error"] == line.fields["error"] == "x" * 500 + "…"
    assert line.text.endswith(f" ms: {told['error']}")


@pytest.mark.parametrize("has_access_log", [False, True])
def test_an_error_of_the_handler_is_told_with_its_words(has_access_log: bool) -> None:
    observer = DatingObserver(str, has_access_log=has_access_log)
    observer.watch()
    observer.note(NOW, arrived(), [forward(A, 1)])
    (line,) = observer.note(NOW + 0.005, None, [answer(A, 1, status=500)])
    assert line.text == ("request 7 answered 500 handler_error by a-1 in 5 ms: ValueError: no good")
    assert (line.level, line.is_logged) == ("warning", has_access_log)
    assert line.fields["event"] == line.fields["reason"] == "handler_error"
    assert line.fields["error"] == "ValueError: no good"
