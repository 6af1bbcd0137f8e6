"""What goes wrong in a simulated world at some moment or other, and the links that carry it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from balancer.core.events import (
    Batching,
    BatchReplied,
    Event,
    Outcome,
    Reconfigured,
    ReplyArrived,
    RequestId,
    SlotAdded,
    WorkerConnected,
    WorkerId,
    WorkerLost,
    WorkerReady,
    WorkerReply,
)
from tests.simulation.launcher import Launcher
from tests.simulation.processes import Process
from tests.simulation.scenario import Fault, Scenario, draw_limits
from tests.simulation.tasks import Task, belongs_to, value_of
from tests.simulation.world import World

_HEARTBEAT_TIMEOUT_S = 1.5


class Troubles:
    """Each has its time and its victim on the tape of its own."""

    def __init__(self, world: World, scenario: Scenario, launcher: Launcher) -> None:
        self._world = world
        self._scenario = scenario
        self._launcher = launcher

    def start(self) -> None:
        kinds: dict[Fault, Callable[[int], bool]] = {
            Fault.CRASH: self._crash,
            Fault.CRASH_LOOP: self._crash_loop,
            Fault.FROZEN: self._freeze,
            Fault.LINK_LOST: self._lose_link,
            Fault.SLOT_REMOVED: self._remove_slot,
            Fault.SLOT_ADDED: self._add_slot,
            Fault.SLOT_RETIRED: self._retire_slot,
            Fault.SUCCESSOR: self._succeed,
            Fault.RECONFIGURED: self._reconfigure,
            Fault.STALE_EVENT: self._repeat_old_news,
        }
        lane = self._world.lane("troubles")
        for fault, happening in kinds.items():
            if fault in self._scenario.faults:
                for _ in lane.repeat(0, 6):
                    at_s = lane.duration_s(0.0, self._scenario.period_s)
                    self._world.later(at_s, partial(self._happen, fault, happening, lane.below(60)))

    def _happen(self, fault: Fault, happening: Callable[[int], bool], pick: int) -> None:
        self._world.faults[fault] += happening(pick)

    def _victim(self, pick: int) -> Process | None:
        alive = [process for process in self._launcher.current.values() if process is not None]
        return alive[pick % len(alive)] if alive else None

    # --- processes and their links ------------------------------------------------------------

    def _crash(self, pick: int) -> bool:
        process = self._victim(pick)
        if process is not None:
            process.die()
        return process is not None

    def _crash_loop(self, pick: int) -> bool:
        process = self._victim(pick)
        if process is not None:
            times = self._world.lane(process.worker.slot).between(1, 6)
            self._launcher.begin_crash_loop(process.worker.slot, times)
        return process is not None

    def _freeze(self, pick: int) -> bool:
        process = self._victim(pick)
        if process is None:
            return False
        lane = self._world.lane(process.worker.slot)
        process.freeze(lane.choice((0.5, 1.0, 2.0, 4.0)))
        if lane.chance(0.5):
            missed = partial(self._miss_heartbeats, process, process.worker)
            self._world.later(_HEARTBEAT_TIMEOUT_S, missed)
        return True

    def _miss_heartbeats(self, process: Process, worker: WorkerId) -> None:
        if not process.is_frozen or not process.hears(worker):
            return
        self._world.faults["heartbeat missed"] += 1
        if self._launcher.is_static(worker.slot):
            self._relink(process, is_told=True)
            return
        process.is_cut_off = True
        self._launcher.report_loss(worker, "heartbeat")
        self._world.later(self._world.lane(worker.slot).steps_s(0, 4), process.die)

    def _lose_link(self, pick: int) -> bool:
        process = self._victim(pick)
        if process is None or not process.is_ready or process.is_cut_off:
            return False
        self._relink(process, is_told=not self._world.lane(process.worker.slot).chance(0.3))
        return True

    def _relink(self, process: Process, *, is_told: bool) -> None:
        """The process lives and may go on with its task; its reply will reach nobody."""
        launcher, old = self._launcher, process.worker
        if is_told:
            launcher.report_loss(old, "connection lost")
        process.relink(launcher.next_incarnation(old.slot))
        launcher.processes[process.worker] = process
        redial = partial(self._redial, process, process.worker)
        self._world.later(self._world.lane(old.slot).steps_s(0, 3), redial)

    def _redial(self, process: Process, worker: WorkerId) -> None:
        launcher = self._launcher
        if process.is_alive and launcher.current.get(worker.slot) is process:
            launcher.tell(WorkerConnected(worker))
            process.answer_ping(partial(launcher.report_ready, process, worker))

    # --- slots --------------------------------------------------------------------------------

    def _add_slot(self, pick: int) -> bool:
        pool = self._scenario.pools[pick % len(self._scenario.pools)]
        self._launcher.add_slot(f"{pool}{10 + pick % 7}", pool)
        return True

    def _remove_slot(self, pick: int) -> bool:
        slots = list(self._launcher.current)
        if slots:
            self._launcher.remove_slot(slots[pick % len(slots)])
        return bool(slots)

    def _retire_slot(self, pick: int) -> bool:
        slots = list(self._launcher.current)
        if slots:
            self._launcher.retire_slot(slots[pick % len(slots)])
        return bool(slots)

    def _succeed(self, pick: int) -> bool:
        process = self._victim(pick)
        if process is None or not process.is_ready or self._launcher.is_static(process.worker.slot):
            return False
        self._launcher.succeed(process)
        return True

    def _reconfigure(self, pick: int) -> bool:
        scenario, lane = self._scenario, self._world.lane("configuration")
        limits = draw_limits(lane, is_lasting=scenario.is_lasting)
        # Seconds that are forgotten do not come back: a window is not compared with another.
        limits = replace(limits, retry_budget_window_s=scenario.limits.retry_budget_window_s)
        pools = list(scenario.pools)
        order = tuple(pools.pop(pick % len(pools)) for _ in scenario.pools)
        self._launcher.tell(Reconfigured(limits, order))
        return True

    # --- news that are none -------------------------------------------------------------------

    def _repeat_old_news(self, pick: int) -> bool:
        """What the balancer has heard already, or what is not true any more."""
        launcher = self._launcher
        alive = [p for p in launcher.current.values() if p is not None and p.is_ready]
        if launcher.buried and pick % 2:
            news = _news_of_the_dead(launcher.buried[pick // 8 % len(launcher.buried)])
        elif alive:
            worker = alive[pick // 8 % len(alive)].worker
            is_ours = not launcher.is_static(worker.slot)
            slot_added = SlotAdded(worker.slot, launcher.pool_of[worker.slot], is_ours)
            # Only the first time is it asked what it does with a batch.
            news = [slot_added, WorkerConnected(worker), WorkerReady(worker, Batching.WHOLE)]
        else:
            return False
        launcher.tell(news[pick // 2 % len(news)])
        return True


def _news_of_the_dead(worker: WorkerId) -> list[Event]:
    stale_reply = WorkerReply(Outcome.ANSWER, value=value_of(RequestId(0), worker))
    return [
        WorkerReady(worker, Batching.EACH),
        WorkerLost(worker, "again"),
        WorkerLost(worker, "again", undelivered=True),
        ReplyArrived(worker, stale_reply),
        BatchReplied(worker, (stale_reply, stale_reply)),
    ]


class Links:
    """The balancer's ends of the links: what leaves, and what is heard."""

    def __init__(self, world: World, launcher: Launcher) -> None:
        self._world = world
        self._launcher = launcher
        self._awaited: dict[WorkerId, Task] = {}

    def forward(self, task: Task) -> None:
        process, lane = self._launcher.processes[task.worker], self._world.lane(task.worker.slot)
        self._awaited[task.worker] = task
        if process.hears(task.worker):
            self._world.later(lane.steps_s(0, 1), partial(process.deliver, task))
        elif self._launcher.is_drawn(Fault.LOST_TASK, task.worker.slot, 0.5):
            pass  # the link has not noticed yet: the bytes are gone, the notice will come
        else:
            self._world.faults["undelivered"] += 1
            self._launcher.tell(WorkerLost(task.worker, "gone", undelivered=True))

    def is_heard(self, event: Event) -> bool:
        """A strict socket throws away whatever came before its latest request was sent."""
        if isinstance(event, WorkerLost):
            self._awaited.pop(event.worker, None)
        if not isinstance(event, ReplyArrived | BatchReplied):
            return True
        task = self._awaited.get(event.worker)
        if task is not None and not belongs_to(event, task):
            return False
        self._awaited.pop(event.worker, None)
        return True
