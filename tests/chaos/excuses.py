"""What may go wrong while what is broken: anything else that fails is the cluster's own fault.

A good request of one of our clients has hardly any excuse: whoever dies, another worker or the next
balancer answers it. What was sent ``once`` may die with its worker; that, and what was sent by a
client that sends nothing twice, may be lost with its connection.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.configuration import REVIVE_GRACE_S
from tests.chaos.history import Fault, Operation, Outcome

EARLY_MARGIN_S = 0.05
"""So long before its deadline a request may be given up: nothing can be done in what is left."""
TURNS_MIN = 3
"""Of so many bad requests and frozen workers at a time, one may have to wait too long."""
HUNG_MIN = 2
LOSSES_MAX = 3
"""Connections that our client may lose before it gives up a call."""
STRIKES_MAX = 3
STRIKES = ("died", "timeout")
"""Of so many workers that it has lost a request is taken for the cause."""

LATE, EXHAUSTED, NO_REPLY = "504 deadline", "503 exhausted", "no reply"
POISONED = "500 poisoned"
LOST, DRAINING, UNREACHABLE = "503 connection_lost", "503 draining", "503 unreachable"

EXPECTED: dict[str, set[str]] = {
    "echo": {"200"},
    "hurried": {"200", LATE},
    "crash": {POISONED, EXHAUSTED},
    "hang": {POISONED, EXHAUSTED},
    "leak": {"200"},
    "empty": {"200"},
    "nobody": {EXHAUSTED},
    "garbage": {"200"},
    "large": {"200"},
    "slow": {"200"},
    "raise": {"500 handler_error"},
    "chatter": {"200"},
}
"""How each kind of request ends where nothing stands in its way."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """What a kind of fault excuses, until ``margin_s`` after its end."""

    margin_s: float
    of_all: frozenset[str] = frozenset()
    of_once: frozenset[str] = frozenset()
    """For what is sent ``once``: the cluster may not try it again."""
    of_hurried: frozenset[str] = frozenset()
    """For what cannot wait until a new client is let in."""
    of_fragile: frozenset[str] = frozenset()
    """For what is sent ``once``, or by a client that sends nothing twice: it may be lost."""
    cuts_connections: bool = False
    delays: bool = False
    """Replies come late to clients that do not look at the clock themselves."""
    only_proxied: bool = False


_WORKER = Excuse(3.0, of_once=frozenset({EXHAUSTED}))
"""All else goes to the next worker. The margin is the time to find a frozen one."""
_CUT = Excuse(
    1.0,
    of_once=frozenset({EXHAUSTED}),
    of_fragile=frozenset({LOST, NO_REPLY}),
    cuts_connections=True,
)
_PROXY = Excuse(
    3.5,
    delays=True,
    of_fragile=frozenset({LOST, NO_REPLY}),
    cuts_connections=True,
    only_proxied=True,
)

EXCUSES: dict[str, Excuse] = {
    "kill": _WORKER,
    "stop": _WORKER,
    "crash": _WORKER,
    "hang": _WORKER,
    "kill-balancer": _CUT,
    "stop-balancer": Excuse(0.5, delays=True, of_hurried=frozenset({UNREACHABLE})),
    "kill-launcher": _CUT,
    "drain": Excuse(
        1.0,
        of_all=frozenset({DRAINING}),
        of_fragile=frozenset({LOST, NO_REPLY}),
        cuts_connections=True,
    ),
    "descriptors": Excuse(
        0.5, of_fragile=frozenset({NO_REPLY}), of_hurried=frozenset({UNREACHABLE})
    ),
    "latency": Excuse(0.5, delays=True, only_proxied=True),
    "slices": Excuse(0.5, delays=True, only_proxied=True),
    "reset": _PROXY,
    "blackhole": _PROXY,
}
"""What is not here excuses nothing."""
TAKE_WORKERS_AWAY = {"kill", "stop", "crash", "hang"}


class Faults:
    """Which faults an operation may blame."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        windows = [
            (f.began_at, f.ended_at + EXCUSES[f.kind].margin_s, f.kind)
            for f in faults
            if f.kind in EXCUSES
        ]
        self._windows = sorted(windows)
        self._begins = [begin for begin, _, _ in self._windows]
        self._longest_s = max((end - begin for begin, end, _ in windows), default=0.0)

    def during(self, begin: float, end: float) -> Sequence[str]:
        """The kind of each fault whose time touches this one."""
        return [kind for _, kind in self._touching(begin, end)]

    def _touching(self, begin: float, end: float) -> Iterator[tuple[float, str]]:
        """When each of them ends to count, and its kind."""
        first = bisect_right(self._begins, begin - self._longest_s)
        last = bisect_right(self._begins, end)
        return ((until, kind) for _, until, kind in self._windows[first:last] if until >= begin)

    def held_up(self, operation: Operation, until: float) -> bool:
        """Whether the request or its reply may have lain somewhere longer than its time."""
        return self.held_up_until(operation, until) is not None

    def held_up_until(self, operation: Operation, until: float) -> float | None:
        """Until when it may have lain somewhere: what was free again must come soon."""
        ends = (
            end
            for end, kind in self._windows_to_blame(operation, until)
            if EXCUSES[kind].delays or EXCUSES[kind].cuts_connections
        )
        return max(ends, default=None)

    def cuts(self, operation: Operation, until: float) -> int:
        """How many connections it may have lost, and so have been sent again."""
        kinds = self._to_blame(operation, until)
        return sum(EXCUSES[kind].cuts_connections for kind in kinds)

    def excuse(self, operation: Operation, outcome: Outcome) -> bool:
        """Whether the operation may have ended so."""
        if outcome.label == LATE and outcome.at < operation.deadline - EARLY_MARGIN_S:
            return False
        cuts = self.cuts(operation, outcome.at)
        if outcome.label in EXPECTED[operation.kind]:
            return bool(cuts) or not _is_given_up_early(operation, outcome)
        if cuts and self._is_excused_by_cuts(operation, outcome, cuts):
            return True
        if outcome.label == LATE and self._had_to_take_turns(operation, outcome):
            return True
        is_hurried = operation.kind == "hurried"
        if is_hurried and outcome.label == NO_REPLY and self.held_up(operation, outcome.at):
            return True
        kinds = self._to_blame(operation, outcome.at)
        is_fragile = operation.once or operation.shell in ("req", "dealer")
        if operation.kind == "empty" and outcome.label == EXHAUSTED:
            return _has_lacked_one(operation, outcome, kinds)
        if outcome.label == POISONED:
            return self._has_met_one_each_time(operation, outcome)
        return any(
            outcome.label in EXCUSES[kind].of_all
            or (operation.once and outcome.label in EXCUSES[kind].of_once)
            or (is_hurried and outcome.label in EXCUSES[kind].of_hurried)
            or (is_fragile and outcome.label in EXCUSES[kind].of_fragile)
            for kind in kinds
        )

    def _had_to_take_turns(self, operation: Operation, outcome: Outcome) -> bool:
        """Suspects have few of the workers to themselves, and three may take all of their time.
        What hung two has waited twice until they were back: its time may end with its third."""
        hung = sum(why == "timeout" for _, why in outcome.tried)
        if operation.kind == "hang" and hung >= HUNG_MIN:
            return True
        kinds = self._to_blame(operation, outcome.at)
        rivals = sum(kind in ("crash", "hang", "stop") for kind in kinds)
        return operation.kind in ("crash", "hang") and rivals >= TURNS_MIN

    def _has_met_one_each_time(self, operation: Operation, outcome: Outcome) -> bool:
        """An innocent one is taken for poison where somebody else took each of its workers, one
        after the other, since it was asked."""
        strikes = sum(why in STRIKES for _, why in outcome.tried)
        begins = {
            begin
            for begin, _, kind in self._windows
            if kind in TAKE_WORKERS_AWAY and operation.invoked_at <= begin <= outcome.at
        }
        return len(begins) >= strikes >= STRIKES_MAX

    def _is_excused_by_cuts(self, operation: Operation, outcome: Outcome, cuts: int) -> bool:
        if outcome.label == LOST and cuts >= LOSSES_MAX:
            return True
        if outcome.label == LATE:
            return operation.kind == "hang"  # it began anew with another balancer
        is_time_over = outcome.at >= operation.deadline
        return is_time_over and outcome.label in (LOST, UNREACHABLE)

    def _to_blame(self, operation: Operation, until: float) -> Sequence[str]:
        return [kind for _, kind in self._windows_to_blame(operation, until)]

    def _windows_to_blame(self, operation: Operation, until: float) -> Iterator[tuple[float, str]]:
        return (
            (end, kind)
            for end, kind in self._touching(operation.invoked_at, until)
            if operation.via_proxy or not EXCUSES[kind].only_proxied
        )


def _is_given_up_early(operation: Operation, outcome: Outcome) -> bool:
    """Whether somebody was left to ask: whatever may be run again goes to a second worker."""
    tried = {worker for worker, _ in outcome.tried}
    return outcome.label == EXHAUSTED and not operation.once and len(tried) < 2


def _has_lacked_one(operation: Operation, outcome: Outcome, kinds: Sequence[str]) -> bool:
    """What three of four workers decline needs the fourth: a drain does not bring it back, and who
    dies, with a successor that is frozen or a balancer that does not look, may be away for long."""
    has_waited = outcome.at - operation.invoked_at >= REVIVE_GRACE_S
    return "drain" in kinds or (has_waited and not TAKE_WORKERS_AWAY.isdisjoint(kinds))
