"""What a person may have the cluster do with its workers: drain, ready, restart, kill, scale.

Each says what it did, and does nothing the second time.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from balancer.config import Pool
from balancer.kinds import WORKERS_MAX
from workers.crew import Crew
from workers.slot import WorkerSlot
from workers.surroundings import Surroundings


class Impossible(Exception):
    """It cannot be done; the text says why, and what can."""


class Deed(NamedTuple):
    text: str
    is_change: bool = True
    """Else it was so already."""


class Steering:
    """``is_ending`` tells whether the cluster is about to stop: then there is nothing to steer."""

    def __init__(self, around: Surroundings, crew: Crew, is_ending: Callable[[], bool]) -> None:
        self._around = around
        self._crew = crew
        self._is_ending = is_ending

    def drain(self, worker: str) -> Deed:
        """Have it take nothing new, finish what it does, and stop."""
        slot = self._slot(worker)
        if slot.is_drained:
            return Deed(f"{worker} is drained already: 'ready {worker}' brings it back", False)
        slot.drain()
        return Deed(f"{worker} takes nothing new, finishes what it does, and stops")

    def ready(self, worker: str) -> Deed:
        """Bring back one that was drained, or that was given up."""
        slot = self._slot(worker)
        if slot.succession.process is not None:
            return Deed(f"{worker} is starting already", False)
        if not slot.is_given_up:
            state = "running" if slot.present is not None else "about to be restarted"
            return Deed(f"{worker} is {state} already", False)
        slot.fill(self._handler(slot), "asked for")
        return Deed(f"{worker} is starting")

    def restart(self, worker: str | None) -> Deed:
        """Replace it, or all, by fresh processes, each in rotation before the old one goes."""
        if worker is not None:
            slot = self._slot(worker)
            if slot.is_drained:
                raise Impossible(f"{worker} is drained: 'ready {worker}' brings it back")
            if not self._crew.restart([worker]):
                return Deed(f"{worker} is about to be replaced already", False)
            return Deed(f"{worker} is replaced once its successor is ready")
        self._refuse_in_reload()
        names = [slot.name for slot in self._crew if not slot.is_given_up and not slot.is_retired]
        number = self._crew.restart(names)
        if not number:
            return Deed("all workers are about to be replaced already", False)
        return Deed(f"{_workers(number)} to be replaced, one at a time in each pool")

    def kill(self, worker: str) -> Deed:
        """Kill its process, as kill -9 would."""
        slot = self._slot(worker)
        # Who is present comes first; of a drained worker there may be one that has not finished.
        process = next((process for process in slot.processes() if process.is_alive), None)
        if process is None:
            return Deed(f"{worker} is down already", False)
        if process.kill_reason:
            return Deed(f"{worker} (pid {process.pid}) is about to end already", False)
        process.kill("killed by hand")
        return Deed(f"{worker} (pid {process.pid}) is killed")

    def scale(self, pool_name: str, workers: int) -> Deed:
        """Have so many workers in the pool."""
        self._refuse_at_the_end()
        self._refuse_in_reload()
        config = self._around.config
        pool = self._pool(pool_name)
        others = len(config.worker_slots()) - pool.workers
        if not 1 <= workers <= WORKERS_MAX - others:
            raise Impossible(f"{workers} workers are not possible: 1 to {WORKERS_MAX - others} are")
        if workers == pool.workers:
            return Deed(f"pool {pool_name} has {_workers(workers)} already", False)
        pools = (
            replace(other, workers=workers) if other is pool else other for other in config.pools
        )
        self._crew.scale(replace(config, pools=tuple(pools)))
        return Deed(f"pool {pool_name} goes from {pool.workers} to {_workers(workers)}")

    def scale_by(self, step: int) -> Deed:
        """One more, or less, in the first pool that has workers of ours."""
        pool = next((pool for pool in self._around.config.pools if pool.handler), None)
        if pool is None:
            raise Impossible("there are only endpoints here: nothing to start or stop")
        return self.scale(pool.name, pool.workers + step)

    def _slot(self, name: str) -> WorkerSlot:
        self._refuse_at_the_end()
        slot = self._crew.find(name)
        if slot is not None and slot.is_retired:
            raise Impossible(f"{name} is leaving its pool, and gone when it has finished")
        if slot is not None:
            return slot
        if any(name in pool.slots for pool in self._around.config.pools):
            raise Impossible(f"{name} is an endpoint: who started it may stop it, this cannot")
        known = ", ".join(slot.name for slot in self._crew)
        raise Impossible(f"there is no worker '{name}' here, but {known}")

    def _pool(self, name: str) -> Pool:
        pools = {pool.name: pool for pool in self._around.config.pools if pool.handler}
        if name not in pools:
            raise Impossible(f"there is no pool '{name}' of ours here, but {', '.join(pools)}")
        return pools[name]

    def _handler(self, slot: WorkerSlot) -> str:
        handlers = {name: handler for name, _, handler in self._around.config.worker_slots()}
        return handlers.get(slot.name, slot.handler)

    def _refuse_at_the_end(self) -> None:
        if self._is_ending():
            raise Impossible("the cluster is stopping")

    def _refuse_in_reload(self) -> None:
        if self._crew.is_reloading:
            raise Impossible("a reload is under way: try again when it is done")


def _workers(number: int) -> str:
    return f"{number} worker{'s' * (number != 1)}"
