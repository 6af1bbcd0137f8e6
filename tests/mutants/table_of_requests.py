"""Slips in what becomes of requests: file of the core, name of the slip, old text, new text."""

Slips = dict[str, tuple[str, str]]

REQUESTS: dict[str, Slips] = {
    "requests.py": {
        "a try cut short is left out of the list": (
            "            self.note_failed_try(request, worker, Why.TIMEOUT, now)\n",
            "            request.may_have_run = True\n",
        ),
        "a refused once name stays known": (
            "        if request.once and not (signal",
            "        if not request.once and not (signal",
        ),
        "a drain takes newcomers": (
            "        elif self.is_draining:\n",
            "        elif self.is_draining and 0:\n",
        ),
        "a client may have one more": (
            "elif len(of_client) >= limits.client_limit:",
            "elif len(of_client) > limits.client_limit:",
        ),
        "a body may be one byte too large": (
            "event.size_bytes > limits.max_body_bytes",
            "event.size_bytes > limits.max_body_bytes + 1",
        ),
        "a client may ask for any time": (
            "            timeout_s = limits.deadline_max_s\n",
            "            pass\n",
        ),
        "a client that leaves takes the once name along": (
            "request.may_have_run or was_trying",
            "request.may_have_run",
        ),
        "exhausted and no_workers are mixed up": (
            "Reason.EXHAUSTED if request.attempts else Reason.NO_WORKERS",
            "Reason.EXHAUSTED if request.tried or request.once else Reason.NO_WORKERS",
        ),
    },
    "once.py": {
        "a once name is not remembered": (
            "        self._names[name] = request\n",
            "        self._names.pop(name, None)\n",
        ),
        "a once name is forgotten by nobody but its successor": (
            "and self._names.get(request.name) == request.id:",
            "and self._names.get(request.name) != request.id:",
        ),
    },
    "suspects.py": {
        "a suspect goes beside another": (
            "        self._open.add(request.id)\n",
            "        self._open.discard(request.id)\n",
        ),
        "a suspect gives way for ever": (
            "        else:\n            self.let_go(request)\n",
            "        else:\n            request.gives_way = True\n",
        ),
        "a suspect leaves no time for its try": (
            "        if request.deadline - request.try_timeout_s > now:\n",
            "        if request.deadline > now:\n",
        ),
        "a suspect waits behind all for ever": (
            "        request.gives_way = request.waits_last = False\n",
            "        request.gives_way = False\n",
        ),
        "a suspect's patience does not begin anew": (
            "        for patience in self.waiting.values():\n",
            "        for patience in []:\n",
        ),
        "a suspect that goes does not change what was seen": (
            "        self.look_anew()\n        patience = self.waiting.pop",
            "        patience = self.waiting.pop",
        ),
        "a suspect does not wait for those who are away": (
            "return troubled >= max(1, len(pool.members) // SHARE)",
            "return troubled > max(1, len(pool.members) // SHARE)",
        ),
    },
    "lifecycle.py": {
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
            "                    if member.slot not in request.excluded:\n"
            "                        return request\n",
            "                    return request if member.slot not in request.excluded else None\n",
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
            "                if slot not in excluded:\n                    return member",
            "                if slot not in excluded or request.attempts > 1:\n"
            "                    return member",
        ),
        "a busy pool is passed over": (
            "(pool.serving and _has_untried_busy(pool, excluded)):",
            "(not excluded and _has_untried_busy(pool, excluded)):",
        ),
        "an ejected worker is never the last resort": (
            "    if last_resort is not None:\n",
            "    if last_resort is not None and is_down:\n",
        ),
        "an ejected worker is asked before the next pool": (
            "            last_resort = next(_untried(away.ejected, excluded), None)\n",
            "            return next(_untried(away.ejected, excluded), None) or _GIVE_UP\n",
        ),
        "whoever is many was not tried": (
            "return len(members) > len(excluded) or",
            "return len(members) >= len(excluded) or",
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
        "the budget is not written down": (
            "        self._second(now)[1] += 1\n",
            "",
        ),
    },
}
