"""Requests that may be the cause of what happens to their workers: they give way to others.

A suspect has hung one worker or killed two. Served ahead of everybody else, as any other request
that comes back, a few of them would hold a whole pool: each takes one worker after another.
"""

from balancer.core.deadlines import Deadlines
from balancer.core.events import RequestId, WayGiven
from balancer.core.lifecycle import Request
from balancer.core.limits import Limits
from balancer.core.pool import Member, Pool, State

SHARE = 4
"""Suspects may hold a quarter of a pool, or one worker."""
UNUSUAL = 10
"""Busy for so many times as long as usual: that worker may hang, too."""
_IN_ROTATION = {State.IDLE, State.BUSY, State.EJECTED}


class Suspects:
    """Tell it who becomes one, who is forwarded and who is over."""

    def __init__(self, limits: Limits, deadlines: Deadlines) -> None:
        self.limits = limits
        self._deadlines = deadlines
        self._open: dict[RequestId, Request] = {}
        self.waiting: dict[RequestId, Request] = {}
        """Who gives way: the end of any try may be what they wait for."""

    def add(self, request: Request, now: float) -> None:
        """Have it wait for better times, as far as that leaves time for a whole try."""
        self._open[request.id] = request
        if request.deadline - request.try_timeout_s > now:
            self.waiting[request.id] = request
            request.gives_way = True
            request.hurry_ends_at = now + self.limits.hang_kill_after_s / 2
            self._begin_patience(request, now)

    def note_failure(self, now: float) -> None:
        """One more worker is away because of a suspect: the others' patience begins anew."""
        for request in self.waiting.values():
            self._begin_patience(request, now)

    def _begin_patience(self, request: Request, now: float) -> None:
        patience_s = self.limits.hang_kill_after_s + self.limits.revive_grace_s
        last_chance_at = request.deadline - request.try_timeout_s
        request.waits_last = True
        request.patience_ends_at = min(now + patience_s, last_chance_at)
        self._deadlines.cancel(request.way_alarm)
        request.way_alarm = self._deadlines.set(request.patience_ends_at, WayGiven(request.id))

    def look_again(self, request: Request, now: float) -> None:
        """It has waited long enough for workers; or for other suspects, too."""
        last_chance_at = request.deadline - request.try_timeout_s
        request.waits_last = False
        request.gives_way = now < last_chance_at
        if request.gives_way:
            request.way_alarm = self._deadlines.set(last_chance_at, WayGiven(request.id))
        else:
            self.waiting.pop(request.id, None)

    def let_go(self, request: Request) -> None:
        """It is forwarded. Until that has failed it gives way no more."""
        self._deadlines.cancel(request.way_alarm)
        request.way_alarm = None
        request.gives_way = request.waits_last = False
        self.waiting.pop(request.id, None)

    def forget(self, request: Request) -> None:
        self._open.pop(request.id, None)
        self.waiting.pop(request.id, None)

    def must_give_way(self, request: Request, pool: Pool, now: float) -> bool:
        """Whether it had better wait until the pool has got over what happened lately.

        As long as it is patient, workers that are away, or busy for unusually long, count like
        those that a suspect holds. Its own first victim does not: a request whose worker froze is
        no worse for it. The last idle worker of a busy pool it leaves to others for a moment: what
        they took just now may hang, too, and that cannot be seen yet.
        """
        if not request.gives_way:
            return False
        if now < request.hurry_ends_at and len(pool.idle) == 1 < pool.serving:
            return True
        is_patient = now < request.patience_ends_at
        troubled, usual_s = 0, pool.service.mean_s
        for member in pool.members.values():
            if member.held is not None and member.state is State.BUSY:
                is_usual_s = usual_s * UNUSUAL * len(member.held.requests)
                is_unusual = 0 < is_usual_s < now - member.held.started_at
                is_suspect = member.held.requests[0] in self._open
                troubled += is_suspect or (is_patient and is_unusual)
            elif is_patient and member.state not in _IN_ROTATION:
                troubled += not _is_only_victim(request, member)
        return troubled >= max(1, len(pool.members) // SHARE)


def _is_only_victim(request: Request, member: Member) -> bool:
    return request.strikes == 1 and member.slot in request.excluded
