"""Workers that nobody of ours started: each is dialed, and dialed again whenever its link ends."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from balancer.core.events import WorkerId

REDIAL_FIRST_S = 0.05
REDIAL_MAX_S = 5.0
_FAILURES_COUNTED_MAX = 16


@dataclass(slots=True)
class Endpoint:
    slot: str
    address: str
    probe: bool
    follows_another: bool
    """Its slot had another address before."""
    failures: int = 0
    worker: WorkerId | None = None
    """Its latest link."""


class Endpoints:
    """``dial`` opens a link, ``is_linked`` tells whether an address has one."""

    def __init__(
        self,
        dial: Callable[[WorkerId, Endpoint], None],
        is_linked: Callable[[str], bool],
        after: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._dial = dial
        self._is_linked = is_linked
        self._after = after
        self._endpoints: dict[str, Endpoint] = {}
        self._dials = count(1)

    def add(self, slot: str, address: str, probe: bool) -> None:
        """Keep a link to it from now on. The slot may have had another address: its link stays
        until this one is ready."""
        older = self._endpoints.get(slot)
        if older is not None and older.address == address:
            older.probe = probe
            return
        endpoint = Endpoint(slot, address, probe, follows_another=older is not None)
        self._endpoints[slot] = endpoint
        self._dial_anew(endpoint)

    def remove(self, slot: str) -> None:
        """Dial it no more; its link stays until the core has released it."""
        del self._endpoints[slot]

    def clear(self) -> None:
        self._endpoints.clear()

    def note_ready(self, worker: WorkerId) -> None:
        if worker.slot in self._endpoints:
            self._endpoints[worker.slot].failures = 0

    def note_closed(self, worker: WorkerId) -> None:
        """The link has ended: whether or not it was one of these."""
        endpoint = self._endpoints.get(worker.slot)
        if endpoint is not None and endpoint.worker == worker:
            pause_s = min(REDIAL_MAX_S, REDIAL_FIRST_S * 2**endpoint.failures)
            endpoint.failures = min(endpoint.failures + 1, _FAILURES_COUNTED_MAX)
            self._after(pause_s * random.uniform(0.8, 1.2), lambda: self._dial_anew(endpoint))

    def _dial_anew(self, endpoint: Endpoint) -> None:
        if self._endpoints.get(endpoint.slot) is not endpoint:
            return  # removed meanwhile
        if self._is_linked(endpoint.address):
            # It is about to lose another slot: by two links it would get two requests at once.
            self._after(REDIAL_FIRST_S, lambda: self._dial_anew(endpoint))
            return
        # Counted over all endpoints: a slot that is removed and added again has newer workers.
        endpoint.worker = WorkerId(endpoint.slot, next(self._dials))
        self._dial(endpoint.worker, endpoint)
