"""Slips in who travels together: file of the core, name of the slip, old text, new text."""

from tests.mutants.table_of_requests import Slips

BATCHES: dict[str, Slips] = {
    "batches.py": {
        "who must go alone is taken along": (
            "            or other.must_go_alone\n",
            "",
        ),
        "who must go alone takes others along": (
            " or first.must_go_alone:\n",
            ":\n",
        ),
        "whoever is there gets a batch": (
            " or member.batching is Batching.NONE",
            "",
        ),
        "a batch may hold one more": (
            "len(found) + 1 >= most",
            "len(found) >= most",
        ),
        "the bytes of a batch are not counted": (
            "        size_bytes += other.size_bytes\n",
            "        size_bytes = other.size_bytes\n",
        ),
        "the bytes of a batch have no bound": (
            "            or size_bytes > limits.max_body_bytes\n",
            "",
        ),
        "the impatient travel with the patient": (
            "            or other.try_timeout_s != try_timeout_s\n",
            "",
        ),
        "who has no time left is taken along": (
            "            or other.deadline - now < try_start_min_s\n",
            "",
        ),
        "the first of a batch may have no time left": (
            "    if first.deadline - now < try_start_min_s:\n        return []\n",
            "",
        ),
        "the line is searched for more": (
            "            break\n        found",
            "            continue\n        found",
        ),
        "one worker takes all that wait": (
            "    return -(-waiting // workers)",
            "    return waiting",
        ),
        "the budget is not asked": (
            "min(share, pool.service.fit(limits.batch_budget_s))",
            "share",
        ),
        "what is worth sharing is not shared": (
            "max(_share(waiting, pool.serving), pool.service.at_once())",
            "limits.batch_max",
        ),
        "of whole batches one worker takes all": (
            "_share(waiting, len(pool.idle))",
            "waiting",
        ),
        "whoever waits for company waits for ever": (
            "        and now < company_until(request, limits)\n",
            "",
        ),
        "who takes one after another is waited for": (
            "        member.batching is Batching.WHOLE\n        and now",
            "        member.batching is not Batching.NONE\n        and now",
        ),
        "a full batch is waited for": (
            "        and queue.waiting(member.pool) < limits.batch_max\n",
            "",
        ),
        "a wait for company takes all the time there is": (
            "min(limits.batch_wait_s, (ends_at - request.arrived_at) / 2)",
            "min(limits.batch_wait_s, ends_at - request.arrived_at)",
        ),
    },
    "placing.py": {
        "the room is for one request of each worker": (
            "len(self._pools) * limits.batch_max if",
            "len(self._pools) if",
        ),
        "a batch is over with its first deadline": (
            "expires_at = max([one.expires_at for one in tries])",
            "expires_at = min([one.expires_at for one in tries])",
        ),
        "company costs budget": (
            "    if request.is_accompanied:\n        return False\n",
            "",
        ),
        "nobody looks when the wait for company is over": (
            "            pool.fill_alarm = self._deadlines.set(ends_at, FillEnded(pool.name))\n",
            "            pool.fill_alarm = None\n",
        ),
        "the end of a wait for company is told to one worker": (
            "                    self.serve(member, now, line_only=True)\n",
            "                    self.serve(member, now, line_only=True)\n"
            "                    return\n",
        ),
        "who waits for company is overtaken": (
            "                return request if request.must_go_alone else first\n",
            "                return request\n",
        ),
        "a suspect holds up those who wait for company": (
            "            if request.gives_way:\n                continue\n",
            "            if request.gives_way:\n                break\n",
        ),
        "who must go alone waits for company": (
            "        return is_worth_it and is_whole and not request.must_go_alone\n",
            "        return is_worth_it and is_whole\n",
        ),
        "whoever goes with others stays in the queue": (
            "self._queue.remove_all(requests[1:])",
            "self._queue.remove_all(requests[2:])",
        ),
        "company is forgotten": (
            "forwarded_to(worker, now, is_accompanied)",
            "forwarded_to(worker, now, is_accompanied and request is not requests[0])",
        ),
    },
    "lifecycle.py": {
        "a death in company is a strike": (
            "self.strikes += is_alone and why in STRIKES",
            "self.strikes += why in STRIKES",
        ),
        "a timeout in company makes a suspect": (
            "self.has_hung or (is_alone and why is Why.TIMEOUT)",
            "self.has_hung or why is Why.TIMEOUT",
        ),
        "a timeout in company excludes the slot": (
            "if why in EXCLUDES_SLOT and (is_alone or why is not Why.TIMEOUT):",
            "if why in EXCLUDES_SLOT:",
        ),
        "once travels in company": (
            "        self.must_go_alone = arrived.once\n",
            "        self.must_go_alone = False\n",
        ),
        "company is sought again after a death": (
            "        self.must_go_alone = self.once or self.may_have_run\n",
            "        self.must_go_alone = self.once or self.strikes > 0\n",
        ),
    },
    "workers.py": {
        "a wrong number of replies is accepted": (
            "        if len(replies) != len(held.requests):\n",
            "        if len(replies) < len(held.requests):\n",
        ),
        "replies that are missing leave their requests open": (
            "            replies = (_GARBLED,) * len(held.requests)\n",
            "            replies = (_GARBLED,) * min(len(replies), len(held.requests))\n",
        ),
        "garbage after an answer is no bad try": (
            "        if Outcome.GARBLED in outcomes and not is_late:\n",
            "        if outcomes == {Outcome.GARBLED} and not is_late:\n",
        ),
        "only the first of a batch that fails goes on": (
            "        for request in self._requests.tried_by(member.worker, held):\n",
            "        for request in self._requests.tried_by(member.worker, held)[:1]:\n",
        ),
        "a batch that fails comes back last first": (
            "        for request in self._requests.tried_by(member.worker, held):\n",
            "        for request in self._requests.tried_by(member.worker, held)[::-1]:\n",
        ),
        "a worker killed with a batch is said to have one request": (
            "        requests = held.requests if held is not None else ()\n",
            "        requests = held.requests[:1] if held is not None else ()\n",
        ),
        "a worker says anew what it does with a batch": (
            "        if member is None or member.state is not State.CONNECTING:\n"
            "            return\n"
            "        self._deadlines.cancel(member.alarm)\n"
            "        member.alarm = None\n"
            "        member.batching = event.batching\n",
            "        if member is not None:\n"
            "            member.batching = event.batching\n"
            "        if member is None or member.state is not State.CONNECTING:\n"
            "            return\n"
            "        self._deadlines.cancel(member.alarm)\n"
            "        member.alarm = None\n",
        ),
    },
    "service_time.py": {
        "hardly anybody is to be told": (
            "(23, 29, 37)",
            "(23, 29, 41)",
        ),
        "the budget is taken for milliseconds": (
            "int(budget_s / expected_s)",
            "int(budget_s * 1000 / expected_s)",
        ),
    },
}
