"""Slips in where a request goes: file of the core, name of the slip, old text, new text."""

from tests.mutants.table_of_requests import Slips

PLACING: dict[str, Slips] = {
    "arrivals.py": {
        "who came together with others waits though somebody is free": (
            "            if pool is not choice:\n                placing.serve_all(pool, now)\n",
            "",
        ),
        "those that came together wait beyond the limit": (
            "placing.those_with_room(left) if",
            "left if",
        ),
        "a last resort is taken for one that is free": (
            " and choice.state is _IDLE:",
            ":",
        ),
    },
    "placing.py": {
        "who joins a line waits without a date": (
            "if has_timeout or request.grace_alarm is not None:",
            "if request.grace_alarm is not None:",
        ),
        "a failed try strands its request": (
            "            self.place(request, now, is_joining=True)\n\n\ndef _costs_budget",
            "            self._queue.add(request, member.pool)\n\n\ndef _costs_budget",
        ),
        "whoever waits stays where he was when a worker comes": (
            "        for request in self._queue.take_all():\n            self.place(request, now)",
            "        self._deadlines.next()",
        ),
        "a free worker takes one request and no more": (
            "        while member.state is _IDLE:\n            if limits",
            "        while not queue.size_bytes:\n            if limits",
        ),
        "the end of a suspect's try is no news to the next suspect": (
            "if self._suspects.waiting and not line_only:\n",
            "if self._suspects.waiting and member.state is not State.IDLE:\n",
        ),
        "who waits behind a suspect waits for it": (
            "            if request.id in self._queue and self._may_go(request, pool, now):\n",
            "            if request.gives_way and self._may_go(request, pool, now):\n",
        ),
        "a suspect whose patience begins anew keeps its place": (
            "                if other.id in self._queue:\n",
            "                if other.id not in self._queue:\n",
        ),
        "what was seen of a pool is believed for ever": (
            "        if not pool.idle:\n            return\n        self._suspects.look_anew()\n",
            "        if not pool.idle:\n            return\n",
        ),
        "what was seen of a pool is believed when all are placed": (
            "        self.must_place_all = False\n        self._suspects.look_anew()\n",
            "        self.must_place_all = False\n",
        ),
        "a group may hold one more than the queue": (
            "places = limits.queue_limit - len(queue.places)\n",
            "places = limits.queue_limit - len(queue.places) + 1\n",
        ),
        "a group's bytes have no bound": (
            "            if size_bytes > limits.queue_limit_bytes:\n"
            "                break\n"
            "            fitting",
            "            fitting",
        ),
        "the queue may hold one more": (
            "len(queue) < limits.queue_limit + extra",
            "len(queue) <= limits.queue_limit + extra",
        ),
        "the queue's bytes are not counted": (
            "size_bytes = queue.size_bytes + request.size_bytes",
            "size_bytes = request.size_bytes",
        ),
        "a failed try has no extra room": (
            "extra = len(self._pools) * limits.batch_max if request.attempts else 0",
            "extra = 0",
        ),
        "a try may outlive its request": (
            "            if deadline < expires_at:\n                expires_at = deadline\n",
            "",
        ),
        "a try begins when its time is over": (
            "        if request.deadline - now < self.limits.try_start_min_s:\n",
            "        if request.deadline < now:\n",
        ),
        "poison is never stopped": (
            "elif request.strikes >= self.limits.strikes:",
            "elif request.strikes > self.limits.strikes:",
        ),
        "replicas are asked after an empty reply": (
            "if why is Why.EMPTY and self.limits.on_empty_next_pool:",
            "if why is Why.GARBLED and self.limits.on_empty_next_pool:",
        ),
        "the retry budget is not asked": (
            "elif _costs_budget(request, why) and not self._budget.spend(now, len(self._pools)):",
            "elif not _costs_budget(request, why) and why is Why.TIMEOUT:",
        ),
        "a first death costs budget": (
            "(why is Why.DIED and request.strikes > 1)",
            "why is Why.DIED",
        ),
        "a grace is not ended when somebody is alive": (
            "                self._deadlines.cancel(request.grace_alarm)\n"
            "                request.grace_alarm = None\n",
            "                request.grace_alarm = request.grace_alarm\n",
        ),
        "a grace begins anew with every event": (
            "        elif request.grace_alarm is None:\n",
            "        else:\n            self._deadlines.cancel(request.grace_alarm)\n",
        ),
        "a queue timeout goes on during the try": (
            "                self._deadlines.cancel(request.queue_alarm)\n"
            "                self._deadlines.cancel(request.grace_alarm)\n"
            "                request.queue_alarm",
            "                self._deadlines.cancel(request.grace_alarm)\n"
            "                request.queue_alarm",
        ),
    },
}
