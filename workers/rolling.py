"""Replaces workers while the others serve: those that are worn, and all for a new configuration."""

from collections.abc import Callable, Iterable

from workers.slot import WorkerSlot
from workers.surroundings import Surroundings
from workers.turns import Turns


class Rolling:
    """Starts what takes over, one slot at a time in each pool. ``slots`` is the crew's own table,
    in which ``add`` makes a new slot; nobody fills it yet."""

    def __init__(
        self,
        around: Surroundings,
        slots: dict[str, WorkerSlot],
        add: Callable[[str, str, str], WorkerSlot],
    ) -> None:
        self.is_reloading = False
        self._around = around
        self._slots = slots
        self._add = add
        self._turns = Turns()
        self._owed: dict[str, str] = {}
        """The handlers of the slots that the reload has yet to fill anew."""
        self._asked: set[str] = set()
        """The slots whose restart was asked for by hand and has not begun."""
        self._by_hand: set[str] = set()
        """Those whose restart is under way."""
        self._begun: set[str] = set()
        """The slots whose turn, under way now, is the reload's."""
        self._is_stopped = False

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_stopped = True

    def on_worn(self, slot: WorkerSlot) -> None:
        self._turns.ask(slot.pool, slot.name)
        self._begin_turns()

    def reload(self) -> None:
        """Fill every slot with a process that follows the configuration, which is new; then let go
        what it does not name. Turns that have begun are finished before."""
        config = self._around.config
        self.is_reloading = True
        self._owed = {slot: handler for slot, _, handler in config.worker_slots()}
        for name, pool, handler in config.worker_slots():
            if name not in self._slots:
                self._add(name, pool, handler).is_given_up = True
            if self._slots[name].is_drained:  # and nobody gets ready to fill it
                self._slots[name].handler = self._owed.pop(name)  # whenever it is filled again
            elif not self._slots[name].is_retired:  # else it is added again once it is gone
                self._turns.ask(pool, name)
        self._begin_turns()
        self._end_reload_if_done()

    def restart(self, names: Iterable[str]) -> int:
        """Have these replaced by fresh processes of the same handler; how many of them were not
        about to be."""
        anew = [name for name in names if name not in self._asked | self._by_hand]
        for name in anew:
            self._asked.add(name)
            self._turns.ask(self._slots[name].pool, name)
        self._begin_turns()
        return len(anew)

    def scale(self) -> None:
        """Add the slots that the configuration names anew, retire those that it does not name."""
        wanted = self._around.config.worker_slots()
        for name, pool, handler in wanted:
            if name not in self._slots:
                slot = self._add(name, pool, handler)
                slot.is_given_up = True
                slot.replace(handler, "scaled")
            elif self._slots[name].is_retired:
                self._owed[name] = handler  # filled anew once its last process is gone
        names = {name for name, _, _ in wanted}
        self._owed = {name: handler for name, handler in self._owed.items() if name in names}
        for slot in [slot for slot in self._slots.values() if slot.name not in names]:
            if not slot.is_retired:
                slot.retire()

    def on_not_replaced(self, slot: WorkerSlot, trouble: str) -> None:
        """What was to take over could not start."""
        if self._is_stopped:
            return
        if slot.name in self._begun:
            self._stop_reload(slot, trouble)
            return
        if slot.name in self._by_hand or slot.is_drained or slot.has_failed:
            self._asked.clear()
            slot.log(f"cannot be started anew ({trouble}): nothing else is", "error")
            return
        delay_s = slot.succession.delay_s()
        again = f"trying again in {delay_s:.1f} s"
        slot.log(f"is to be replaced, but its successor cannot start ({trouble}); {again}", "error")
        self._around.loop.after(delay_s, lambda: self.on_worn(slot))

    def on_calm(self, slot: WorkerSlot) -> None:
        """Nobody is about to take over or to leave: the next one may have its turn."""
        if self._is_stopped or not slot.is_calm:
            return
        self._turns.end(slot.name)
        self._begun.discard(slot.name)
        self._by_hand.discard(slot.name)
        if slot.name in self._owed and not slot.is_retired:
            self._turns.ask(slot.pool, slot.name)  # somebody was getting ready when its turn came
        if slot.is_retired and self._slots.get(slot.name) is slot:
            self._forget(slot)
        self._begin_turns()
        self._end_reload_if_done()

    def _forget(self, slot: WorkerSlot) -> None:
        del self._slots[slot.name]
        if slot.name in self._owed:
            anew = self._add(slot.name, slot.pool, self._owed[slot.name])
            anew.is_given_up = True
            anew.incarnation = slot.incarnation  # the balancer may still know the old numbers
            self._turns.ask(slot.pool, slot.name)

    def _begin_turns(self) -> None:
        while not self._is_stopped and (names := list(self._turns.begin())):
            for name in names:
                slot = self._slots.get(name)
                if slot is not None and slot.succession.process is not None:
                    # Fresh enough for a restart; a reload's turn comes again once that is done.
                    self._asked.discard(name)
                    self._turns.end(name)
                    continue
                handler = self._owed.pop(name, None)
                was_asked = name in self._asked
                self._asked.discard(name)
                if slot is None or not self._begin(slot, handler, was_asked=was_asked):
                    self._turns.end(name)

    def _begin(self, slot: WorkerSlot, handler: str | None, *, was_asked: bool) -> bool:
        """Have it replaced if there still is a reason; else False."""
        if slot.is_drained:
            slot.handler = handler or slot.handler  # whenever it is filled again
            return False
        if handler is not None:
            (self._begun if self.is_reloading else self._by_hand).add(slot.name)
            slot.replace(handler, "reload" if self.is_reloading else "scaled")
        elif was_asked:
            self._by_hand.add(slot.name)
            slot.replace(slot.handler, "restart asked for")
        elif slot.present is not None and slot.present.worn:
            slot.replace(slot.handler, slot.present.worn)
        else:
            return False  # somebody else fills it by now
        return True

    def _stop_reload(self, slot: WorkerSlot, trouble: str) -> None:
        self.is_reloading = False
        self._begun.clear()
        leaving = {name for name, other in self._slots.items() if other.is_retired}
        self._owed = {name: handler for name, handler in self._owed.items() if name in leaving}
        self._turns.dismiss()
        for other in self._slots.values():
            if other.is_given_up and other.is_calm and not other.is_drained:
                other.note_failed(f"not started: the reload stopped at {slot.name}")
        for other in self._slots.values():
            if other.present is not None and other.present.worn:
                self._turns.ask(other.pool, other.name)
        self._log(
            f"reload stopped at {slot.name}, whose new process cannot start ({trouble}): "
            "workers that were not replaced yet go on as they are",
            "error",
        )

    def _end_reload_if_done(self) -> None:
        if not self.is_reloading or self._owed or self._begun:
            return
        self.is_reloading = False
        wanted = {name for name, _, _ in self._around.config.worker_slots()}
        unwanted = [slot for slot in self._slots.values() if slot.name not in wanted]
        for slot in unwanted:
            slot.retire()
        retired = f", {len(unwanted)} retired" if unwanted else ""
        self._log(f"reloaded: {len(wanted)} workers follow the new configuration{retired}")

    def _log(self, text: str, level: str = "info") -> None:
        self._around.console.write("cluster", text, level, event="cluster")
