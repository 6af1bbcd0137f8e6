"""What top knows, folded from what it is told: replies, events, keys. It decides, others do."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from balancer.history import History

Message = dict[str, Any]

EVENTS_MAX = 100
SILENCE_S = 2.5
"""The launcher answers within a second even while its balancer cannot."""
NOTICE_S = 12.0
PAGE = 10
_NEEDS_YES = {"d": "drain", "r": "restart", "x": "kill", "K": "kill"}
_STEPS = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -PAGE, "page down": PAGE}
_FAR = 1_000_000


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants a worker to do."""

    op: str
    worker: str

    @property
    def question(self) -> Message:
        return {"op": self.op, "worker": self.worker, "by": "top"}


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for whoever looks, for a while."""

    text: str
    at: float
    kind: str = "plain"
    """Or ``done``, ``error``."""


class Model:
    """Whoever calls says what time it is."""

    def __init__(self, name: str, interval_s: float) -> None:
        self.name = name
        self.interval_s = interval_s
        self.status: Message | None = None
        """The latest; None while there is no cluster."""
        self.history = History()
        self.events: deque[Message] = deque(maxlen=EVENTS_MAX)
        self.selected = ""
        """The name of a worker."""
        self.doubted: Order | None = None
        """It is given once the person has said yes."""
        self.is_help_shown = False
        self.has_quit = False
        self.ended_at: float | None = None
        """When a cluster that was here went; None if there was none, or while it is here."""
        self._place = 0
        self._asked_at: float | None = None
        self._given: Order | None = None
        self._notice: Notice | None = None

    # --- questions about it -----------------------------------------------------------------------

    @property
    def workers(self) -> Sequence[Mapping[str, Any]]:
        return self.status["workers"] if self.status else ()

    @property
    def selected_place(self) -> int:
        """Where the selected one is among the workers."""
        return self._place

    @property
    def is_waiting(self) -> bool:
        """Whether a status was asked for that has not come: another is not asked for."""
        return self._asked_at is not None

    def silent_s(self, now: float) -> float | None:
        """How long the launcher owes an answer, if that is too long."""
        silence_s = 0.0 if self._asked_at is None else now - self._asked_at
        return silence_s if silence_s > SILENCE_S else None

    def notice(self, now: float) -> Notice | None:
        """What is to be said now."""
        fresh = self._notice is not None and now - self._notice.at < NOTICE_S
        return self._notice if fresh or self._given else None

    # --- what it is told --------------------------------------------------------------------------

    def note_connected(self) -> None:
        """A cluster is there. It tells of its last events first."""
        self.events.clear()
        self.ended_at = self._asked_at = None

    def note_asked(self, now: float) -> None:
        """A status was asked for."""
        if self._asked_at is None:
            self._asked_at = now

    def note_gone(self, now: float) -> None:
        """There is no cluster, or not any more."""
        if self.status is not None:
            self.ended_at = now
        if self._given is not None:
            order, self._given = self._given, None
            self._say(
                now, f"the cluster went before it answered: {order.op} {order.worker}", "error"
            )
        self.status = self._asked_at = self.doubted = None

    def note_message(self, now: float, message: Message) -> None:
        """The cluster says something."""
        match message:
            case {"op": "status", "workers": _}:
                self._note_status(now, message)
            case {"op": "event"}:
                self.events.append(message)
            case {"error": error}:
                self._given = None
                self._say(now, str(error), "error")
            case {"did": did}:
                self._given = None
                self._say(now, str(did), "done")

    def _note_status(self, now: float, status: Message) -> None:
        self.status, self._asked_at = status, None
        self.history.note(now, status)
        names = [worker["name"] for worker in status["workers"]]
        if self.selected in names:
            self._place = names.index(self.selected)
        else:
            self._select(self._place)

    # --- keys -------------------------------------------------------------------------------------

    def note_key(self, now: float, key: str) -> Order | None:
        """A key was pressed; the result is to be sent."""
        self._notice = self._notice if self._given else None
        if self.doubted is not None:
            return self._settle(now, key)
        if self.is_help_shown:
            self.is_help_shown = False
        elif key in _NEEDS_YES:
            self.doubted = self._order(now, _NEEDS_YES[key])
        elif key == "u":
            return self._give(now, self._order(now, "ready"))
        elif key in _STEPS:
            self._select(self._place + _STEPS[key])
        elif key in ("home", "end"):
            self._select(0 if key == "home" else _FAR)
        else:
            self.is_help_shown = key == "?"
            self.has_quit = key == "q"
        return None

    def _settle(self, now: float, key: str) -> Order | None:
        order, self.doubted = self.doubted, None
        if order is not None and key == "y":
            return self._give(now, order)
        self._say(now, "nothing was done")
        return None

    def _order(self, now: float, op: str) -> Order | None:
        if self.workers:
            return Order(op, self.selected)
        self._say(now, f"there is no worker to {op}")
        return None

    def _give(self, now: float, order: Order | None) -> Order | None:
        if order is not None:
            self._given = order
            self._say(now, f"{order.op} {order.worker} …")
        return order

    def _select(self, place: int) -> None:
        self._place = max(0, min(place, len(self.workers) - 1))
        self.selected = self.workers[self._place]["name"] if self.workers else ""

    def _say(self, now: float, text: str, kind: str = "plain") -> None:
        self._notice = Notice(text, now, kind)
