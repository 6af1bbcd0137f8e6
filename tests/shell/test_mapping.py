"""The window of a map, with made-up time and a made-up cluster: nothing here waits."""

import heapq
import random
from collections import deque
from collections.abc import Iterator, Sequence

import pytest

from balancer.client.mapping import PAUSE_MAX_S, SPREAD, WINDOW_AT_START, WINDOW_ONCE_MAX, Plan
from balancer.wire.reply import Reply

START = 1_000.0
TIMEOUT_S = 30.0
DONE = Reply(200)
QUEUE_FULL = Reply(503, reason="queue_full")
EXPIRED = Reply(504, reason="deadline")
BEGUN = Reply(504, reason="deadline", may_have_run=True)


class Cluster:
    """Workers behind one queue, as a map sees them: first come, first served, until the deadline.
    A worker finishes what it has begun even if its deadline passes meanwhile."""

    def __init__(self, work_s: Sequence[float], workers: int, queue_limit: int = 10_000) -> None:
        self.now = START
        self.begun = 0
        self.refused = 0
        self._work_s = work_s
        self._idle = workers
        self._queue_limit = queue_limit
        self._queue: deque[list[int]] = deque()
        self._events: list[tuple[float, int, str, list[int]]] = []
        self._order = 0

    def carry_out(self, plan: Plan[int]) -> Iterator[Reply]:
        items = iter(range(len(self._work_s)))
        while not plan.is_done:
            if plan.wants_item(self.now):
                item = next(items, None)
                plan.complete() if item is None else plan.add(item)
            while (sent := plan.next_to_send(self.now)) is not None:
                self._arrive(*sent, plan.timeout_s)
            if plan.must_wait(self.now):
                self._step(plan)
            yield from plan.answers()

    def _arrive(self, number: int, item: int, timeout_s: float) -> None:
        request = [number, item, 0]
        if not self._idle and len(self._queue) >= self._queue_limit:
            self._at(self.now + 0.001, "refused", request)
            return
        self._queue.append(request)
        self._at(self.now + timeout_s, "expired", request)
        self._begin()

    def _begin(self) -> None:
        while self._idle and self._queue:
            request = self._queue.popleft()
            request[2] = 1
            self._idle -= 1
            self.begun += 1
            self._at(self.now + self._work_s[request[1]], "finished", request)

    def _at(self, when: float, what: str, request: list[int]) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what, request))

    def _step(self, plan: Plan[int]) -> None:
        if not self._events or plan.wakes_at(self.now) < self._events[0][0]:
            self.now = plan.wakes_at(self.now)
            return
        self.now, _, what, request = heapq.heappop(self._events)
        number, _, is_begun = request
        if what == "finished":
            self._idle += 1
            if is_begun == 1:
                self._end(plan, request, DONE)
            self._begin()
        elif what == "refused":
            self.refused += 1
            plan.ended(number, QUEUE_FULL, self.now)
        elif is_begun == 1:
            self._end(plan, request, BEGUN)
        elif is_begun == 0:
            self._queue.remove(request)
            self._end(plan, request, EXPIRED)

    def _end(self, plan: Plan[int], request: list[int], reply: Reply) -> None:
        request[2] = 2
        plan.ended(request[0], reply, self.now)


def plan_of(window: int = 64, *, once: bool = False) -> Plan[int]:
    return Plan(window=window, timeout_s=TIMEOUT_S, once=once)


def sending(plan: Plan[int], now: float = START) -> list[int]:
    """The numbers of all that the plan sends now, with as many new items as it wants."""
    numbers: list[int] = []
    while True:
        if plan.wants_item(now):
            plan.add(0)
        sent = plan.next_to_send(now)
        if sent is None:
            return numbers
        numbers.append(sent[0])


# --- a whole map --------------------------------------------------------------------------------


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize(("work_s", "ideal_s"), [(1.0, 250.0), (5.0, 1250.0)])
def test_a_thousand_items_on_four_workers_take_just_their_time(
    work_s: float, ideal_s: float, once: bool
) -> None:
    cluster = Cluster([work_s] * 1000, workers=4)
    assert [reply.status for reply in cluster.carry_out(plan_of(once=once))] == [200] * 1000
    assert cluster.now - START <= ideal_s * 1.02


@pytest.mark.parametrize("seed", range(60))
def test_no_map_fails_because_of_its_own_items(seed: int) -> None:
    rng = random.Random(seed)
    kinds = [rng.choice([0.001, 0.1, 1.0, 2.0, 5.0, 9.0]) for _ in range(rng.randint(1, 4))]
    work_s = [rng.choice(kinds) for _ in range(200)]
    if seed % 3 == 0:
        work_s.sort()
    cluster = Cluster(work_s, workers=rng.choice([1, 2, 4, 8]))
    plan = plan_of(rng.choice([2, 16, 64, 200]), once=seed % 2 == 0)
    assert [reply.status for reply in cluster.carry_out(plan)] == [200] * 200
    assert cluster.begun <= 200 * 1.5


@pytest.mark.parametrize("queue_limit", [0, 1, 10])
def test_a_queue_that_is_full_only_slows_it_down(queue_limit: int) -> None:
    cluster = Cluster([0.2] * 300, workers=2, queue_limit=queue_limit)
    replies = list(cluster.carry_out(plan_of()))
    assert [reply.status for reply in replies] == [200] * 300
    assert cluster.refused > 0
    assert cluster.now - START <= 30 * 1.05


def test_an_item_that_never_ends_in_time_is_run_a_few_times_and_fails() -> None:
    cluster = Cluster([1.0] * 20 + [99.0] + [1.0] * 20, workers=4)
    replies = []
    for reply in cluster.carry_out(plan_of()):
        replies.append(reply)
        if reply.status != 200:
            break
    assert [reply.status for reply in replies] == [200] * 20 + [504]
    assert cluster.begun <= 40 + 3


# --- its rules ----------------------------------------------------------------------------------


def test_answers_come_in_order_however_they_arrive() -> None:
    plan = plan_of()
    sending(plan)
    plan.ended(1, Reply(200, body="b"), START)
    assert list(plan.answers()) == []
    plan.ended(0, Reply(200, body="a"), START)
    assert [reply.body for reply in plan.answers()] == ["a", "b"]


def test_the_window_begins_small_and_grows_with_quick_answers_up_to_its_size() -> None:
    plan = plan_of(64)
    now = START
    under_way = sending(plan)
    assert len(under_way) == WINDOW_AT_START
    for _ in range(100):
        now += 0.1
        plan.ended(under_way.pop(0), DONE, now)
        list(plan.answers())
        under_way += sending(plan, now)
    assert len(under_way) == plan.window == 64


def test_the_window_does_not_grow_while_answers_take_more_than_half_of_their_time() -> None:
    plan = plan_of(64)
    for number in sending(plan):
        plan.ended(number, DONE, START + 0.6 * TIMEOUT_S)
    assert plan.window == WINDOW_AT_START


@pytest.mark.parametrize(
    "reply",
    [
        QUEUE_FULL,
        EXPIRED,
        BEGUN,
        Reply(503, reason="queue_timeout"),
        Reply(429, reason="client_limit"),
    ],
)
def test_what_the_others_crowded_out_halves_the_window_and_is_sent_again(reply: Reply) -> None:
    plan = plan_of(8)
    assert sending(plan) == list(range(8))
    plan.ended(3, reply, START)
    plan.ended(2, reply, START)
    assert plan.window == 4, "both were sent before it was halved"
    for number in (4, 5, 6):
        plan.ended(number, DONE, START + TIMEOUT_S)
    assert sending(plan) == [2], "the earlier one first"
    plan.ended(2, reply, START)
    assert plan.window == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, reason="handler_error"),
        Reply(503, reason="exhausted"),
        Reply(503, reason="unreachable"),
        Reply(503, reason="connection_lost"),
        Reply(400, reason="malformed"),
    ],
)
def test_any_other_failure_is_final_and_the_last_answer(reply: Reply) -> None:
    plan = plan_of()
    sending(plan)
    plan.ended(1, reply, START)
    assert sending(plan) == [], "what comes after it is not asked for"
    plan.ended(0, DONE, START)
    assert list(plan.answers()) == [DONE, reply]


def test_after_a_final_failure_not_even_what_was_crowded_out_is_sent_again() -> None:
    plan = plan_of(4)
    sending(plan)
    plan.ended(3, QUEUE_FULL, START)
    for number in (1, 2):
        plan.ended(number, DONE, START)
    plan.ended(0, Reply(500), START)
    assert sending(plan) == []


def test_what_fails_alone_fails() -> None:
    plan = plan_of(1)
    assert sending(plan) == [0]
    plan.ended(0, QUEUE_FULL, START)
    assert list(plan.answers()) == [QUEUE_FULL]


def test_company_that_came_later_counts() -> None:
    plan = plan_of(2)
    plan.add(0)
    assert plan.next_to_send(START) == (0, 0)
    plan.add(1)
    assert plan.next_to_send(START) == (1, 1)
    plan.ended(1, DONE, START)
    plan.ended(0, EXPIRED, START)
    assert sending(plan)[0] == 0


def test_what_failed_three_times_is_sent_alone() -> None:
    def end(first: int, last: int) -> None:
        for number in range(first, last + 1):
            plan.ended(number, DONE, START + TIMEOUT_S)

    plan = plan_of(64)
    assert sending(plan) == list(range(16))
    for done in ((1, 8), (9, 12)):
        plan.ended(0, EXPIRED, START)
        assert plan.next_to_send(START) is None, "the window is still full"
        end(*done)
        assert plan.next_to_send(START) == (0, 0)
    plan.ended(0, EXPIRED, START)
    end(13, 14)
    assert plan.window == 2
    assert plan.next_to_send(START) is None, "15 is still under way"
    end(15, 15)
    assert sending(plan) == [0], "nothing joins it"
    plan.ended(0, EXPIRED, START)
    assert next(plan.answers()) == EXPIRED


def test_once_items_that_may_have_run_are_not_sent_again() -> None:
    plan = plan_of(once=True)
    assert len(sending(plan)) == WINDOW_ONCE_MAX
    plan.ended(1, EXPIRED, START)
    plan.ended(0, BEGUN, START)
    assert list(plan.answers()) == [BEGUN]


def test_once_items_get_more_time_except_where_they_are_alone_anyway() -> None:
    assert plan_of(once=True).timeout_s > plan_of(once=False).timeout_s == TIMEOUT_S
    assert plan_of(1, once=True).timeout_s == TIMEOUT_S


@pytest.mark.parametrize(
    ("asked_ms", "pause_s"), [(200, 0.2), (10**9, PAUSE_MAX_S), (0, 0.0), (-5, 0.0)]
)
def test_nothing_is_sent_before_the_balancer_wants_it(asked_ms: int, pause_s: float) -> None:
    plan = plan_of(4)
    sending(plan)
    reply = Reply(503, reason="queue_full", retry_after_ms=asked_ms)
    for number in (3, 2):
        plan.ended(number, reply, START)
    for number in (0, 1):
        plan.ended(number, DONE, START)
    list(plan.answers())
    if pause_s:
        assert sending(plan, START + pause_s * 0.99) == []
        assert plan.must_wait(START)
        assert plan.wakes_at(START) == START + pause_s
    assert sending(plan, START + pause_s)[:2] == [2, 3]


def test_answers_that_wait_for_an_earlier_one_are_bounded() -> None:
    plan = plan_of(4)
    under_way = sending(plan)
    sent = len(under_way)
    while len(under_way) > 1:
        plan.ended(under_way.pop(), DONE, START)
        more = sending(plan)
        sent += len(more)
        under_way += more
    assert sent == SPREAD * 4
    assert plan.must_wait(START)


def test_a_map_of_nothing_is_done() -> None:
    plan = plan_of()
    assert plan.wants_item(START)
    plan.complete()
    assert plan.is_done
    assert not plan.must_wait(START)


def test_a_window_has_at_least_one_place() -> None:
    with pytest.raises(ValueError, match="window"):
        plan_of(0)


def test_a_map_that_goes_on_answers_everything_failures_in_their_place() -> None:
    plan: Plan[int] = Plan(window=4, timeout_s=30.0, once=False, goes_on=True)
    for payload in range(3):
        plan.add(payload)
    plan.complete()
    sent = [plan.next_to_send(1_000.0) for _ in range(3)]
    for item in sent:
        assert item is not None
        plan.ended(item[0], Reply(500 if item[1] == 1 else 200, body=item[1]), 1_000.1)
    assert [reply.status for reply in plan.answers()] == [200, 500, 200]
    assert plan.is_done
