"""Slips in what becomes of requests: file of the core, name of the slip, old text, new text."""

Slips = dict[str, tuple[str, str]]

REQUESTS: dict[str, Slips] = {
    "requests.py": {
        "a failed try strands its request": (
            "            self._place(request, now, is_joining=True)\n\n    def _note_failed_try",
            "            self.queue.add(request, member.pool)\n\n    def _note_failed_try",
        ),
        "whoever waits stays where he was when a worker comes": (
            "        for request in self.queue.take_all():\n            self._place(request, now)",
            "        self._deadlines.next()",
        ),
        "a free worker takes one request and no more": (
            "        while member.state is State.IDLE:\n            request = self.queue",
            "        while not self.queue.size_bytes:\n            request = self.queue",
        ),
        "the end of a suspect's try is no news to the next suspect": (
            "        if self._suspects.are_waiting:\n",
            "        if self._suspects.are_waiting and member.state is not State.IDLE:\n",
        ),
        "a deadline stays behind when its request is over": (
            "        for alarm in request.alarms():\n            self._deadlines.cancel(alarm)",
            "        self._deadlines.cancel(request.queue_alarm)",
        ),
        "the queue may hold one more": (
            "len(queue) < limits.queue_limit + extra",
            "len(queue) <= limits.queue_limit + extra",
        ),
        "the queue's bytes are not counted": (
            "            and queue.size_bytes + request.size_bytes\n",
            "            and request.size_bytes\n",
        ),
        "a failed try has no extra room": (
            "extra = len(self._pools) if request.attempts else 0",
            "extra = 0",
        ),
        "a client may have one more": (
            "len(self._clients.get(event.client, ())) >= self.limits.client_limit",
            "len(self._clients.get(event.client, ())) > self.limits.client_limit",
        ),
        "a drain takes newcomers": ("        if is_draining:\n", "        if is_draining and 0:\n"),
        "a body may be one byte too large": (
            "event.size_bytes > self.limits.max_body_bytes",
            "event.size_bytes > self.limits.max_body_bytes + 1",
        ),
        "a client may ask for any time": (
            "now + min(timeout_s, limits.deadline_max_s)",
            "now + timeout_s",
        ),
        "a client that leaves takes the once name along": (
            "request.may_have_run or was_trying",
            "request.may_have_run",
        ),
        "a refused once name stays known": (
            "has_run = signal is Signal.ANSWERED or request.may_have_run or was_trying",
            "has_run = True",
        ),
        "a try may outlive its request": (
            "expires_at = min(request.deadline, now + request.try_timeout_s)",
            "expires_at = now + request.try_timeout_s",
        ),
        "a try begins when its time is over": (
            "if remaining_s < self.limits.try_start_min_s:",
            "if remaining_s < 0:",
        ),
        "a client's impatience kills workers": (
            "give_up_at = max(expires_at, patience_ends_at) + self.limits",
            "give_up_at = expires_at + self.limits",
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
        "exhausted and no_workers are mixed up": (
            "Reason.EXHAUSTED if request.attempts else Reason.NO_WORKERS",
            "Reason.EXHAUSTED if request.tried or request.once else Reason.NO_WORKERS",
        ),
        "a try cut short is left out of the list": (
            "self._note_failed_try(request, worker, Why.TIMEOUT, took_s)",
            "request.may_have_run = True",
        ),
        "a grace is not ended when somebody is alive": (
            "            self._deadlines.cancel(request.grace_alarm)\n"
            "            request.grace_alarm = None\n",
            "            request.grace_alarm = request.grace_alarm\n",
        ),
        "a grace begins anew with every event": (
            "        elif request.grace_alarm is None:\n",
            "        else:\n            self._deadlines.cancel(request.grace_alarm)\n",
        ),
        "a queue timeout goes on during the try": (
            "        self._deadlines.cancel(request.queue_alarm)\n"
            "        self._deadlines.cancel(request.grace_alarm)\n",
            "        self._deadlines.cancel(request.grace_alarm)\n",
        ),
    },
    "once.py": {
        "a once name is not remembered": (
            "        self._names[name] = request\n",
            "        self._names.pop(name, None)\n",
        ),
        "anybody's end makes a once name forgotten": (
            "and self._names.get(request.name) == request.id:",
            "and request.name in self._names:",
        ),
    },
    "suspects.py": {
        "a suspect goes beside another": (
            "        self._open[request.id] = request\n",
            "        self._open.pop(request.id, None)\n",
        ),
        "a suspect gives way for ever": (
            "        request.gives_way = now < last_chance_at\n",
            "        request.gives_way = True\n",
        ),
        "a suspect leaves no time for its try": (
            "        if request.deadline - request.try_timeout_s > now:\n",
            "        if request.deadline > now:\n",
        ),
        "a suspect waits behind all for ever": (
            "        request.waits_last = False\n",
            "        request.waits_last = True\n",
        ),
        "a suspect's patience does not begin anew": (
            "        for request in self._waiting.values():\n",
            "        for request in []:\n",
        ),
        "a suspect does not wait for those who are away": (
            "return troubled >= max(1, len(pool.members) // SHARE)",
            "return troubled > max(1, len(pool.members) // SHARE)",
        ),
    },
    "lifecycle.py": {
        "an empty reply does not exclude the slot": (
            "EXCLUDES_SLOT = {Why.EMPTY, Why.GARBLED, Why.TIMEOUT}",
            "EXCLUDES_SLOT = {Why.GARBLED, Why.TIMEOUT}",
        ),
        "a death excludes the slot": (
            "EXCLUDES_SLOT = {Why.EMPTY, Why.GARBLED, Why.TIMEOUT}",
            "EXCLUDES_SLOT = {Why.EMPTY, Why.GARBLED, Why.TIMEOUT, Why.DIED}",
        ),
        "once is sent again after a death": (
            "SAFE_FOR_ONCE = {Why.UNDELIVERED, Why.EMPTY}",
            "SAFE_FOR_ONCE = {Why.UNDELIVERED, Why.EMPTY, Why.DIED}",
        ),
        "once ends after an empty reply": (
            "SAFE_FOR_ONCE = {Why.UNDELIVERED, Why.EMPTY}",
            "SAFE_FOR_ONCE = {Why.UNDELIVERED}",
        ),
        "a garbled reply hides that it ran": (
            "MAY_HAVE_RUN = {Why.GARBLED, Why.TIMEOUT, Why.DIED}",
            "MAY_HAVE_RUN = {Why.TIMEOUT, Why.DIED}",
        ),
        "a timeout is no strike": (
            "STRIKES = {Why.TIMEOUT, Why.DIED}",
            "STRIKES = {Why.DIED}",
        ),
        "a death in a request's past is forgotten": (
            "self.may_have_run = self.may_have_run or why in MAY_HAVE_RUN",
            "self.may_have_run = why in MAY_HAVE_RUN",
        ),
    },
    "queue.py": {
        "priority is turned round": (
            "return 2 * request.priority + (request.attempts == 0)",
            "return 2 * (2 - request.priority) + (request.attempts == 0)",
        ),
        "who comes back waits behind newcomers": (
            "(request.attempts == 0)",
            "(request.attempts > 0)",
        ),
        "the first in line blocks those behind": (
            "                if member.slot not in request.excluded:\n"
            "                    return request\n",
            "                return request if member.slot not in request.excluded else None\n",
        ),
        "places are kept by arrival and not by urgency": (
            "requests = sorted(self, key=_urgency)",
            "requests = list(self)",
        ),
        "bytes leak from the queue": (
            "        self.size_bytes -= request.size_bytes\n",
            "        self.size_bytes -= request.size_bytes // 2\n",
        ),
    },
    "policy.py": {
        "a pool's idle worker is asked again": (
            "            if slot not in request.excluded:\n                return Try(member)",
            "            if slot not in request.excluded or request.attempts > 1:\n"
            "                return Try(member)",
        ),
        "a busy pool is passed over": (
            "if pool.serving and _has_untried(request, pool):",
            "if pool.serving and not request.excluded and _has_untried(request, pool):",
        ),
        "an ejected worker is never the last resort": (
            "    if last_resort is not None:\n",
            "    if last_resort is not None and is_down:\n",
        ),
        "an ejected worker is asked before the next pool": (
            "                    last_resort = member\n",
            "                    return Try(member)\n",
        ),
        "an overdue worker is taken for dead": (
            "member.state in (State.OVERDUE, State.CONNECTING)",
            "member.state is State.CONNECTING",
        ),
        "the last that serves may be ejected": ("and pool.serving > 1", "and pool.serving > 0"),
        "more than half may be ejected": (
            "2 * (pool.ejected + 1) <= len(pool.members)",
            "2 * pool.ejected <= len(pool.members)",
        ),
        "the budget's window never ends": (
            "if n > oldest}",
            "if n > oldest - 5}",
        ),
        "the budget is not written down": ("        this_second[1] += 1\n", "        pass\n"),
    },
}
