"""The launcher and the links of a simulated world: who lives, and when the balancer hears of it."""

from functools import partial

from balancer.core.events import (
    Event,
    Forward,
    Kill,
    Outcome,
    ReplyArrived,
    RequestId,
    SlotAdded,
    SlotRemoved,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
    WorkerReply,
)
from tests.simulation.processes import Process, value_of
from tests.simulation.scenario import Behaviour, Fault, Scenario
from tests.simulation.world import World


class Launcher:
    """Starts a process for every slot, and another where one died; adds and removes slots."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self._world = world
        self._scenario = scenario
        self._pool_of: dict[str, str] = {}
        self._current: dict[str, Process | None] = {}
        """The slots that exist, with the process that fills each."""
        self._incarnations: dict[str, int] = {}
        self._habits: dict[str, Behaviour | None] = {}
        self._processes: dict[WorkerId, Process] = {}
        self._buried: list[WorkerId] = []
        """Whose death the balancer has been told, or will be before any other news."""

    def start(self) -> None:
        world, scenario = self._world, self._scenario
        for slot, pool in scenario.slots:
            self._add_slot(slot, pool)
        for fault, happening in (
            (Fault.CRASH, self._crash_somebody),
            (Fault.SLOT_REMOVED, self._remove_some_slot),
            (Fault.SLOT_ADDED, self._add_new_slot),
            (Fault.STALE_EVENT, self._repeat_old_news),
            (Fault.STALE_EVENT, self._repeat_old_news),
        ):
            if fault in scenario.faults:
                for _ in range(world.dice.randint(1, 4)):
                    world.later(world.duration_s(0.0, scenario.period_s), happening)

    # --- links --------------------------------------------------------------------------------

    def forward(self, task: Forward) -> None:
        process = self._processes[task.worker]
        if process.is_alive:
            self._world.later(self._world.steps_s(0, 1), partial(process.deliver, task))
        elif self._is_drawn(Fault.LOST_TASK, 0.5):
            pass  # the link has not noticed yet: the bytes are gone, the notice will come
        else:
            self._world.faults["undelivered"] += 1
            self._tell(WorkerLost(task.worker, "gone", undelivered=True))

    def kill(self, order: Kill) -> None:
        delay_s = self._world.steps_s(0, 1)
        if self._is_drawn(Fault.SLOW_KILL, 0.5):
            delay_s = self._world.duration_s(0.5, 2.0)
        self._world.faults["killed"] += 1
        self._world.later(delay_s, self._processes[order.worker].die)

    def _tell(self, event: Event) -> None:
        self._world.mail.append(event)

    def _is_drawn(self, fault: Fault, probability: float) -> bool:
        world = self._world
        if world.is_quiet or fault not in self._scenario.faults or not world.chance(probability):
            return False
        world.faults[fault] += 1
        return True

    # --- processes ----------------------------------------------------------------------------

    def _start(self, slot: str) -> None:
        if slot not in self._current or self._current[slot] is not None:
            return  # removed meanwhile, or removed and filled again
        world = self._world
        incarnation = self._incarnations[slot] = self._incarnations.get(slot, 0) + 1
        process = self._current[slot] = Process(
            world,
            self._scenario,
            WorkerId(slot, incarnation),
            self._pool_of[slot],
            self._habits[slot],
            self._on_death,
        )
        self._processes[process.worker] = process
        self._tell(WorkerConnected(process.worker))
        if not self._is_drawn(Fault.STUCK_START, 0.2):
            world.later(world.steps_s(0, 2), partial(self._report_ready, process))

    def _report_ready(self, process: Process) -> None:
        if process.is_alive:
            process.is_ready = True
            self._tell(WorkerReady(process.worker))

    def _on_death(self, process: Process) -> None:
        world, slot = self._world, process.worker.slot
        delay_s = world.steps_s(0, 1)
        if self._is_drawn(Fault.LATE_NOTICE, 0.5):
            delay_s = world.duration_s(0.0, 2.0)
        world.later(delay_s, partial(self._report_death, process.worker))
        if self._current.get(slot) is not process:
            return
        self._current[slot] = None
        if self._is_drawn(Fault.NO_RESTART, 0.2):
            return
        is_slow = self._is_drawn(Fault.SLOW_RESTART, 0.5)
        delay_s = world.duration_s(0.5, 3.0) if is_slow else world.steps_s(1, 2)
        world.later(delay_s, partial(self._start, slot))

    def _report_death(self, worker: WorkerId) -> None:
        self._tell(WorkerLost(worker, "died"))
        self._buried.append(worker)

    def _crash_somebody(self) -> None:
        alive = [process for process in self._current.values() if process is not None]
        if alive:
            self._world.faults[Fault.CRASH] += 1
            self._world.dice.choice(alive).die()

    # --- slots --------------------------------------------------------------------------------

    def _add_slot(self, slot: str, pool: str) -> None:
        if slot in self._current:
            return
        self._pool_of[slot] = pool
        self._current[slot] = None
        if slot not in self._habits:
            self._habits[slot] = self._draw_habit(pool)
        self._tell(SlotAdded(slot, pool))
        self._world.later(self._world.steps_s(0, 2), partial(self._start, slot))

    def _draw_habit(self, pool: str) -> Behaviour | None:
        behaviours = self._scenario.behaviours
        if pool == self._scenario.slow_pool:
            return Behaviour.NEAR_TIMEOUT
        if behaviours and self._world.chance(0.2):
            return self._world.dice.choice(behaviours)
        return None

    def _add_new_slot(self) -> None:
        self._world.faults[Fault.SLOT_ADDED] += 1
        pool = self._world.dice.choice(self._scenario.pools)
        self._add_slot(f"{pool}{len(self._pool_of) + 10}", pool)

    def _remove_some_slot(self) -> None:
        """Its process finishes what it has in hand, or dies; the slot may be added again."""
        world = self._world
        if not self._current:
            return
        world.faults[Fault.SLOT_REMOVED] += 1
        slot = world.dice.choice(list(self._current))
        process = self._current.pop(slot)
        self._tell(SlotRemoved(slot))
        if process is not None and world.chance(0.7):
            process.leave()
        elif process is not None:
            world.later(world.steps_s(0, 2), process.die)
        if world.chance(0.5):
            world.later(world.steps_s(0, 4), partial(self._add_slot, slot, self._pool_of[slot]))

    # --- news that are none -------------------------------------------------------------------

    def _repeat_old_news(self) -> None:
        """What the balancer has heard already, or what is not true any more."""
        dice = self._world.dice
        alive = [p.worker for p in self._current.values() if p is not None and p.is_ready]
        if self._buried and self._world.chance(0.5):
            news = _news_of_the_dead(dice.choice(self._buried))
        elif alive:
            worker = dice.choice(alive)
            slot_added = SlotAdded(worker.slot, self._pool_of[worker.slot])
            news = [slot_added, WorkerConnected(worker), WorkerReady(worker)]
        else:
            return
        self._world.faults[Fault.STALE_EVENT] += 1
        self._tell(dice.choice(news))


def _news_of_the_dead(worker: WorkerId) -> list[Event]:
    stale_reply = WorkerReply(Outcome.ANSWER, value=value_of(RequestId(0), worker))
    return [
        WorkerReady(worker),
        WorkerLost(worker, "again"),
        WorkerLost(worker, "again", undelivered=True),
        ReplyArrived(worker, stale_reply),
    ]
