"""Requests that may be the cause of what happens to their workers: they give way to others.

A suspect has hung one worker or killed two. Served ahead of everybody else, as any other request
that comes back, a few of them would hold a whole pool: each takes one worker after another.
"""

from typing import NamedTuple

from balancer.core.deadlines import Alarm, Deadlines
from balancer.core.events import RequestId, WayGiven
from balancer.core.lifecycle import Request
from balancer.core.limits import Limits
from balancer.core.pool import Pool, State

SHARE = 4
"""Suspects may hold a quarter of a pool, or one worker."""
UNUSUAL = 10
"""Busy for so many times as long as usual: that worker may hang, too."""
_IN_ROTATION = {State.IDLE, State.BUSY, State.EJECTED}


class Patience:
    """How long a suspect lets others go first."""

    __slots__ = ("alarm", "hurry_ends_at", "patience_ends_at", "request")

    def __init__(self, request: Request, hurry_ends_at: float) -> None:
        self.request = request
        self.hurry_ends_at = hurry_ends_at
        """Until then it leaves the last idle worker to others."""
        self.patience_ends_at = 0.0
        """Until then it waits for workers that are away; after that for other suspects alone."""
        self.alarm: Alarm | None = None


class Troubles(NamedTuple):
    """How many of a pool's workers are busy with something that may go on for ever."""

    suspects: int
    unusual: int
    """Busy for unusually long, though not with a suspect."""


class Suspects:
    """Tell it who becomes one, who is forwarded and who is over."""

    def __init__(self, limits: Limits, deadlines: Deadlines) -> None:
        self.limits = limits
        self._deadlines = deadlines
        self._open: set[RequestId] = set()
        self.waiting: dict[RequestId, Patience] = {}
        """Who gives way: the end of any try may be what they wait for."""
        self._troubles: dict[str, Troubles] = {}
        """Of each pool that was looked at, as long as they are the same."""

    def add(self, request: Request, now: float) -> None:
        """Have it wait for better times, as far as that leaves time for a whole try."""
        self._open.add(request.id)
        self.look_anew()
        if request.deadline - request.try_timeout_s > now:
            patience = Patience(request, now + self.limits.hang_kill_after_s / 2)
            self.waiting[request.id] = patience
            request.gives_way = True
            self._begin_patience(patience, now)

    def note_failure(self, now: float) -> list[Request]:
        """One more worker is away because of a suspect: the others' patience begins anew. Those
        that had none left are less urgent from now on."""
        hurried = [one.request for one in self.waiting.values() if not one.request.waits_last]
        for patience in self.waiting.values():
            self._begin_patience(patience, now)
        return hurried

    def _begin_patience(self, patience: Patience, now: float) -> None:
        request = patience.request
        patience_s = self.limits.hang_kill_after_s + self.limits.revive_grace_s
        last_chance_at = request.deadline - request.try_timeout_s
        request.waits_last = True
        patience.patience_ends_at = min(now + patience_s, last_chance_at)
        self._deadlines.cancel(patience.alarm)
        patience.alarm = self._deadlines.set(patience.patience_ends_at, WayGiven(request.id))

    def look_again(self, request: Request, now: float) -> None:
        """It has waited long enough for workers; or for other suspects, too."""
        last_chance_at = request.deadline - request.try_timeout_s
        request.waits_last = False
        if now < last_chance_at:
            patience = self.waiting[request.id]
            patience.alarm = self._deadlines.set(last_chance_at, WayGiven(request.id))
        else:
            self.let_go(request)

    def let_go(self, request: Request) -> None:
        """It is forwarded, or it has waited long enough. Until a try fails it gives way no more."""
        request.gives_way = request.waits_last = False
        self.look_anew()
        patience = self.waiting.pop(request.id, None)
        if patience is not None:
            self._deadlines.cancel(patience.alarm)

    def forget(self, request: Request) -> None:
        """It is over."""
        self._open.discard(request.id)
        self.let_go(request)

    def must_give_way(self, request: Request, pool: Pool, now: float) -> bool:
        """Whether it had better wait until the pool has got over what happened lately.

        As long as it is patient, workers that are away, or busy for unusually long, count like
        those that a suspect holds. Its own first victim does not: a request whose worker froze is
        no worse for it. The last idle worker of a busy pool it leaves to others for a moment: what
        they took just now may hang, too, and that cannot be seen yet.
        """
        if not request.gives_way:
            return False
        patience = self.waiting[request.id]
        if now < patience.hurry_ends_at and len(pool.idle) == 1 < pool.serving:
            return True
        troubles = self._troubles_of(pool, now)
        troubled = troubles.suspects
        if now < patience.patience_ends_at:
            away = pool.away()
            troubled += troubles.unusual + len(away.down) + len(away.unheard)
            troubled -= _victims_away(request, pool)
        return troubled >= max(1, len(pool.members) // SHARE)

    def look_anew(self) -> None:
        """What was seen of the pools may be so no more."""
        self._troubles.clear()

    def _troubles_of(self, pool: Pool, now: float) -> Troubles:
        troubles = self._troubles.get(pool.name)
        if troubles is None:
            busy = [member.held for member in pool.members.values() if member.state is State.BUSY]
            suspects = unusual = 0
            for held in busy:
                assert held is not None
                is_suspect = held.requests[0] in self._open
                suspects += is_suspect
                unusual_s = pool.service.usual_s(len(held.requests)) * UNUSUAL
                is_unusual = 0 < unusual_s < now - held.started_at
                unusual += is_unusual and not is_suspect
            troubles = self._troubles[pool.name] = Troubles(suspects, unusual)
        return troubles


def _victims_away(request: Request, pool: Pool) -> int:
    """How many of those that are away it has tried itself, if it has cost no more than one."""
    if request.strikes != 1:
        return 0
    members = (pool.members.get(slot) for slot in request.excluded)
    return sum(member is not None and member.state not in _IN_ROTATION for member in members)
