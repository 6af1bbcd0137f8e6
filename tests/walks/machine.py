"""The walk: whatever can happen to a core, in any order, at any time, with the books kept along."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from hypothesis.strategies import SearchStrategy

from balancer.core import events as ev
from balancer.core.events import (
    Batching,
    ClientId,
    Event,
    Outcome,
    RequestId,
    WorkerId,
    WorkerReply,
)
from balancer.core.limits import Limits
from tests.walks.books import Books, State, Worker
from tests.walks.choices import ODD_LIMITS, USUAL, WISHES
from tests.walks.telling import Telling

POOLS = ("a", "b", "s")
STATIC_POOL = "s"
"""Its workers are not ours: nobody kills them."""


def _some(changes: tuple[dict[str, Any], ...], max_size: int) -> SearchStrategy[dict[str, Any]]:
    """Few of them at a time, as most have less to tell when they come together."""
    return st.lists(st.sampled_from(changes), max_size=max_size).map(
        lambda chosen: {name: value for change in chosen for name, value in change.items()}
    )


OUTCOMES = st.sampled_from(Outcome)
WHICH = st.integers(0, 11)
"""Whom a rule means, counted among those that it could mean."""


class Walk(Telling):
    """A rule is something that happens; what the core does is checked after each."""

    @initialize(
        odd=_some(ODD_LIMITS, 4),
        up=st.sampled_from(("a1", "a1 a2", "a1 a2", "a1 a2 a3", "a1 b1 s1")),
        once_names=st.sampled_from(((), (), ("one",), (b"two", "one"))),
        batching=st.sampled_from(Batching),
    )
    def begin(
        self,
        odd: dict[str, Any],
        up: str,
        once_names: tuple[bytes | str, ...],
        batching: Batching,
    ) -> None:
        self._batching = batching
        limits = Limits(**USUAL | odd)
        self.core = self.core_class(limits, POOLS)
        self.books = Books(limits, list(POOLS))
        self._happens(ev.OnceNamesKnown(once_names))
        for slot in ("a1", "a2", "b1", "s1", *up.split()):
            self._happens(ev.SlotAdded(slot, slot[0], is_ours=slot[0] != STATIC_POOL))
        for slot in up.split():
            worker = WorkerId(slot, next(self._incarnations))
            self._happens(ev.WorkerConnected(worker))
            self._is_ready(worker)

    def _is_ready(self, worker: WorkerId) -> None:
        """Those that are not ours know no batches."""
        is_ours = worker.slot[0] != STATIC_POOL
        batching = self._batching if is_ours else Batching.NONE
        self._happens(ev.WorkerReady(worker, batching))

    # --- requests ---------------------------------------------------------------------------------

    @rule(client=st.sampled_from((b"x", b"y")), wishes=_some(WISHES, 3))
    def request_arrives(self, client: bytes, wishes: dict[str, Any]) -> None:
        request = RequestId(next(self._requests))
        self._happens(ev.RequestArrived(request, ClientId(client), **wishes))

    @rule(
        number=st.integers(2, 4),
        once=st.sampled_from((False, False, True)),
        together=st.booleans(),
    )
    def plain_requests_arrive(self, number: int, once: bool, together: bool) -> None:
        arrivals = [
            ev.RequestArrived(RequestId(next(self._requests)), ClientId(b"z"), once=once)
            for _ in range(number)
        ]
        for event in [ev.RequestsArrived(tuple(arrivals))] if together else arrivals:
            self._happens(event)

    @precondition(lambda self: self._is_odd_time())
    @rule()
    def unreadable_request_arrives(self) -> None:
        request = RequestId(next(self._requests))
        self._happens(ev.RequestUnreadable(request, ClientId(b"x"), "no map"))

    @precondition(lambda self: self.books.open)
    @rule(client=st.sampled_from((b"x", b"y")))
    def client_leaves(self, client: bytes) -> None:
        self._happens(ev.ClientGone(ClientId(client)))

    # --- workers ----------------------------------------------------------------------------------

    @precondition(lambda self: self._is_odd_time())
    @rule(pool=st.sampled_from(POOLS), number=st.integers(1, 3))
    def slot_is_added(self, pool: str, number: int) -> None:
        self._happens(ev.SlotAdded(f"{pool}{number}", pool, is_ours=pool != STATIC_POOL))

    @precondition(lambda self: self.books.slots and self._is_odd_time())
    @rule(which=WHICH, is_retired=st.booleans())
    def slot_goes(self, which: int, is_retired: bool) -> None:
        slot = sorted(self.books.slots)[which % len(self.books.slots)]
        self._happens(ev.SlotRetired(slot) if is_retired else ev.SlotRemoved(slot))

    @precondition(lambda self: self.books.slots)
    @rule(which=WHICH, beside_older=st.booleans(), is_ready=st.booleans())
    def worker_connects(self, which: int, beside_older: bool, is_ready: bool) -> None:
        slot = sorted(self.books.slots)[which % len(self.books.slots)]
        worker = WorkerId(slot, next(self._incarnations))
        self._happens(ev.WorkerConnected(worker, beside_older))
        if is_ready:
            self._is_ready(worker)

    def _are_connecting(self) -> list[Worker]:
        return [worker for worker in self.books.workers() if worker.state is State.CONNECTING]

    @precondition(lambda self: self._are_connecting())
    @rule(which=WHICH)
    def worker_gets_ready(self, which: int) -> None:
        connecting = self._are_connecting()
        self._is_ready(connecting[which % len(connecting)].id)

    @precondition(lambda self: any(self.books.workers()))
    @rule(which=WHICH)
    def worker_dies(self, which: int) -> None:
        workers = list(self.books.workers())
        self._happens(ev.WorkerLost(workers[which % len(workers)].id))

    @precondition(lambda self: self._just_forwarded)
    @rule(which=WHICH)
    def worker_does_not_get_it(self, which: int) -> None:
        worker = self._just_forwarded[which % len(self._just_forwarded)]
        self._happens(ev.WorkerLost(worker, undelivered=True))

    def _have_one(self) -> list[Worker]:
        return [worker for worker in self.books.workers() if worker.held is not None]

    @precondition(lambda self: self._have_one())
    @rule(which=WHICH)
    def worker_answers(self, which: int) -> None:
        holders = self._have_one()
        self._replies(holders[which % len(holders)], Outcome.ANSWER)

    @precondition(lambda self: self._have_one())
    @rule(which=WHICH, number=st.integers(3, 6))
    def worker_answers_where_many_wait(self, which: int, number: int) -> None:
        holder = self._have_one()[which % len(self._have_one())]
        self.plain_requests_arrive(number, once=False, together=False)
        self._let_time_pass_until(self.now + 0.25)
        if holder in self._have_one():
            self._replies(holder, Outcome.ANSWER)

    @rule()
    def every_slot_is_filled(self) -> None:
        for name, slot in sorted(self.books.slots.items()):
            if slot.worker is None:
                worker = WorkerId(name, next(self._incarnations))
                self._happens(ev.WorkerConnected(worker))
                self._is_ready(worker)

    @precondition(lambda self: self._have_one())
    @rule(which=WHICH, outcome=OUTCOMES)
    def worker_replies(self, which: int, outcome: Outcome) -> None:
        holders = self._have_one()
        self._replies(holders[which % len(holders)], outcome)

    def _have_batch(self) -> list[Worker]:
        return [worker for worker in self._have_one() if worker.held and worker.held.is_batch]

    @precondition(lambda self: self._have_batch())
    @rule(which=WHICH, outcomes=st.lists(OUTCOMES, min_size=1, max_size=5))
    def worker_replies_to_each_of_a_batch(self, which: int, outcomes: list[Outcome]) -> None:
        """Sometimes to more than there are, or to fewer."""
        holders = self._have_batch()
        self._replies(holders[which % len(holders)], *outcomes)

    @precondition(lambda self: self._have_one())
    @rule(which=WHICH, outcome=OUTCOMES)
    def worker_replies_after_a_while(self, which: int, outcome: Outcome) -> None:
        """Long enough for its try to time out, too short for it to be killed."""
        holder = self._have_one()[which % len(self._have_one())]
        assert holder.held is not None
        self._let_time_pass_until(max(self.now, holder.held.expires_at))
        self._replies(holder, outcome)

    @precondition(lambda self: self._gone)
    @rule(which=WHICH, kind=st.integers(0, 4))
    def news_comes_of_the_past(self, which: int, kind: int) -> None:
        worker = self._gone[which % len(self._gone)]
        reply = WorkerReply(Outcome.ANSWER, value=b"late")
        news: tuple[Event, ...] = (
            ev.WorkerReady(worker),
            ev.WorkerLost(worker),
            ev.WorkerLost(worker, undelivered=True),
            ev.ReplyArrived(worker, reply),
            ev.BatchReplied(worker, (reply, reply)),
        )
        assert self._happens(news[kind]) == [], "news of the past must change nothing"

    def _replies(self, worker: Worker, *outcomes: Outcome) -> None:
        """With the one outcome for all that it holds, or with these."""
        assert worker.held is not None
        if len(outcomes) == 1:
            outcomes *= len(worker.held.requests)
        # Each reply is another object, so that it is known wherever it turns up.
        values = [f"{worker.id} {place} at {self.now}".encode() for place in range(len(outcomes))]
        replies = tuple(map(WorkerReply, outcomes, [200] * len(values), values))
        if worker.held.is_batch:
            self._happens(ev.BatchReplied(worker.id, replies))
        else:
            self._happens(ev.ReplyArrived(worker.id, replies[0]))

    # --- the rest of the world --------------------------------------------------------------------

    @rule(duration_s=st.sampled_from((0.25, 0.5, 1.0, 4.0)))
    def time_passes(self, duration_s: float) -> None:
        self._let_time_pass_until(self.now + duration_s)

    @precondition(lambda self: self.core.next_deadline() is not None)
    @rule()
    def next_date_comes(self) -> None:
        due = self.core.next_deadline()
        assert due is not None
        self._let_time_pass_until(max(self.now, due))

    @rule(duration_s=st.sampled_from((0.25, 1.0, 4.0)))
    def core_is_held_up(self, duration_s: float) -> None:
        """The next thing is told before the core looks at the clock again."""
        self.now += duration_s

    @precondition(lambda self: self._is_odd_time() and self._events_told > 30)
    @rule(timeout_s=st.sampled_from((4.0, 0.5, 0.0)))
    def drain_starts(self, timeout_s: float) -> None:
        self._happens(ev.DrainStarted(timeout_s))

    @precondition(lambda self: self._is_odd_time())
    @rule(odd=_some(ODD_LIMITS, 4), pools=st.permutations(POOLS))
    def is_reconfigured(self, odd: dict[str, Any], pools: list[str]) -> None:
        self._happens(ev.Reconfigured(Limits(**USUAL | odd), tuple(pools)))
