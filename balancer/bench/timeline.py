"""What happened when: answers, failures, longest latency and kills in slots of equal length."""

from typing import Any

SLOTS_MAX = 50
SLOTS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Timeline:
    """Times are seconds since the start; what comes after the end has slots, too."""

    def __init__(self, duration_s: float) -> None:
        fitting = (slot_s for slot_s in SLOTS_S if duration_s <= slot_s * SLOTS_MAX)
        self.slot_s = next(fitting, duration_s / SLOTS_MAX)
        self._answered: list[int] = []
        self._failed: list[int] = []
        self._longest_s: list[float] = []
        self._kills: list[int] = []

    def note_end(self, at_s: float, latency_s: float, is_ok: bool) -> None:
        """A request has ended: by its answer, or without a good one."""
        slot = self._slot(at_s)
        (self._answered if is_ok else self._failed)[slot] += 1
        if latency_s > self._longest_s[slot]:
            self._longest_s[slot] = latency_s

    def note_kill(self, at_s: float) -> None:
        self._kills[self._slot(at_s)] += 1

    def _slot(self, at_s: float) -> int:
        # A tenth divided by a tenth must not be 0.999…
        slot = int(at_s / self.slot_s + 1e-9)
        while len(self._kills) <= slot:
            self._answered.append(0)
            self._failed.append(0)
            self._longest_s.append(0.0)
            self._kills.append(0)
        return slot

    def to_json(self) -> dict[str, Any]:
        return {
            "slot_s": self.slot_s,
            "ok": self._answered,
            "failed": self._failed,
            "longest_ms": [round(longest_s * 1000, 3) for longest_s in self._longest_s],
            "kills": self._kills,
        }
