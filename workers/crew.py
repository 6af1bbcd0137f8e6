"""All worker slots: who is in them, what the balancer says of them, and when a pool has failed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count

from balancer.config import Config, Pool
from balancer.control import Message
from workers.ending import Ending
from workers.reports import Report
from workers.rolling import Rolling
from workers.slot import WorkerSlot
from workers.surroundings import Surroundings
from workers.worker_process import WorkerProcess

POOL_FAILED, BAD_CONFIGURATION = 1, 2


class Crew:
    """``fail`` ends the cluster: it gets the reason and the exit code."""

    def __init__(self, around: Surroundings, fail: Callable[[str, int], None]) -> None:
        self._around = around
        self._fail = fail
        self._slots: dict[str, WorkerSlot] = {}
        self._places = count()
        self._rolling = Rolling(around, self._slots, self._add)
        self._tracebacks: set[str] = set()
        self._boot_failed: set[str] = set()
        self.restarts: Counter[str] = Counter()
        """By what made them necessary."""
        for slot, pool, handler in around.config.worker_slots():
            self._add(slot, pool, handler)

    def __iter__(self) -> Iterator[WorkerSlot]:
        """In the order of the configuration; what it no longer names comes last."""
        wanted = [name for name, _, _ in self._around.config.worker_slots()]
        names = dict.fromkeys([*wanted, *self._slots])
        return iter([self._slots[name] for name in names if name in self._slots])

    @property
    def is_alive(self) -> bool:
        return any(slot.is_alive for slot in self)

    @property
    def pids(self) -> set[int]:
        """Of processes that may not have been reaped."""
        return {process.pid for slot in self for process in slot.processes()}

    def start(self) -> None:
        for slot in self:
            slot.start()

    def reap(self) -> None:
        for slot in self:
            slot.reap()

    def reload(self, config: Config) -> None:
        """Follow a new configuration, in which only the workers and what they do is new."""
        self._around.config = config
        self._tracebacks.clear()
        self._rolling.reload()

    def stop(self) -> None:
        """Let everybody finish what they do, then make sure."""
        self._rolling.stop()
        for slot in self:
            slot.stop()

    def kill(self) -> None:
        self._rolling.stop()
        for slot in self:
            slot.kill()

    def find(self, name: str) -> WorkerSlot | None:
        return self._slots.get(name)

    def restart(self, names: Sequence[str]) -> int:
        """Replace these, one at a time in each pool; how many of them were not about to be."""
        return self._rolling.restart(names)

    @property
    def is_reloading(self) -> bool:
        return self._rolling.is_reloading

    def scale(self, config: Config) -> None:
        """Follow a configuration in which only numbers of workers are new."""
        self._around.config = config
        self._rolling.scale()

    def stop_rolling(self) -> None:
        """Replace nobody any more: the end is near."""
        self._rolling.stop()

    def _add(self, name: str, pool: str, handler: str) -> WorkerSlot:
        place = next(self._places)
        slot = self._slots[name] = WorkerSlot(name, pool, handler, place, self._around, self)
        return slot

    def config_for_balancer(self) -> Config:
        """The newest, with the pools of workers that have not gone yet."""
        config = self._around.config
        extra = {slot.pool for slot in self} - {pool.name for pool in config.pools}
        leftover = (Pool(name=name, handler=None) for name in sorted(extra))
        return replace(config, pools=(*config.pools, *leftover))

    # --- the balancer ---------------------------------------------------------------------------

    def orders_at_start(self) -> Iterator[Message]:
        """What a new balancer must know: who is there to be dialed, and who will not come back."""
        known = {slot for slot, _, _ in self._around.config.worker_slots()}
        for slot in self:
            if slot.name not in known and not slot.is_retired:
                yield {"op": "add", "slot": slot.name, "pool": slot.pool}
            yield from slot.orders_at_start()

    def on_balancer_message(self, message: Message) -> None:
        """Pass it on to the process with that very link, if it still has it."""
        slot = self._slots.get(message["slot"])
        process = slot.find(message["incarnation"]) if slot is not None else None
        if slot is None or process is None:
            return
        match message:
            case {"op": "ready"}:
                slot.note_ready(process)
            case {"op": "released"}:
                process.note_released()
            case {"op": "lost", "cause": cause, "request": request}:
                slot.note_lost(process, cause, request)
            case {"op": "hung", "request": request}:
                process.note_hung(request)

    # --- what slots say ---------------------------------------------------------------------------

    def on_boot_failure(self, slot: WorkerSlot, process: WorkerProcess, report: Report) -> None:
        """A handler that could not be set up, in the worker's own words, each told once."""
        is_successor = process is slot.succession.process
        if report["event"] == "unknown_handler" and not slot.was_ever_ready and not is_successor:
            self._fail(report["error"], BAD_CONFIGURATION)
            return
        trace = report.get("traceback", report["error"])
        if trace not in self._tracebacks:
            self._tracebacks.add(trace)
            slot.log(f"cannot start:\n{trace.rstrip()}", "error", event="failed")
        if not is_successor:
            self._boot_failed.add(slot.name)
            self._judge_boot_failure(slot.pool, report["error"])

    def _judge_boot_failure(self, pool: str, error: str) -> None:
        of_pool = [slot for slot in self if slot.pool == pool]
        was_ever_ready = any(slot.was_ever_ready for slot in of_pool)
        if not was_ever_ready and self._boot_failed >= {slot.name for slot in of_pool}:
            self._around.console.release()
            self._fail(f"no worker of pool '{pool}' could start: {error}", POOL_FAILED)

    def on_failed(self, failed: WorkerSlot) -> None:
        if all(slot.has_failed for slot in self if slot.pool == failed.pool):
            self._fail(f"every worker of pool '{failed.pool}' failed: {failed.why}", POOL_FAILED)

    def on_restart(self, ending: Ending) -> None:
        self.restarts[ending] += 1

    def on_worn(self, slot: WorkerSlot) -> None:
        self._rolling.on_worn(slot)

    def on_not_replaced(self, slot: WorkerSlot, trouble: str) -> None:
        self._rolling.on_not_replaced(slot, trouble)

    def on_calm(self, slot: WorkerSlot) -> None:
        self._rolling.on_calm(slot)
