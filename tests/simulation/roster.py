"""Who must be up, and in which state, by the events and actions so far: no help from the core."""

from collections import Counter
from collections.abc import Iterable, Iterator

from balancer.core import events as ev
from balancer.core.events import RequestId, WorkerId, WorkerReply
from balancer.core.limits import Limits
from tests.simulation.books import NEVER, Attempt, Prospect, State, Worker
from tests.simulation.records import note_record, replies_by_request, time_of_each_s

Exclusion = tuple[frozenset[str], frozenset[str]]
"""The slots and the pools that a request is done with."""

_LAST = 1_000_000_000


class Roster:
    """The slots, and the workers that fill them or stand beside."""

    def __init__(self, limits: Limits, pools: Iterable[str]) -> None:
        self.limits = limits
        self.slots: dict[str, dict[str, None]] = {pool: {} for pool in pools}
        """The slots of each pool, the pools in the order of the sweep."""
        self.workers: dict[str, Worker] = {}
        """The living worker of each slot that has one."""
        self.aside: dict[WorkerId, Worker] = {}
        """Successors that are not ready yet, and the retired that finish what they hold."""
        self.released: Attempt | None = None
        """The try that this event ended: its worker has replied or is lost."""
        self.replies: dict[RequestId, WorkerReply] = {}
        """What this event has brought for each request of that try."""
        self.quickest_s: dict[str, float] = {}
        """The shortest time that a request took in each pool, of a batch its part."""
        self.unasked: Counter[str] = Counter()
        """Of each pool, how many lone requests in a row nobody was asked how long they took."""
        self.to_release: set[WorkerId] = set()
        """Who was retired and is free: the balancer must say so in this step."""
        self.to_eject: dict[WorkerId, float] = {}
        """Who has failed too often, and for how long he must be ejected in this step."""
        self._static: set[str] = set()
        self._latest: dict[str, int] = {}
        self._order = 0

    # --- what can be asked --------------------------------------------------------------------

    def find(self, worker: WorkerId) -> Worker | None:
        current = self.workers.get(worker.slot)
        return current if current is not None and current.id == worker else self.aside.get(worker)

    def all(self) -> Iterator[Worker]:
        yield from self.workers.values()
        yield from self.aside.values()

    def slot_count(self) -> int:
        return sum(map(len, self.slots.values()))

    def prospect(self, exclusion: Exclusion) -> Prospect:
        excluded_slots, excluded_pools = exclusion
        seen: set[State | None] = set()
        for pool, slots in self.slots.items():
            if pool in excluded_pools:
                continue
            states = {
                worker.state if (worker := self.workers.get(slot)) is not None else None
                for slot in slots
                if slot not in excluded_slots
            }
            if State.IDLE in states:
                return Prospect.IDLE
            if State.BUSY in states:
                return Prospect.BUSY  # the order of the pools is worth the wait
            seen |= states
        if State.EJECTED in seen:
            return Prospect.EJECTED
        if seen - {None}:
            return Prospect.ALIVE
        return Prospect.DOWN if seen else Prospect.NOBODY

    # --- slots --------------------------------------------------------------------------------

    def note_slot_added(self, now: float, event: ev.SlotAdded) -> None:
        if event.slot not in self.slots[event.pool]:
            self.slots[event.pool][event.slot] = None
            if not event.is_ours:
                self._static.add(event.slot)

    def note_slot_removed(self, now: float, event: ev.SlotRemoved) -> None:
        for worker in self._leave_slot(event.slot):
            self.drop(worker)

    def note_slot_retired(self, now: float, event: ev.SlotRetired) -> None:
        for worker in self._leave_slot(event.slot):
            self._retire(worker)

    def _leave_slot(self, slot: str) -> list[Worker]:
        for slots in self.slots.values():
            slots.pop(slot, None)
        self._static.discard(slot)
        current = self.workers.get(slot)
        return [*([current] if current is not None else []), *self._successors(slot)]

    def arrange(self, pools: Iterable[str]) -> None:
        order = dict.fromkeys([*pools, *self.slots])
        self.slots = {pool: self.slots.get(pool, {}) for pool in order}

    # --- workers come and go ------------------------------------------------------------------

    def note_connected(self, now: float, event: ev.WorkerConnected) -> None:
        slot, incarnation = event.worker
        pool = next((pool for pool, slots in self.slots.items() if slot in slots), None)
        if pool is None or incarnation <= self._latest.get(slot, 0):
            return
        self._latest[slot] = incarnation
        is_ours = slot not in self._static
        patience_s = self.limits.try_timeout_s + self.limits.hang_kill_after_s
        worker = Worker(event.worker, pool, is_ours, now + patience_s if is_ours else NEVER)
        if event.beside_older and slot in self.workers:
            self.aside[worker.id] = worker
            return
        for successor in self._successors(slot):
            self.drop(successor)
        if slot in self.workers:  # a slot holds one process: the older one must be dead
            self.drop(self.workers[slot])
        self.workers[slot] = worker

    def note_ready(self, now: float, event: ev.WorkerReady) -> None:
        worker = self.find(event.worker)
        if worker is None or worker.state is not State.CONNECTING:
            return
        if self.aside.pop(worker.id, None) is not None:
            older = self.workers.pop(worker.id.slot)
            self.workers[worker.id.slot] = worker
            self._retire(older)
        worker.batching = event.batching
        self._be_idle(worker, is_known=False)

    def note_lost(self, now: float, event: ev.WorkerLost) -> None:
        worker = self.find(event.worker)
        if worker is not None:
            self.drop(worker)
            self._promote(event.worker.slot)

    def note_kill(self, now: float, action: ev.Kill) -> None:
        worker = self.find(action.worker)
        if worker is not None:
            self.drop(worker)  # freed by a late reply, it would be killed with the next request
            self._promote(action.worker.slot)

    def note_released(self, now: float, action: ev.Released) -> None:
        self.to_release.discard(action.worker)

    def drop(self, worker: Worker) -> None:
        self.released = worker.attempt or self.released
        worker.attempt = None
        self._remove(worker)

    def _remove(self, worker: Worker) -> None:
        self.aside.pop(worker.id, None)
        if self.workers.get(worker.id.slot) is worker:
            del self.workers[worker.id.slot]

    def _retire(self, worker: Worker) -> None:
        self._remove(worker)
        if worker.attempt is None:
            self.to_release.add(worker.id)
        else:
            worker.state = State.DRAINING
            self.aside[worker.id] = worker

    def _successors(self, slot: str) -> list[Worker]:
        return [
            worker
            for worker in self.aside.values()
            if worker.id.slot == slot and worker.state is State.CONNECTING
        ]

    def _promote(self, slot: str) -> None:
        """Who stood beside a worker that is gone has the slot to itself."""
        successors = self._successors(slot)
        is_there = any(slot in slots for slots in self.slots.values())
        if successors and is_there and slot not in self.workers:
            self.workers[slot] = self.aside.pop(max(worker.id for worker in successors))

    # --- workers are busy, or not -------------------------------------------------------------

    def note_forward(self, worker: Worker, attempt: Attempt) -> None:
        attempt.is_last_resort = worker.state is State.EJECTED
        worker.attempt = attempt
        worker.state = State.BUSY
        worker.ejected_until = NEVER

    def note_reply(self, now: float, event: ev.ReplyArrived | ev.BatchReplied) -> None:
        worker = self.find(event.worker)
        if worker is None or worker.attempt is None:
            return
        attempt, worker.attempt = worker.attempt, None
        self.released, self.replies = attempt, replies_by_request(attempt, event)
        took_s = time_of_each_s(attempt, event, now)
        self.quickest_s[worker.pool] = min(took_s, self.quickest_s.get(worker.pool, NEVER))
        if worker.state is State.DRAINING:
            self._remove(worker)
            self.to_release.add(worker.id)
            return
        self._be_idle(worker, is_known=True)
        if not attempt.is_over:
            note_record(worker, {reply.outcome for reply in self.replies.values()})
        first_s, is_bad = self.limits.ejection_s, worker.bad_tries >= self.limits.ejection_tries
        if first_s is not None and is_bad and self._is_spare(worker):
            duration_s = first_s * 2**worker.ejections
            self.to_eject[worker.id] = min(duration_s, self.limits.ejection_max_s)

    def _is_spare(self, worker: Worker) -> bool:
        """Whether the pool can do without: never the last that serves, nor more than half."""
        pool = [self.workers[slot] for slot in self.slots[worker.pool] if slot in self.workers]
        serving = sum(other.state in (State.IDLE, State.BUSY) for other in pool)
        ejected = sum(other.state is State.EJECTED for other in pool)
        return serving > 1 and 2 * (ejected + 1) <= len(self.slots[worker.pool])

    def note_ejected(self, now: float, action: ev.Ejected) -> None:
        worker = self.find(action.worker)
        duration_s = self.to_eject.pop(action.worker, None)
        if worker is not None and duration_s is not None:
            worker.state = State.EJECTED
            worker.ejections += 1
            worker.ejected_until = now + duration_s
            self._order += 1
            worker.idle_order = -_LAST - self._order  # if it comes back in this step, it comes last

    def note_time(self, now: float) -> bool:
        """All dates up to now have passed and been acted upon; whether any date had come."""
        tried = [(worker, worker.attempt) for worker in self.all() if worker.attempt is not None]
        late = [pair for pair in tried if pair[1].times_out_at <= now and not pair[1].is_over]
        for worker, attempt in late:
            self.be_overdue(worker, attempt, now)
        ejected = [worker for worker in self.workers.values() if worker.ejected_until <= now]
        for worker in sorted(ejected, key=lambda w: (w.ejected_until, -w.idle_order)):
            self._be_idle(worker, is_known=False)
        return bool(late or ejected)

    def be_overdue(self, worker: Worker, attempt: Attempt, now: float) -> None:
        """If the balancer sees it late, that is not counted to the worker."""
        if attempt.is_over:
            return
        attempt.is_over = True
        attempt.kill_at += now - attempt.times_out_at
        worker.bad_tries += attempt.is_full
        if worker.state is not State.DRAINING:
            worker.state = State.OVERDUE

    def _be_idle(self, worker: Worker, *, is_known: bool) -> None:
        """Who has replied is asked before all others, who is new after them."""
        self._order += 1
        worker.state, worker.idle_order = State.IDLE, self._order if is_known else -self._order
        worker.ejected_until = NEVER
