"""What to do with a request next, and what may not go on: choices as pure functions of what is.

The order of the pools is a preference: a pool whose workers are busy is waited for, one with nobody
up is passed over. Within a pool the worker that became free last is asked first: of 64 workers
under the load of 4 that costs a third less than taking turns, for its memory is in the caches.
Nobody is asked twice, and an ejected worker only by a request for which nobody in rotation is left.
"""

from collections.abc import Collection, Iterable, Iterator, Set

from balancer.core.lifecycle import Request
from balancer.core.limits import Limits
from balancer.core.pool import Member, Pool, State
from balancer.core.records import record


@record
class Stranded:
    """Somebody is left to ask, but first of all somebody must come back."""

    is_alive: bool
    """Somebody out of rotation is alive: overdue, or not heard of yet. It replies or is killed."""


@record
class GiveUp:
    """Nobody is left to ask, nor will be."""


Choice = Member | Pool | Stranded | GiveUp
"""The worker to try, or the pool whose next free worker is to be waited for."""
_GIVE_UP = GiveUp()


def choose(request: Request, pools: Iterable[Pool]) -> Choice:
    """Where the request goes from here, were it alone."""
    if request.is_final:
        return _GIVE_UP
    excluded = request.excluded
    is_down = is_alive = False
    last_resort: Member | None = None
    for pool in pools:
        if pool.name in request.excluded_pools:
            continue
        if pool.idle:
            for slot, member in reversed(pool.idle.items()):
                if slot not in excluded:
                    return member
        if pool.serving > len(excluded) or (pool.serving and _has_untried_busy(pool, excluded)):
            return pool
        away = pool.away()
        is_down = is_down or _has_untried(away.down, excluded)
        is_alive = is_alive or _has_untried(away.unheard, excluded)
        if last_resort is None and away.ejected:
            last_resort = next(_untried(away.ejected, excluded), None)
    if last_resort is not None:
        return last_resort
    if is_down or is_alive:
        return Stranded(is_alive)
    return _GIVE_UP


def _untried(members: Iterable[Member], excluded: Set[str]) -> Iterator[Member]:
    return (member for member in members if member.slot not in excluded)


def _has_untried(members: Collection[Member], excluded: Set[str]) -> bool:
    return len(members) > len(excluded) or next(_untried(members, excluded), None) is not None


def _has_untried_busy(pool: Pool, excluded: Set[str]) -> bool:
    return any(member.state is State.BUSY for member in _untried(pool.members.values(), excluded))


def may_eject(member: Member) -> bool:
    """Whether the pool can do without it: never more than half of it is gone, nor the last."""
    pool = member.pool
    return (
        member.state is State.IDLE
        and pool.serving > 1
        and 2 * (pool.ejected + 1) <= len(pool.members)
    )


class RetryBudget:
    """How many tries may follow a failed one, so that failures do not feed on themselves.

    A share of the *first* tries of a window, counted in whole seconds, plus some for each
    worker. First tries and not open requests, because those vanish when all fail at once
    (https://github.com/envoyproxy/envoy/issues/30205).
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._seconds: dict[int, list[int]] = {}
        """Second → [first tries, tries after a failure]; holds the window's seconds at most."""

    def note_first_tries(self, now: float, count: int) -> None:
        (self._seconds.get(int(now)) or self._second(now))[0] += count

    def spend(self, now: float, workers: int) -> bool:
        """Take one from the budget; False if there is none left."""
        spent, allowed = self.balance(now, workers)
        if spent + 1 > allowed:
            return False
        self._second(now)[1] += 1
        return True

    def balance(self, now: float, workers: int) -> tuple[int, float]:
        """How many were spent in the window, of how many."""
        self._drop_old(now)
        limits, seconds = self.limits, self._seconds.values()
        first, spent = sum(second[0] for second in seconds), sum(second[1] for second in seconds)
        return spent, limits.retry_budget * first + limits.retry_budget_per_worker * workers

    def _second(self, now: float) -> list[int]:
        number = int(now)
        second = self._seconds.get(number)
        if second is None:
            self._drop_old(now)
            second = self._seconds[number] = [0, 0]
        return second

    def _drop_old(self, now: float) -> None:
        oldest = int(now) - self.limits.retry_budget_window_s
        if any(number <= oldest for number in self._seconds):
            self._seconds = {n: s for n, s in self._seconds.items() if n > oldest}
