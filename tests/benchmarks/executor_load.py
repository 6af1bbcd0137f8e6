"""The load of the pools in a client's own process. ``executor_load KIND JOB WORKERS``."""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from importlib import import_module
from typing import Any

from tests.benchmarks.load import ANSWER_TIMEOUT_S, Tally, serve_plans
from tests.benchmarks.plans import Plan
from tests.benchmarks.processes import die_with
from tests.cluster.running import processes_of_session_tree

Job = Callable[[Any], Any]
Submit = Callable[[Any, Callable[[Any], object]], object]
"""Takes a request and what to call with its answer, or with an exception in place of one."""


def executor(job: Job, workers: int) -> Submit:
    pool = ProcessPoolExecutor(workers, initializer=die_with, initargs=(os.getpid(),))
    return lambda request, done: _then(pool.submit(job, request), done)


def pool(job: Job, workers: int) -> Submit:
    pool = multiprocessing.Pool(workers, die_with, (os.getpid(),))
    return lambda request, done: pool.apply_async(job, (request,), {}, done, done)


def pebble(job: Job, workers: int) -> Submit:
    pool = import_module("pebble").ProcessPool(
        max_workers=workers, initializer=die_with, initargs=(os.getpid(),)
    )
    return lambda request, done: _then(pool.schedule(job, args=(request,)), done)


def _then(future: Future[Any], done: Callable[[Any], object]) -> None:
    future.add_done_callback(lambda future: done(future.exception() or future.result()))


KINDS = {"executor": executor, "pool": pool, "pebble": pebble}


class ExecutorLoad:
    """The next request is submitted from the callback of the one before, the leanest way."""

    def __init__(self, submit: Submit) -> None:
        self._submit = submit

    def play(self, plan: Plan, tally: Tally) -> None:
        assert plan.rate_per_s is None, "a pool has no open loop here"
        round_trip = _RoundTrips(self._submit, plan, tally)
        for _ in range(plan.outstanding):
            round_trip.send_next()
        round_trip.is_over.wait(plan.seconds + ANSWER_TIMEOUT_S)
        tally.unanswered = round_trip.open


class _RoundTrips:
    """The first are sent by the main thread, while the first answers come in on the pool's."""

    def __init__(self, submit: Submit, plan: Plan, tally: Tally) -> None:
        self._submit = submit
        self._requests = plan.requests()
        self._tally = tally
        self._requests_max = plan.requests_max
        self._lock = threading.Lock()
        self._sent = 0
        self.open = 0
        self.is_over = threading.Event()
        tally.started_at = time.perf_counter()
        self._ends_at = tally.started_at + plan.seconds

    def send_next(self) -> None:
        with self._lock:
            if self._sent >= self._requests_max:
                return
            number = self._sent
            self._sent += 1
            self.open += 1
        kind, request = self._requests[number % len(self._requests)]
        sent_at = time.perf_counter()
        try:
            self._submit(request, lambda answer: self._take(kind, request, sent_at, answer))
        # Each pool has its own words for being broken.
        except Exception as error:
            self._take(kind, request, sent_at, error)

    def _take(self, kind: int, request: Any, sent_at: float, answer: Any) -> None:
        is_right = answer == request
        with self._lock:
            now = self._tally.note(kind, sent_at, is_right)
        # A pool that is broken refuses at once, and would be asked without end.
        if is_right and now < self._ends_at:
            self.send_next()
        with self._lock:
            self.open -= 1
            if self.open == 0:
                self.is_over.set()


def main() -> None:
    kind, spec, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    module, _, name = spec.partition(":")
    submit = KINDS[kind](getattr(import_module(module), name), workers)
    # The pool's processes exist once the warm-up is over.
    serve_plans(ExecutorLoad(submit).play, lambda: processes_of_session_tree(os.getpid()))
    # What the pools would still do in order to end is not measured and may wait for ever.
    os._exit(0)


if __name__ == "__main__":
    die_with(os.getppid())
    main()
