"""Slips in what is known of workers: file of the core, name of the slip, old text, new text."""

from tests.mutants.table_of_requests import Slips

WORKERS: dict[str, Slips] = {
    "workers.py": {
        "an ejection ends without anybody hearing of it": (
            "        self._pools.move(member, Signal.READMITTED)\n"
            "        self._placing.place_all(now)",
            "        self._pools.move(member, Signal.READMITTED)",
        ),
        "a timeout leaves those who wait where they are": (
            "            self._placing.fail_try(request, member, Why.TIMEOUT, now)\n"
            "        self._placing.must_place_all = True\n",
            "            self._placing.fail_try(request, member, Why.TIMEOUT, now)\n",
        ),
        "a late good reply clears the record": (
            "elif outcomes & _GOOD and not is_late:",
            "elif outcomes & _GOOD:",
        ),
        "who refused in time is asked again": (
            "        if request is not None:\n            request.excluded",
            "        if request is not None and reply.outcome is not Outcome.EXPIRED:\n"
            "            request.excluded",
        ),
        "an empty reply does not exclude the slot": (
            "        if request is not None:\n            request.excluded",
            "        if request is not None and reply.outcome is not Outcome.EMPTY:\n"
            "            request.excluded",
        ),
        "a late bad reply fails the try of another": (
            "        if request is not None and request.worker == member.worker:\n            why",
            "        if request is not None and request.worker is not None:\n            why",
        ),
        "a reply does not stop its timeout": (
            "        if held is None:\n            return\n        if now < held.expires_at:",
            "        held = held or Held((), now, now, self.limits, False)\n"
            "        if now < held.expires_at:",
        ),
        "a ready worker is still waited for": (
            "        self._deadlines.cancel(member.alarm)\n"
            "        member.alarm = None\n        member.batching",
            "        member.batching",
        ),
        "a busy retired worker is never released": (
            "        if member.state is _DOWN:\n            self._release(member)\n",
            "        if member.state is State.OVERDUE:\n            self._release(member)\n",
        ),
        "an idle retired worker is not released": (
            "        else:\n            self._release(member)\n\n    def _release",
            "\n    def _release",
        ),
        "a death is not told to those who wait": (
            "            self._promote(event.worker.slot)\n"
            "            self._placing.place_all(now)\n"
            "\n"
            "    def slot_removed",
            "            self._promote(event.worker.slot)\n\n    def slot_removed",
        ),
        "a removed slot's request is forgotten": (
            "        for member in self._pools.remove(slot):\n"
            "            self._lose(member, Why.DIED, now)",
            "        for member in self._pools.remove(slot):\n"
            "            self._pools.move(member, Signal.LOST)",
        ),
        "a retired worker is lost with its request": (
            "        for member in self._pools.remove(slot):\n            self._retire(member)",
            "        for member in self._pools.remove(slot):\n"
            "            self._lose(member, Why.DIED, now)",
        ),
        "a successor does not retire the older one": (
            "        if older is not None:\n            self._retire(older)",
            "        if older is not None and older.held is None:\n            self._retire(older)",
        ),
        "a successor does not get the slot of the dead": (
            "            if newest is not None:\n                self._pools.succeed(newest)",
            "            if newest is not None and newest.held is not None:\n"
            "                self._pools.succeed(newest)",
        ),
        "a new process leaves the older one's try open": (
            "                self._lose(older, Why.DIED, now)\n            self._pools.fill",
            "                self._pools.move(older, Signal.LOST) if older.held is None else"
            " self._lose(older, Why.UNDELIVERED, now)\n            self._pools.fill",
        ),
        "nobody looks after a starting worker": (
            "        if member.is_ours:\n            patience_s",
            "        if not member.is_ours:\n            patience_s",
        ),
        "a death gives its request a wrong reason": (
            "Why.UNDELIVERED if event.undelivered else Why.DIED",
            "Why.DIED",
        ),
        "a late reply is never the answer": (
            "            if request is not None and reply.outcome is _ANSWER:\n",
            "            if request is not None and reply.outcome is _ANSWER"
            " and request.worker == worker:\n",
        ),
        "a late worker is free, and those who wait do not hear of it": (
            "if member.state is _IDLE and not is_late and not held.is_last_resort:",
            "if member.state is _IDLE and not held.is_last_resort:",
        ),
        "a last resort serves its own pool alone": (
            "if member.state is _IDLE and not is_late and not held.is_last_resort:",
            "if member.state is _IDLE and not is_late:",
        ),
        "a good reply leaves the record as it is": (
            "            member.bad_tries = member.ejections = 0\n",
            "            member.ejections = 0\n",
        ),
        "each ejection is as long as the first": (
            "            member.ejections += 1\n",
            "            member.ejections += 0\n",
        ),
        "a short try counts against the worker": (
            "        member.bad_tries += held.is_full\n",
            "        member.bad_tries += 1\n",
        ),
        "ejections have no cap": (
            "min(self.limits.ejection_max_s, first_s * factor)",
            "first_s * factor",
        ),
        "a hanging static worker is killed": (
            "        if member.is_ours:\n            # If we see it late",
            "        if held.is_full:\n            # If we see it late",
        ),
        "a pause of ours costs the worker its last chance": (
            "held.alarm = self._deadlines.set(held.give_up_at + late_s,",
            "held.alarm = self._deadlines.set(held.give_up_at,",
        ),
        "a killed worker is not said to be": (
            "        requests = held.requests if held is not None else ()\n"
            "        self._actions.append(Kill(event.worker, requests))\n",
            "",
        ),
    },
    "pool.py": {
        "a client's impatience kills workers": (
            "return max(self.expires_at, self._patience_ends_at) + self",
            "return self.expires_at + self",
        ),
        "the ejected are not counted back": (
            "(state is State.EJECTED) - (before is State.EJECTED)",
            "state is State.EJECTED",
        ),
        "a successor keeps the older one's place among the idle": (
            "            del idle[member.slot]\n            if state is _BUSY:\n",
            "            if state is not _BUSY:\n                del idle[member.slot]\n"
            "            if state is _BUSY:\n",
        ),
        "news of an older incarnation is believed": (
            "worker.incarnation <= self._newest.get(worker.slot, 0):",
            "worker.incarnation < self._newest.get(worker.slot, 0):",
        ),
        "a successor that was killed is forgotten": (
            "        self._newest[worker.slot] = worker.incarnation\n",
            "        if member is self._members.get(worker.slot):\n"
            "            self._newest[worker.slot] = worker.incarnation\n",
        ),
        "any incarnation is the one in the slot": (
            "Member | None] = self._up.get",
            "Member | None] = lambda worker: self._members.get(worker.slot)",
        ),
        "an overdue worker is taken for dead": (
            "self._in_state(State.OVERDUE, State.CONNECTING)",
            "self._in_state(State.CONNECTING)",
        ),
        "who comes back is still said to be away": (
            "        pool.note_change()\n        pool.serving +=",
            "        pool.serving +=",
        ),
        "who is new is not said to be away": (
            "            pool.note_change()\n",
            "",
        ),
        "who is forgotten is still said to be away": (
            "        member.pool.note_change()\n",
            "",
        ),
        "who has taken a place is not said to have": (
            "        older.pool.note_change()\n",
            "",
        ),
        "who is overdue counts as serving": (
            "_SERVING = {State.IDLE, State.BUSY}",
            "_SERVING = {State.IDLE, State.BUSY, State.OVERDUE}",
        ),
        "a new process keeps the old record": (
            "        self.bad_tries = 0\n",
            "        self.bad_tries = getattr(self, 'bad_tries', 0)\n",
        ),
        "the order of the pools does not change": (
            "dict.fromkeys([*names, *self._pools])",
            "dict.fromkeys([*self._pools, *names])",
        ),
        "who is called idle last is asked first": (
            "            idle[member.slot] = member\n",
            "            idle = member.pool.idle = {member.slot: member, **idle}\n",
        ),
    },
    "deadlines.py": {
        "a deadline stays behind when its request is over": (
            "requests[0][1] not in self._open_requests:",
            "requests[0][1] is None:",
        ),
        "equal dates come out last first": (
            "(when, self._order, alarm)",
            "(when, -self._order, alarm)",
        ),
        "the order of dates depends on where they lie in memory": (
            "(when, self._order, alarm)",
            "(when, id(alarm), alarm)",
        ),
        "tidying forgets the order": (
            "            heapify(self._heap)\n",
            "            self._heap.reverse()\n",
        ),
        "a date is due a moment too late": (
            "if when is None or when > now:",
            "if when is None or when >= now:",
        ),
        "all are cancelled but the first": (
            "        alarm.event = None\n        self._cancelled += 1\n",
            "        self._cancelled += 1\n",
        ),
    },
    "dispatcher.py": {
        "drained while something is open": (
            "return self._requests.is_draining and not self._requests",
            "return self._requests.is_draining and not self.queue",
        ),
        "a client's leaving ends its first request alone": (
            "            self._requests.drop(request)\n",
            "            self._requests.drop(request)\n            break\n",
        ),
        "a second drain is not more patient, but twice": (
            "        self._deadlines.cancel(self._drain_alarm)\n",
            "",
        ),
        "a drain that runs out leaves one behind": (
            "for request in self._requests.all():",
            "for request in self._requests.all()[1:]:",
        ),
        "actions come out twice": (
            "        self._actions.clear()\n        return actions\n\n    def expire",
            "        return actions\n\n    def expire",
        ),
        "new limits are known to requests alone": (
            "        self._workers.limits = event.limits\n",
            "",
        ),
    },
}
