"""What a map sends next: a window of items under way that finds out how many the cluster bears.

The deadline of an item begins when it is sent, so where too many are under way the last ones spend
their time in the queue and fail although nothing is wrong with them. Such an item is sent again, and
the window is halved, at most once for everything that was under way by then. It grows back by one
for each full round of successes, and only while answers come within half of their time, for one
more item must not be the one too many. Whoever fails with no other item under way fails for good.

An item that is to run once at most cannot always be sent again: there the window begins at one and
grows with every answer that comes within a quarter of its time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Generic, TypeVar

from balancer.wire import Reply

START = 16
START_ONCE = 1
SPREAD = 8
"""Answers kept for an earlier one that is still missing, in windows."""
FAILURES_MAX = 3
RUNS_MAX = 2
"""An item that failed so often, or after so many runs, is sent alone: if it hangs every worker that
it meets, it shall not do so once for each size of the window."""
PAUSE_MAX_S = 5.0

_CROWDED = {
    (429, "client_limit"),
    (503, "queue_full"),
    (503, "queue_timeout"),
    (504, "deadline"),
}

Payload = TypeVar("Payload")


@dataclass(slots=True, eq=False)
class _Item(Generic[Payload]):
    payload: Payload
    sent_at: float = 0.0
    sent_as: int = 0
    """Its place among all that was sent."""
    had_company: bool = False
    must_be_alone: bool = False
    failures: int = 0
    runs: int = 0


class Plan(Generic[Payload]):
    """Decides, and is told the time; whoever has it sends, waits and takes the answers."""

    def __init__(self, *, window: int, timeout_s: float, once: bool) -> None:
        if window < 1:
            raise ValueError(f"window must be 1 or more, not {window}")
        self._window_max = window
        self._window = min(START_ONCE if once else START, window)
        self._is_probing = True
        self._credit = 0
        self._timeout_s = timeout_s
        self._once = once
        self._items: dict[int, _Item[Payload]] = {}
        """All that have no answer yet."""
        self._to_send: list[int] = []
        """A heap: what comes first in order is also sent first."""
        self._under_way: dict[int, _Item[Payload]] = {}
        self._answers: dict[int, Reply] = {}
        self._added = self._taken = self._sends = self._sends_at_shrinking = 0
        self._is_complete = False
        self.resumes_at = float("-inf")
        """Before that nothing is sent, for the balancer asked for time."""

    @property
    def window(self) -> int:
        return self._window

    @property
    def is_done(self) -> bool:
        return self._is_complete and self._taken == self._added

    # --- what to do -----------------------------------------------------------------------------

    def wants_item(self, now: float) -> bool:
        """Whether a new item could be sent at once: ``add`` it, or say ``complete``."""
        return (
            not self._is_complete
            and not self._to_send
            and self._has_room(now)
            and self._added - self._taken < SPREAD * self._window_max
        )

    def must_wait(self, now: float) -> bool:
        """Whether nothing can be done until an item ends or ``resumes_at`` has come."""
        return not self.wants_item(now) and bool(self._under_way or self._to_send)

    def add(self, payload: Payload) -> None:
        heappush(self._to_send, self._added)
        self._items[self._added] = _Item(payload)
        self._added += 1

    def complete(self) -> None:
        """There are no more items."""
        self._is_complete = True

    def next_to_send(self, now: float) -> tuple[int, Payload] | None:
        """The item to send now and its number, for ``ended``; None if there is none."""
        if not self._to_send or not self._has_room(now):
            return None
        item = self._items[self._to_send[0]]
        if item.must_be_alone and self._under_way:
            return None
        number = heappop(self._to_send)
        self._sends += 1
        item.sent_at, item.sent_as = now, self._sends
        item.had_company = bool(self._under_way)
        if len(self._under_way) == 1:
            for other in self._under_way.values():
                other.had_company = True
        self._under_way[number] = item
        return number, item.payload

    def answers(self) -> Iterator[Reply]:
        """Those whose turn has come. The first that is no success ends the map."""
        while self._taken in self._answers:
            self._taken += 1
            yield self._answers.pop(self._taken - 1)

    def _has_room(self, now: float) -> bool:
        if now < self.resumes_at or len(self._under_way) >= self.window:
            return False
        return not any(item.must_be_alone for item in self._under_way.values())

    # --- what happened --------------------------------------------------------------------------

    def ended(self, number: int, reply: Reply, now: float) -> None:
        item = self._under_way.pop(number)
        if reply.status == 200:
            self._grow(now - item.sent_at)
        elif self._is_crowded_out(item, reply):
            self._send_again(number, item, reply, now)
            return
        else:
            # What comes after it will never be asked for.
            self._is_complete = True
            self._to_send.clear()
        del self._items[number]
        self._answers[number] = reply

    def _is_crowded_out(self, item: _Item[Payload], reply: Reply) -> bool:
        if not item.had_company or (self._once and reply.may_have_run):
            return False
        return (reply.status, reply.reason) in _CROWDED

    def _send_again(self, number: int, item: _Item[Payload], reply: Reply, now: float) -> None:
        self._shrink(item)
        if reply.retry_after_ms is not None:
            pause_s = min(max(reply.retry_after_ms / 1000, 0.0), PAUSE_MAX_S)
            self.resumes_at = max(self.resumes_at, now + pause_s)
        item.failures += 1
        item.runs += reply.may_have_run
        item.must_be_alone = item.failures >= FAILURES_MAX or item.runs >= RUNS_MAX
        heappush(self._to_send, number)

    def _shrink(self, item: _Item[Payload]) -> None:
        self._is_probing = False
        if item.sent_as > self._sends_at_shrinking:
            self._sends_at_shrinking = self._sends
            self._window = max(1, min(self._window, len(self._under_way) + 1) // 2)
            self._credit = 0

    def _grow(self, took_s: float) -> None:
        self._is_probing &= took_s * 4 <= self._timeout_s
        self._credit = self._credit + 1 if took_s * 2 <= self._timeout_s else 0
        if self._is_probing or self._credit >= self._window:
            self._credit = 0
            self._window = min(self._window + 1, self._window_max)
