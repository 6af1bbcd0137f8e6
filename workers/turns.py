"""Whose turn it is to be replaced: one slot at a time in each pool; it decides and does nothing."""

from collections.abc import Iterator


class Turns:
    """Slots ask for a turn, and each pool gives one after another."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, None]] = {}
        self._at_work: dict[str, str] = {}

    def __repr__(self) -> str:
        pools = sorted(self._waiting.keys() | self._at_work.keys())
        return "; ".join(
            f"{pool}: {self._at_work.get(pool, '-')} < {', '.join(self._waiting.get(pool, ()))}"
            for pool in pools
        )

    def ask(self, pool: str, slot: str) -> None:
        """Queue for a turn, once. Whoever has one now may queue for another."""
        self._waiting.setdefault(pool, {})[slot] = None

    def begin(self) -> Iterator[str]:
        """The slots whose turn begins now: call ``end`` for each when it is over."""
        for pool, waiting in self._waiting.items():
            if waiting and pool not in self._at_work:
                slot = next(iter(waiting))
                del waiting[slot]
                self._at_work[pool] = slot
                yield slot

    def end(self, slot: str) -> None:
        """Its turn is over, if it had one."""
        self._at_work = {pool: other for pool, other in self._at_work.items() if other != slot}

    def dismiss(self) -> None:
        """Nobody waits any more; turns that have begun go on."""
        self._waiting.clear()
