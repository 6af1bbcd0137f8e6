"""The launcher of a simulated world: who lives, who comes back, and who is told of it when."""

from functools import partial

from balancer.core.events import (
    Batching,
    Event,
    Kill,
    SlotAdded,
    SlotRemoved,
    SlotRetired,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
)
from tests.simulation.habits import draw_batching, draw_habit
from tests.simulation.processes import Process
from tests.simulation.scenario import LASTING, Behaviour, Fault, Scenario
from tests.simulation.world import World

_GOES_DOWN = "goes down for good"
_CRASH_LOOP_MAX = 5
"""After so many bad starts a slot has failed for good."""


class Launcher:
    """Starts a process for every slot, and another where one died; adds and removes slots."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self.processes: dict[WorkerId, Process] = {}
        """By every incarnation as which the balancer has known them."""
        self.current: dict[str, Process | None] = {}
        """The slots that exist, with the process that fills each."""
        self.pool_of: dict[str, str] = {}
        self.buried: list[WorkerId] = []
        """Whose death the balancer has been told, or will be before any other news."""
        self._world = world
        self._scenario = scenario
        self._incarnations: dict[str, int] = {}
        self._habits: dict[str, Behaviour | None] = {}
        self._bad_starts: dict[str, int] = {}
        """How often the slot's next process will die at once."""
        self._failed: set[str] = set()
        """The slots to which nobody comes back, ever."""
        self._static: dict[str, bool] = {}
        self._batching: dict[str, Batching] = {}
        self._older: dict[str, Process] = {}
        """Who is to be released when the process that was started beside it is ready."""

    def start(self) -> None:
        for slot, pool in self._scenario.slots:
            self.add_slot(slot, pool)

    def kill(self, order: Kill) -> None:
        lane = self._world.lane(order.worker.slot)
        delay_s = lane.steps_s(0, 1)
        if self.is_drawn(Fault.SLOW_KILL, order.worker.slot, 0.5):
            delay_s = lane.duration_s(0.5, 2.0)
        self._world.faults["killed"] += 1
        process = self.processes[order.worker]
        self._world.later(delay_s, process.die)
        if not process.is_alive and self.current.get(order.worker.slot) is None:
            # Its death is known at last.
            self._world.later(delay_s, partial(self._start, order.worker.slot))

    def tell(self, event: Event) -> None:
        self._world.mail.append(event)

    def is_drawn(self, fault: Fault, slot: str, probability: float) -> bool:
        world = self._world
        if world.is_quiet or fault not in self._scenario.faults:
            return False
        is_drawn = world.lane(slot).chance(probability)
        world.faults[fault] += is_drawn
        return is_drawn

    def is_static(self, slot: str) -> bool:
        """Nobody here starts such a worker or kills it; it is only dialed again."""
        return self._static[slot]

    # --- processes ----------------------------------------------------------------------------

    def _start(self, slot: str) -> None:
        if slot not in self.current or self.current[slot] is not None or slot in self._failed:
            return  # removed meanwhile, or filled again, or given up
        process = self.current[slot] = Process(
            self._world,
            self._scenario,
            self.next_incarnation(slot),
            self.pool_of[slot],
            self._habits[slot],
            self._static[slot],
            self._batching[slot],
            self._on_death,
        )
        self.processes[process.worker] = process
        lane = self._world.lane(slot)
        older = self._older.get(slot)
        is_beside = older is not None and (older.is_alive or lane.chance(0.3))
        self.tell(WorkerConnected(process.worker, beside_older=is_beside))
        if self._bad_starts.get(slot):
            self._bad_starts[slot] -= 1
            self._world.later(lane.steps_s(0, 2), process.die)
        if not self.is_drawn(Fault.STUCK_START, slot, 0.2):
            ready = partial(self.report_ready, process, process.worker)
            self._world.later(lane.steps_s(0, 2), ready)

    def succeed(self, process: Process) -> None:
        """Start its successor; it serves on until that is ready."""
        slot = process.worker.slot
        self._older[slot] = process
        self.current[slot] = None
        self._start(slot)

    def release(self, worker: WorkerId) -> None:
        """The balancer has no use for it any more."""
        process = self.processes[worker]
        if self._older.get(worker.slot) is process:
            del self._older[worker.slot]
        self._world.later(self._world.lane(worker.slot).steps_s(0, 1), process.leave)

    def next_incarnation(self, slot: str) -> WorkerId:
        self._incarnations[slot] = self._incarnations.get(slot, 0) + 1
        return WorkerId(slot, self._incarnations[slot])

    def report_ready(self, process: Process, worker: WorkerId) -> None:
        if not process.hears(worker):
            return
        process.is_ready = True
        event = WorkerReady(worker, process.batching)
        self.tell(event)
        if self.is_drawn(Fault.READY_TWICE, worker.slot, 0.3):
            delay_s = self._world.lane(worker.slot).steps_s(0, 3)
            self._world.later(delay_s, partial(self.tell, event))

    def _on_death(self, process: Process) -> None:
        slot = process.worker.slot
        lane = self._world.lane(slot)
        is_noticed = self._tell_of_death(process)
        if self._older.get(slot) is process and not lane.chance(0.3):
            del self._older[slot]
        if self.current.get(slot) is not process:
            return
        self.current[slot] = None
        if self.is_drawn(Fault.NO_RESTART, slot, 0.2) or (not is_noticed and lane.chance(0.5)):
            return
        delay_s = lane.steps_s(1, 2)
        if self.is_drawn(Fault.SLOW_RESTART, slot, 0.5):
            delay_s = lane.duration_s(0.5, 3.0)
        self._world.later(delay_s, partial(self._start, slot))

    def _tell_of_death(self, process: Process) -> bool:
        """False if the balancer will not be told: it may find out by its clock."""
        slot = process.worker.slot
        if self.is_drawn(Fault.NO_NOTICE, slot, 0.3):
            return False
        delay_s = self._world.lane(slot).steps_s(0, 1)
        if self.is_drawn(Fault.LATE_NOTICE, slot, 0.5):
            delay_s = self._world.lane(slot).duration_s(0.0, 2.0)
        self._world.later(delay_s, partial(self.report_loss, process.worker, "died"))
        return True

    def report_loss(self, worker: WorkerId, cause: str) -> None:
        self.tell(WorkerLost(worker, cause))
        self.buried.append(worker)

    def begin_crash_loop(self, slot: str, times: int) -> None:
        """Its process dies now, and each of the next as soon as it is started."""
        self._bad_starts[slot] = times
        process = self.current.get(slot)
        if process is not None:
            process.die()

    # --- slots --------------------------------------------------------------------------------

    def add_slot(self, slot: str, pool: str) -> None:
        if slot in self.current:
            return
        lane = self._world.lane(slot)
        self.pool_of[slot] = pool
        self.current[slot] = None
        if slot not in self._habits:
            is_quiet = self._world.is_quiet
            self._habits[slot] = None if is_quiet else draw_habit(self._scenario, lane, pool)
            self._static[slot] = self.is_drawn(Fault.STATIC, slot, 0.5)
            is_static = self._static[slot]
            self._batching[slot] = draw_batching(self._scenario, lane, pool, is_static=is_static)
        self.tell(SlotAdded(slot, pool, is_ours=not self._static[slot]))
        self._world.later(lane.steps_s(0, 2), partial(self._start, slot))

    def retire_slot(self, slot: str) -> None:
        """Its process is stopped when it is released; the slot may be added again."""
        world, lane = self._world, self._world.lane(slot)
        self.current.pop(slot)
        self._older.pop(slot, None)
        self.tell(SlotRetired(slot))
        if lane.chance(0.5):
            delay_s = lane.steps_s(0, 4)
            world.later(delay_s, partial(self.add_slot, slot, self.pool_of[slot]))

    def remove_slot(self, slot: str) -> None:
        """Its process finishes what it has in hand, or dies; the slot may be added again."""
        world, lane = self._world, self._world.lane(slot)
        process = self.current.pop(slot)
        older = self._older.pop(slot, None)
        if older is not None:
            older.die()
        self.tell(SlotRemoved(slot))
        if process is not None and lane.chance(0.3):
            world.later(lane.steps_s(0, 2), process.die)
        elif process is not None:
            process.leave()
        if lane.chance(0.5):
            delay_s = lane.steps_s(0, 4)
            world.later(delay_s, partial(self.add_slot, slot, self.pool_of[slot]))

    # --- when no new faults begin -------------------------------------------------------------

    def calm_down(self) -> None:
        """Whoever is down comes back and does as he should; but where the faults are lasting,
        some are bad for ever, and in every pool one is good.
        """
        self._bad_starts.clear()
        self._habits = dict.fromkeys(self._habits)
        for pool in self._scenario.pools:
            slots = [slot for slot in self.current if self.pool_of[slot] == pool]
            if not slots:
                self.add_slot(f"{pool}9", pool)
            for rank, slot in enumerate(slots):
                is_bad = self._scenario.is_lasting and rank > 0
                self._settle(slot, is_bad=is_bad and self._world.lane(slot).chance(0.6))

    def _settle(self, slot: str, *, is_bad: bool) -> None:
        lane, process = self._world.lane(slot), self.current[slot]
        self._habits[slot] = lane.choice(LASTING) if is_bad else None
        if process is not None:
            process.habit = self._habits[slot]
            # A worker of somebody else's is never killed: only he could free it.
            if self._static[slot] and (process.is_busy or not process.is_ready):
                process.die()
        if is_bad and lane.chance(0.3):
            self._world.faults[_GOES_DOWN] += 1
            self._failed.add(slot)
            if lane.chance(0.5) and process is not None:
                process.die()
        elif is_bad and lane.chance(0.3):
            self._world.faults[Fault.CRASH_LOOP] += 1
            self.begin_crash_loop(slot, _CRASH_LOOP_MAX)
        self._world.later(lane.steps_s(1, 3), partial(self._start, slot))
