"""Figures, stories and lines as a fold over (now, event, actions); nothing depends on it.

A request that goes well is one tuple when it ends. It is counted with many others, when somebody
asks for figures or there is no room for more: counting one by one, in the middle of everything
else, costs twice as much.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from balancer import lines
from balancer.core.dispatcher import Dispatcher
from balancer.core.events import (
    STATUS,
    Action,
    Answer,
    Ejected,
    Event,
    Forget,
    Forward,
    ForwardBatch,
    Readmitted,
    Reason,
    Refuse,
    ReplyArrived,
    ReplyDropped,
    RequestArrived,
    RequestId,
    RequestsArrived,
    RequestUnreadable,
    SlotAdded,
    TryFailed,
    Why,
)
from balancer.core.pool import State
from balancer.figures import Answered, Figures
from balancer.lines import Line, Throttle
from balancer.stories import OneTry, Stories, Story

UNCOUNTED_MAX = 256
NAMES_MAX = 3
"""Of the requests that a worker holds, so many are named."""
_QUIET = {Reason.MALFORMED, Reason.TOO_LARGE, Reason.CLIENT_LIMIT, Reason.QUEUE_FULL}


def has_trouble(answer: Answer) -> bool:
    """Whether a worker failed before the answer came. Nothing to say is no failure: of several
    handlers each may be asked for what is another's."""
    return any(failed.why is not Why.EMPTY for failed in answer.tried)


class Observer:
    def __init__(self, request_name: Callable[[int], str], *, has_access_log: bool = False) -> None:
        """With an access log there is a line for every request that is over."""
        self.is_watched = False
        """Somebody reads lines that are too ordinary for the log."""
        self.has_access_log = has_access_log
        self._request_name = request_name
        self._failed: dict[RequestId, list[OneTry]] = {}
        """The failed tries of open requests."""
        self._uncounted: list[Answered] = []
        self._figures = Figures()
        self._stories = Stories(request_name)
        self._throttle, self._watched_throttle = Throttle(), Throttle()

    def note(self, now: float, event: Event | None, actions: Sequence[Action]) -> list[Line]:
        """Count what happened; the lines worth saying. ``event`` is None for expired timers."""
        if type(event) is not ReplyArrived:
            self._note_event(event)
        said: list[Line] = []
        uncounted = self._uncounted
        for number, action in enumerate(actions):
            # Almost all actions are of two kinds that say nothing.
            if type(action) is Answer and action.reply.status == 200 and not action.tried:
                uncounted.append(
                    (action.request, action.worker, action.arrived_at, action.started_at, now)
                )
                if self.has_access_log:
                    said.append(self._line_of_answer(now, action, is_logged=True))
            elif type(action) is Forward and action.attempt == 1:
                self._figures.first_tries += 1
            else:
                following = actions[number + 1 :]
                said += self._admitted(now, self._note_action(now, action, following))
        if len(uncounted) >= UNCOUNTED_MAX:
            self._count()
        return said

    def _note_event(self, event: Event | None) -> None:
        figures = self._figures
        match event:
            case RequestsArrived(arrivals):
                figures.requests += len(arrivals)
            case RequestArrived() | RequestUnreadable():
                figures.requests += 1
            case SlotAdded(slot, pool):
                figures.add(slot, pool)

    def _count(self) -> None:
        """Catch up with those that went well."""
        if self._uncounted:
            self._figures.count_answers(self._uncounted)
            self._stories.keep_answers(self._uncounted)
            self._uncounted.clear()

    # --- what is worth a line -------------------------------------------------------------------

    def _admitted(self, now: float, said: Iterator[Line]) -> Iterator[Line]:
        for line in said:
            if line.is_logged and self.has_access_log:
                yield line
                continue
            throttle = self._throttle if line.is_logged else self._watched_throttle
            left_out = throttle.admit(now)
            if left_out:
                yield lines.left_out(left_out, is_logged=line.is_logged)
            if left_out is not None:
                yield line

    def last_lines(self) -> Iterator[Line]:
        """What is left to say when nothing more will happen."""
        for throttle, is_logged in ((self._throttle, True), (self._watched_throttle, False)):
            left_out = throttle.take_left_out()
            if left_out:
                yield lines.left_out(left_out, is_logged=is_logged)

    def _note_action(
        self, now: float, action: Action, following: Sequence[Action]
    ) -> Iterator[Line]:
        totals = self._figures.totals
        match action:
            case Forward():
                totals["failovers"] += 1
            case ForwardBatch(_, batch):
                totals["batches"] += 1
                totals["batched"] += len(batch)
                first_tries = [one.attempt for one in batch].count(1)
                self._figures.first_tries += first_tries
                totals["failovers"] += len(batch) - first_tries
            case TryFailed():
                self._note_failed_try(now, action)
                is_logged = action.why is not Why.EMPTY
                if is_logged or self.is_watched:
                    name = self._request_name(action.request)
                    yield lines.failed_try(name, action, following, is_logged=is_logged)
            case Answer():
                self._note_answer(now, action)
                is_logged = has_trouble(action) or self.has_access_log
                if is_logged or self.is_watched:
                    yield self._line_of_answer(now, action, is_logged=is_logged)
            case Refuse():
                self._note_refusal(now, action)
                is_logged = action.reason not in _QUIET or self.has_access_log
                if is_logged or self.is_watched:
                    name = self._request_name(action.request)
                    took_s = now - action.arrived_at
                    yield lines.refused(name, action, took_s, is_logged=is_logged)
            case Ejected():
                totals["ejections"] += 1
                yield lines.ejected(action)
            case Readmitted():
                yield lines.readmitted(action)
            case ReplyDropped():
                self._count()
                self._figures.worker(action.worker.slot).note_busy(action.started_at, now)
                totals["late_replies"] += 1
            case Forget(request):
                totals["clients_gone"] += 1
                tries = self._failed.pop(request, ())
                self._stories.keep(Story(request, "gone", action.arrived_at, now, tries))
                if self.has_access_log:
                    yield lines.dropped(self._request_name(request), now - action.arrived_at)

    def _line_of_answer(self, now: float, action: Answer, *, is_logged: bool) -> Line:
        name, took_s = self._request_name(action.request), now - action.arrived_at
        return lines.answered(name, action, took_s, is_logged=is_logged)

    def _note_answer(self, now: float, action: Answer) -> None:
        """One that followed on failed tries, or tells of an error."""
        self._count()
        self._figures.count_answer(action, now)
        request, slot, status = action.request, action.worker.slot, action.reply.status
        reason, error = lines.reason_of(status), lines.shortened(action.reply.error)
        ended = "error" if reason else "answer"
        last = OneTry(slot, action.attempts, action.started_at, now, ended)
        tries = (*self._failed.pop(request, ()), last)
        story = Story(request, "answered", action.arrived_at, now, tries, status, reason, error)
        self._stories.keep(story, is_troubled=bool(reason) or has_trouble(action))

    def _note_failed_try(self, now: float, action: TryFailed) -> None:
        self._count()
        self._figures.count_failed_try(action, now)
        slot, started_at = action.worker.slot, now - action.took_s
        failed = OneTry(slot, action.attempt, started_at, now, action.why.value)
        self._failed.setdefault(action.request, []).append(failed)

    def _note_refusal(self, now: float, action: Refuse) -> None:
        status, reason = STATUS[action.reason], action.reason.value
        self._figures.count_refusal(status, reason, now - action.arrived_at)
        request, tries = action.request, self._failed.pop(action.request, ())
        self._stories.keep(Story(request, "refused", action.arrived_at, now, tries, status, reason))

    # --- what is asked for ------------------------------------------------------------------------

    def snapshot(self, dispatcher: Dispatcher, now: float) -> dict[str, Any]:
        """The balancer's part of ``status --json``."""
        self._count()
        queue, totals = dispatcher.queue, self._figures.snapshot()
        spent, allowed = dispatcher.retry_budget(now)
        return {
            "workers": {
                slot: {**self._occupation(dispatcher, slot, now), **figures.snapshot()}
                for slot, figures in self._figures.workers.items()
            },
            "pools": self._figures.pools(),
            "queue": {"length": len(queue), "bytes": queue.size_bytes},
            "totals": {
                **totals,
                "open": dispatcher.open_requests,
                "retry_budget": {"spent": spent, "allowed": allowed},
            },
            "draining": dispatcher.is_draining,
        }

    def _occupation(self, dispatcher: Dispatcher, slot: str, now: float) -> dict[str, Any]:
        """Nothing of a slot that is gone."""
        member = dispatcher.pools.current(slot)
        if member is None:
            return {}
        held, alarm, state = member.held, member.alarm, member.state.value
        if held is not None:
            return {
                "state": state,
                "request": self.names(held.requests),
                "request_age_ms": lines.ms(now - held.started_at),
                "overdue_s": round(now - held.expires_at, 1),
            }
        if member.state is State.EJECTED and alarm is not None:
            return {"state": state, "back_in_s": round(alarm.when - now, 1)}
        return {"state": state}

    def names(self, requests: Sequence[RequestId]) -> str | None:
        """What a worker holds, in words: of a batch the first few."""
        names = [self._request_name(request) for request in requests[:NAMES_MAX]]
        if len(requests) > NAMES_MAX:
            names.append(f"{len(requests) - NAMES_MAX} more")
        return ", ".join(names) or None

    def trace(
        self, dispatcher: Dispatcher, question: Mapping[str, Any], now: float, date_s: float
    ) -> list[dict[str, Any]]:
        """The stories that are asked for: of the ``request`` of that name, else the ``last`` ones,
        only those with failed tries or a refusal if ``troubled``. ``date_s`` is now since 1970."""
        self._count()
        name = question.get("request")
        if name is not None:
            found = [*self._stories.named(name), *self._open_story(dispatcher, name)]
        else:
            found = self._stories.latest(question["last"], is_troubled=question["troubled"])
        return [self._stories.tell(story, now, date_s) for story in found]

    def _open_story(self, dispatcher: Dispatcher, name: str) -> Iterator[Story]:
        for request in dispatcher.requests():
            if self._request_name(request.id) == name:
                tries = self._failed.get(request.id, [])
                now_tried = (
                    OneTry(member.slot, len(tries) + 1, member.held.started_at, None, "running")
                    for member in dispatcher.pools.members()
                    if member.held is not None
                    and request.id in member.held.requests
                    and member.state is not State.OVERDUE
                )
                yield Story(request.id, "open", request.arrived_at, None, (*tries, *now_tried))
