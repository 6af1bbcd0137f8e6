"""Counts what became of every request: pure, told the time. What is sent is counted at its end."""

from collections import Counter

from balancer.bench.latencies import Latencies
from balancer.bench.timeline import Timeline
from balancer.wire.reply import Reply

ERROR_CHARACTERS_MAX = 200
INTERRUPTED = "interrupted"
_OF_A_DEATH = ("died", "undelivered")

Ending = tuple[int, str]
"""Status and reason; the reason of an answer is empty."""


class Tally:
    """Every request is one of ``answers`` or of ``unanswered``, and is in ``ok`` or ``failed``."""

    def __init__(self, duration_s: float) -> None:
        self.sent = 0
        self.answers: Counter[Ending] = Counter()
        """What a balancer said."""
        self.unanswered: Counter[str] = Counter()
        """Why there is no answer, as the client sees it."""
        self.ok = Latencies()
        self.failed = Latencies()
        """Latencies of all that ended in another way than with status 200."""
        self.first_errors: dict[str, str] = {}
        """The first text of each kind of failure."""
        self.failovers = 0
        self.failed_tries: Counter[str] = Counter()
        self.caught = 0
        """Requests that were at a worker when it died."""
        self.kills = 0
        self.missed_kills: Counter[str] = Counter()
        self.timeline = Timeline(duration_s)
        self.last_answer_at_s = 0.0

    @property
    def answered(self) -> int:
        return self.answers.total()

    @property
    def ended(self) -> int:
        return self.ok.count + self.failed.count

    @property
    def open_now(self) -> int:
        return self.sent - self.ended

    def note_end(self, at_s: float, latency_s: float, reply: Reply, *, is_answer: bool) -> None:
        """A request has ended. ``is_answer`` says whether a balancer wrote the reply."""
        is_ok = is_answer and reply.status == 200
        (self.ok if is_ok else self.failed).note(latency_s)
        self.timeline.note_end(at_s, latency_s, is_ok)
        if is_answer:
            self.answers[reply.status, reply.reason] += 1
            self.last_answer_at_s = at_s
        else:
            self.unanswered[reply.reason] += 1
        if not is_ok:
            kind = f"{reply.status} {reply.reason}".strip()
            self.first_errors.setdefault(kind, reply.error[:ERROR_CHARACTERS_MAX])
        if reply.attempts > 1:
            self.failovers += 1
        if reply.tried:
            self.failed_tries.update(failed.why for failed in reply.tried)
            self.caught += any(failed.why in _OF_A_DEATH for failed in reply.tried)

    def note_kill(self, at_s: float) -> None:
        self.kills += 1
        self.timeline.note_kill(at_s)

    def note_missed_kill(self, why: str) -> None:
        self.missed_kills[why] += 1

    def cut_off(self) -> None:
        """Nobody waits for those that are open any more. How long they would have taken is not
        known, so they have no latency."""
        if self.open_now:
            self.unanswered[INTERRUPTED] += self.open_now
