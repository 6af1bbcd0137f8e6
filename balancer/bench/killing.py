"""Has one worker after another killed, at fixed times, on a thread of its own: the load must not
wait while the cluster is asked who its workers are."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import count
from time import monotonic
from typing import Any

from balancer.bench.tally import Tally
from balancer.control import NotRunning, ask

IN_ROTATION = ("idle", "busy")
NO_CLUSTER = "the cluster's launcher did not answer"
NO_WORKER = "no worker was in rotation"
NO_PROCESS = "the worker was gone before"
ANSWER_TIMEOUT_S = 2.0

Worker = Mapping[str, Any]


class Killer:
    """Goes round the workers of the cluster ``name``; ``report_to`` tells what it has done."""

    def __init__(self, name: str, every_s: float, duration_s: float, started_at: float) -> None:
        self._name = name
        self._every_s = every_s
        self._duration_s = duration_s
        self._started_at = started_at
        self._last = ""
        self._is_stopped = threading.Event()
        self._done: deque[tuple[float, str]] = deque()
        """When, and why not; the other thread takes them out."""
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """When this returns, nobody is killed any more."""
        self._is_stopped.set()
        self._thread.join()

    def report_to(self, tally: Tally) -> None:
        while self._done:
            at_s, why_not = self._done.popleft()
            if why_not:
                tally.note_missed_kill(why_not)
            else:
                tally.note_kill(at_s)

    def _run(self) -> None:
        for number in count(1):
            due_s = number * self._every_s
            pause_s = self._started_at + due_s - monotonic()
            # Not at the very end: nobody would be asked any more.
            if due_s >= self._duration_s or self._is_stopped.wait(max(0.0, pause_s)):
                return
            why_not = self._kill_next()
            self._done.append((monotonic() - self._started_at, why_not))

    def _kill_next(self) -> str:
        """Empty if it is done, else the reason why not."""
        try:
            victim = next_victim(ask(self._name, "status", ANSWER_TIMEOUT_S)["workers"], self._last)
            if victim is None:
                return NO_WORKER
            self._last = victim["name"]
            return kill(self._name, victim["name"])
        except NotRunning:
            return NO_CLUSTER


def next_victim(workers: Sequence[Worker], last: str) -> Worker | None:
    """The one in rotation that comes next after ``last``, in the order of the cluster's status."""
    names = [worker["name"] for worker in workers]
    start = names.index(last) + 1 if last in names else 0
    in_turn = [*workers[start:], *workers[:start]]
    return next((w for w in in_turn if w["state"] in IN_ROTATION and w["pid"]), None)


def kill(cluster: str, worker: str) -> str:
    """As kill -9 does, by the cluster's own hand, so that its log says who wanted it. Empty if it
    is done, else the reason why not; NotRunning if there is no cluster."""
    reply = ask(cluster, "kill", ANSWER_TIMEOUT_S, worker=worker, by="bench")
    if "error" in reply:
        return str(reply["error"])
    return "" if reply["changed"] else NO_PROCESS
