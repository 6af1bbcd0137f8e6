"""What a map sends next: a window of items under way that finds out how many the cluster bears.

The deadline of an item begins when it is sent, so where too many are under way the last ones spend
their time in the queue and fail although nothing is wrong with them. Such an item is sent again,
and the window is halved, at most once for everything that was under way by then. The window begins
below its size and grows by one with each answer that comes within a quarter of its time; from the
first slower one or the first failure on, by one for a full round of answers within half of theirs.
What fails with no other item under way fails for good.

An item that is to run once at most cannot be sent again if it was begun too late. Fewer of those
are under way, and with more time: enough even if one worker has to take them all, each for as long
as a try may take when, as by default, a deadline holds three of them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Generic, TypeVar

from balancer.wire.reply import Reply

WINDOW = 64
WINDOW_AT_START = 16
WINDOW_ONCE_MAX = 12
STRETCH_ONCE = 4
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

    def __init__(self, *, window: int, timeout_s: float, once: bool, goes_on: bool = False) -> None:
        """``goes_on`` keeps it going after an item that failed for good."""
        if window < 1:
            raise ValueError(f"window must be 1 or more, not {window}")
        self._goes_on = goes_on
        self._window_max = min(window, WINDOW_ONCE_MAX) if once else window
        self.window = min(WINDOW_AT_START, self._window_max)
        """How many items may be under way."""
        self.timeout_s = timeout_s * STRETCH_ONCE if once and window > 1 else timeout_s
        """The time to give to each item that is sent."""
        self._once = once
        self._is_probing = True
        self._good_answers = 0
        self._items: dict[int, _Item[Payload]] = {}
        """All that have no answer yet."""
        self._to_send: list[int] = []
        """A heap: what comes first in order is also sent first."""
        self._under_way: dict[int, _Item[Payload]] = {}
        self._alone: int | None = None
        """The item under way that nothing may join."""
        self._answers: dict[int, Reply] = {}
        self._added = self._taken = self._sends = self._sends_at_shrinking = 0
        self._is_complete = False
        # Before that nothing is sent, for the balancer asked for time.
        self._resumes_at = -math.inf

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
        """Whether nothing can be done until an item ends or it is ``wakes_at``."""
        can_go_on = self.wants_item(now) or self._can_send(now) or self._taken in self._answers
        return not can_go_on and not self.is_done

    def wakes_at(self, now: float) -> float:
        return self._resumes_at if now < self._resumes_at else math.inf

    def add(self, payload: Payload) -> None:
        heappush(self._to_send, self._added)
        self._items[self._added] = _Item(payload)
        self._added += 1

    def complete(self) -> None:
        """There are no more items."""
        self._is_complete = True

    def next_to_send(self, now: float) -> tuple[int, Payload] | None:
        """The item to send now and its number, for ``ended``; None if there is none."""
        if not self._can_send(now):
            return None
        number = heappop(self._to_send)
        item = self._items[number]
        self._sends += 1
        item.sent_at, item.sent_as = now, self._sends
        item.had_company = bool(self._under_way)
        if len(self._under_way) == 1:
            for other in self._under_way.values():
                other.had_company = True
        self._under_way[number] = item
        if item.must_be_alone:
            self._alone = number
        return number, item.payload

    def answers(self) -> Iterator[Reply]:
        """Those whose turn has come. The first failure ends a map that does not go on."""
        while self._taken in self._answers:
            self._taken += 1
            yield self._answers.pop(self._taken - 1)

    def _can_send(self, now: float) -> bool:
        if not self._to_send or not self._has_room(now):
            return False
        return not (self._under_way and self._items[self._to_send[0]].must_be_alone)

    def _has_room(self, now: float) -> bool:
        is_open = self._alone is None and now >= self._resumes_at
        return is_open and len(self._under_way) < self.window

    # --- what happened --------------------------------------------------------------------------

    def ended(self, number: int, reply: Reply, now: float) -> None:
        item = self._under_way.pop(number)
        if number == self._alone:
            self._alone = None
        if reply.status == 200:
            self._grow(now - item.sent_at)
        elif self._was_crowded_out(item, reply):
            self._send_again(number, item, reply, now)
            return
        elif not self._goes_on:
            # What comes after it will never be asked for.
            self._is_complete = True
            self._to_send.clear()
        del self._items[number]
        self._answers[number] = reply

    def _was_crowded_out(self, item: _Item[Payload], reply: Reply) -> bool:
        if not item.had_company or (self._once and reply.may_have_run):
            return False
        return (reply.status, reply.reason) in _CROWDED

    def _send_again(self, number: int, item: _Item[Payload], reply: Reply, now: float) -> None:
        self._shrink(item)
        if reply.retry_after_ms is not None:
            pause_s = min(max(reply.retry_after_ms / 1000, 0.0), PAUSE_MAX_S)
            self._resumes_at = max(self._resumes_at, now + pause_s)
        item.failures += 1
        item.runs += reply.may_have_run
        item.must_be_alone = item.failures >= FAILURES_MAX or item.runs >= RUNS_MAX
        heappush(self._to_send, number)

    def _shrink(self, item: _Item[Payload]) -> None:
        self._is_probing = False
        self._good_answers = 0
        if item.sent_as > self._sends_at_shrinking:
            self._sends_at_shrinking = self._sends
            self.window = max(1, min(self.window, len(self._under_way) + 1) // 2)

    def _grow(self, took_s: float) -> None:
        self._is_probing &= took_s * 4 <= self.timeout_s
        self._good_answers = self._good_answers + 1 if took_s * 2 <= self.timeout_s else 0
        if self._is_probing or self._good_answers >= self.window:
            self._good_answers = 0
            self.window = min(self.window + 1, self._window_max)
