"""The loop that sends what is due, takes in what has ended and sleeps in between, on one thread.

It drives the client's connection itself: no task, no future and no thread for each request, and
still what was in flight is sent again when the balancer dies.
"""

import select
from collections.abc import Callable
from time import monotonic

from balancer.bench.plan import Plan
from balancer.bench.schedule import Schedule
from balancer.bench.tally import Tally
from balancer.client.calls import Call, Request
from balancer.client.connection import Connection

TICK_S = 0.1


class Load:
    """One run against one address; ``on_tick`` is called about ten times a second."""

    def __init__(
        self, address: str, plan: Plan, schedule: Schedule, tally: Tally, started_at: float
    ) -> None:
        self._request = Request(plan.payload, plan.timeout_s)
        self._schedule = schedule
        self._tally = tally
        self._started_at = started_at
        # The owner of a call is the date that it was due at.
        self._connection: Connection[float] = Connection([address], started_at)
        self._next_tick_s = 0.0
        self._is_stopped = False
        self.is_nobody_there = False
        """Not even a connection came about in the time of the first request."""

    def stop(self) -> None:
        """End soon, without waiting for what is open; a signal handler may call this."""
        self._is_stopped = True

    def run(self, on_tick: Callable[[float], None]) -> float:
        """Returns the seconds that it took, once everything has ended or it was stopped."""
        connection, tally, schedule = self._connection, self._tally, self._schedule
        while not self._is_stopped:
            now = monotonic()
            now_s = now - self._started_at
            for due_s in schedule.due(now_s, tally.open_now):
                connection.submit(self._request, due_s, now)
                tally.sent += 1
            connection.advance(now)
            if now_s >= self._next_tick_s:
                self._next_tick_s = now_s + TICK_S
                on_tick(now_s)
            if connection.ended:
                self._take_in()
            elif not tally.open_now and schedule.is_over(now_s):
                break
            elif not connection.has_news():
                self._sleep()
        tally.cut_off()
        connection.close()
        return monotonic() - self._started_at

    def _take_in(self) -> None:
        ended = self._connection.ended
        at_s = monotonic() - self._started_at
        while ended:
            self._note(ended.popleft(), at_s)

    def _note(self, call: Call[float], at_s: float) -> None:
        reply = call.reply()
        is_answer = isinstance(call.answer, bytes)
        self._tally.note_end(at_s, at_s - call.owner, reply, is_answer=is_answer)
        if reply.reason == "unreachable" and not self._tally.answered:
            self.is_nobody_there = True
            self.stop()

    def _sleep(self) -> None:
        now_s = monotonic() - self._started_at
        deadline_s = self._connection.next_deadline() - self._started_at
        until_s = min(self._schedule.wakes_at_s(), deadline_s, self._next_tick_s)
        # Neither poll nor epoll would do: both sleep whole milliseconds.
        select.select(self._connection.filenos(), (), (), max(0.0, until_s - now_s))
