"""What events mean for workers: they come, reply, hang, are ejected, make room and go.

A worker is no worse than its latest tries: each good reply clears its record, and a new process
begins with a clean one. What becomes of the requests is decided in ``requests``.
"""

from collections.abc import Sequence

from balancer.core.deadlines import Deadlines
from balancer.core.events import (
    Action,
    BatchReplied,
    Ejected,
    EjectionEnded,
    HangConfirmed,
    Kill,
    Outcome,
    Readmitted,
    Released,
    ReplyArrived,
    ReplyDropped,
    RequestId,
    TryTimedOut,
    Why,
    WorkerConnected,
    WorkerLost,
    WorkerReady,
    WorkerReply,
)
from balancer.core.limits import Limits
from balancer.core.placing import Placing
from balancer.core.policy import may_eject
from balancer.core.pool import Held, Member, Pools, Signal, State
from balancer.core.requests import Requests

_FAILURES = {Outcome.EMPTY: Why.EMPTY, Outcome.GARBLED: Why.GARBLED}
_GOOD = {Outcome.ANSWER, Outcome.EMPTY}
_GARBLED = WorkerReply(Outcome.GARBLED)

# What every request asks for: until Python 3.12 a member's look-up costs ten times a name's.
_DOWN, _IDLE, _OVERDUE = State.DOWN, State.IDLE, State.OVERDUE
_REPLIED, _ANSWER = Signal.REPLIED, Outcome.ANSWER
_EJECTIONS_COUNTED_MAX = 16


class Workers:
    """Writes what is to be done into ``actions``, in order."""

    def __init__(
        self,
        limits: Limits,
        pools: Pools,
        requests: Requests,
        placing: Placing,
        deadlines: Deadlines,
        actions: list[Action],
    ) -> None:
        self.limits = limits
        self._pools = pools
        self._requests = requests
        self._placing = placing
        self._deadlines = deadlines
        self._actions = actions

    # --- they come --------------------------------------------------------------------------------

    def connected(self, event: WorkerConnected, now: float) -> None:
        member = self._pools.in_slot(event.worker)
        if member is None:
            return
        if event.beside_older and member.state is not State.DOWN:
            member = self._pools.stand_beside(event.worker, member)
        else:
            # A slot holds one process: this one lives, so the other is dead, told or not yet.
            for older in (*self._pools.successors(event.worker.slot), member):
                self._lose(older, Why.DIED, now)
            self._pools.fill(member, event.worker)
        self._pools.move(member, Signal.CONNECTED)
        if member.is_ours:
            patience_s = self.limits.try_timeout_s + self.limits.hang_kill_after_s
            member.alarm = self._deadlines.set(now + patience_s, HangConfirmed(event.worker))
        self._placing.place_all(now)

    def ready(self, event: WorkerReady, now: float) -> None:
        member = self._pools.find(event.worker)
        if member is None or member.state is not State.CONNECTING:
            return
        self._deadlines.cancel(member.alarm)
        member.alarm = None
        member.batching = event.batching
        older = self._pools.succeed(member)
        if older is not None:
            self._retire(older)
        self._pools.move(member, Signal.READY)
        self._placing.place_all(now)

    # --- they go ----------------------------------------------------------------------------------

    def lost(self, event: WorkerLost, now: float) -> None:
        member = self._pools.find(event.worker)
        if member is not None:
            self._lose(member, Why.UNDELIVERED if event.undelivered else Why.DIED, now)
            self._promote(event.worker.slot)
            self._placing.place_all(now)

    def slot_removed(self, slot: str, now: float) -> None:
        for member in self._pools.remove(slot):
            self._lose(member, Why.DIED, now)
        self._placing.place_all(now)

    def slot_retired(self, slot: str, now: float) -> None:
        for member in self._pools.remove(slot):
            self._retire(member)
        self._placing.place_all(now)

    def _lose(self, member: Member, why: Why, now: float) -> None:
        """Its process is gone, or as good as gone: see to the request that it held."""
        if member.state is State.DOWN:
            return
        self._pools.move(member, Signal.LOST)
        self._deadlines.cancel(member.alarm)
        self._deadlines.cancel(member.try_alarm)
        held = self._take_held(member)
        for request in self._requests.tried_by(member.worker, held):
            self._placing.fail_try(request, member, why, now)

    def _retire(self, member: Member) -> None:
        """It gets nothing new; what it holds it may finish."""
        if member.state is State.DOWN:
            return
        self._deadlines.cancel(member.alarm)
        self._pools.move(member, Signal.RETIRED)
        if member.state is State.DRAINING:
            self._pools.put_aside(member)
        else:
            self._release(member)

    def _release(self, member: Member) -> None:
        self._deadlines.cancel(member.try_alarm)
        self._actions.append(Released(member.worker))

    def _promote(self, slot: str) -> None:
        """Who stood beside a worker that is gone has the slot to itself."""
        current = self._pools.current(slot)
        if current is not None and current.state is State.DOWN:
            newest = max(self._pools.successors(slot), key=lambda m: m.worker, default=None)
            if newest is not None:
                self._pools.succeed(newest)

    def _take_held(self, member: Member) -> Held | None:
        held, member.held = member.held, None
        if held is not None and held.alarm is not None:
            self._deadlines.cancel(held.alarm)
        return held

    # --- they reply, or do not --------------------------------------------------------------------

    def replied(self, event: ReplyArrived, now: float) -> None:
        member, reply = self._pools.find(event.worker), event.reply
        if member is None or member.held is None:
            return
        held = member.held
        if len(held.requests) > 1:
            self.batch_replied(BatchReplied(event.worker, (_GARBLED,) * len(held.requests)), now)
            return
        is_late = self._end_try(member, held, event.took_s, now)
        if reply.outcome is not _ANSWER or member.bad_tries:
            self._judge(member, {reply.outcome}, is_late, now)
        self._settle(member, held, (reply,), now)
        self._go_on(member, held, is_late, now)

    def batch_replied(self, event: BatchReplied, now: float) -> None:
        member, replies = self._pools.find(event.worker), event.replies
        if member is None or member.held is None:
            return
        held = member.held
        if len(replies) != len(held.requests):
            replies = (_GARBLED,) * len(held.requests)
        is_late = self._end_try(member, held, event.took_s, now)
        self._judge(member, {reply.outcome for reply in replies}, is_late, now)
        self._settle(member, held, replies, now)
        self._go_on(member, held, is_late, now)

    def _end_try(self, member: Member, held: Held, took_s: float | None, now: float) -> bool:
        """It holds nothing any more; whether its time was over."""
        is_late = member.state is _OVERDUE
        if held.alarm is not None:
            self._deadlines.cancel(held.alarm)
        member.held = None
        self._pools.move(member, _REPLIED)
        elapsed_s, needed_s = now - held.started_at, None
        if held.is_timed:
            # The clock of one of another hand may be wrong.
            needed_s = elapsed_s if took_s is None or took_s > elapsed_s else took_s
        member.pool.service.note(needed_s, len(held.requests), elapsed_s)
        return is_late

    def _go_on(self, member: Member, held: Held, is_late: bool, now: float) -> None:
        """Give it what waits for it."""
        if member.state is _IDLE and not is_late and not held.is_last_resort:
            self._placing.serve(member, now)
            return
        if member.state is _DOWN:
            self._release(member)
        # It was not in rotation, or is not any more: who waits may belong elsewhere now.
        self._placing.place_all(now)

    def _judge(self, member: Member, outcomes: set[Outcome], is_late: bool, now: float) -> None:
        """Keep its record; eject it if that is too bad."""
        if Outcome.GARBLED in outcomes and not is_late:
            member.bad_tries += 1
        elif outcomes & _GOOD and not is_late:
            member.bad_tries = member.ejections = 0
        first_s = self.limits.ejection_s
        is_bad = member.bad_tries >= self.limits.ejection_tries
        if is_bad and first_s is not None and may_eject(member):
            factor = 2 ** min(member.ejections, _EJECTIONS_COUNTED_MAX)
            duration_s = min(self.limits.ejection_max_s, first_s * factor)
            member.ejections += 1
            member.alarm = self._deadlines.set(now + duration_s, EjectionEnded(member.worker))
            self._pools.move(member, Signal.EJECTED)
            self._actions.append(Ejected(member.worker, duration_s))

    def _settle(
        self, member: Member, held: Held, replies: Sequence[WorkerReply], now: float
    ) -> None:
        """Give each reply to its request, if that is still open: late or not, it is the answer."""
        find, answer = self._requests.find, self._requests.answer
        worker, started_at = member.worker, held.started_at
        for id, reply in zip(held.requests, replies, strict=True):
            request = find(id)
            if request is not None and reply.outcome is _ANSWER:
                answer(request, worker, reply, started_at)
            else:
                self._settle_in_vain(member, held, id, reply, now)

    def _settle_in_vain(
        self, member: Member, held: Held, id: RequestId, reply: WorkerReply, now: float
    ) -> None:
        """The request is over, or this is no answer to it."""
        request = self._requests.find(id)
        if request is not None:
            request.excluded |= {member.slot}  # it would only say the same again
        if request is not None and request.worker == member.worker:
            why = _FAILURES.get(reply.outcome, Why.UNDELIVERED)
            self._placing.fail_try(request, member, why, now)
        else:
            self._actions.append(ReplyDropped(member.worker, id, held.started_at))

    def try_timed_out(self, event: TryTimedOut, now: float) -> None:
        member = self._pools.find(event.worker)
        assert member is not None
        held, member.try_alarm = member.held, None
        if held is None:
            return
        if now < held.expires_at:
            member.try_alarm = self._deadlines.set(held.expires_at, event)
            return
        self._pools.move(member, Signal.TIMED_OUT)
        member.bad_tries += held.is_full
        if member.is_ours:
            # If we see it late, the worker has not had its last chance yet: not our pause, but its
            # silence is to be counted.
            late_s = now - held.expires_at
            held.alarm = self._deadlines.set(held.give_up_at + late_s, HangConfirmed(event.worker))
        for request in self._requests.tried_by(event.worker, held):
            self._placing.fail_try(request, member, Why.TIMEOUT, now)
        self._placing.must_place_all = True

    def hang_confirmed(self, event: HangConfirmed, now: float) -> None:
        member = self._pools.find(event.worker)
        assert member is not None
        held = member.held
        requests = held.requests if held is not None else ()
        self._actions.append(Kill(event.worker, requests))
        self._lose(member, Why.DIED, now)
        self._promote(event.worker.slot)
        self._placing.must_place_all = True

    def ejection_ended(self, event: EjectionEnded, now: float) -> None:
        member = self._pools.find(event.worker)
        assert member is not None
        self._actions.append(Readmitted(event.worker))
        self._pools.move(member, Signal.READMITTED)
        self._placing.place_all(now)
