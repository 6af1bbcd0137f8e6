"""How a core is told what happens, and the books with it; what it does is checked each time."""

from collections.abc import Callable
from itertools import count

from hypothesis import note
from hypothesis.stateful import RuleBasedStateMachine

from balancer.core import events as ev
from balancer.core.dispatcher import Dispatcher
from balancer.core.events import Action, Event, WorkerId
from tests.core.story import say
from tests.walks.books import Books
from tests.walks.deeds import note_action
from tests.walks.news import note_event
from tests.walks.rest import begin_to_expire, check_after_expire, check_after_step

START = 1000.0
TURNS_MAX = 1000


def _forwarded_to(actions: list[Action]) -> list[WorkerId]:
    return [one.worker for one in actions if isinstance(one, ev.Forward | ev.ForwardBatch)]


class Line:
    """Of the story of a walk, put into words only if somebody is to read it."""

    def __init__(self, now: float, what: Event | Action) -> None:
        self.now = now
        self.what = what

    def __repr__(self) -> str:
        if isinstance(self.what, Action):
            return f"    at {self.now}: {say(self.what)}"
        return f"  at {self.now}: {self.what}"


class Telling(RuleBasedStateMachine):
    """A walk without any rules: they are what can happen."""

    core: Dispatcher
    books: Books
    core_class: type[Dispatcher] = Dispatcher

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self._requests = count(1)
        self._incarnations = count(1)
        self._events_told = 0
        self._gone: list[WorkerId] = []
        self._just_forwarded: list[WorkerId] = []

    def teardown(self) -> None:
        """All workers die and the time runs out: nothing may be left."""
        if not hasattr(self, "core"):
            return
        for worker in list(self.books.workers()):
            self._happens(ev.WorkerLost(worker.id))
        for _ in range(TURNS_MAX):
            due = self.core.next_deadline()
            if due is None:
                break
            self._let_time_pass_until(max(self.now, due))
        assert self.core.next_deadline() is None
        assert self.core.open_requests == len(self.core.queue) == self.core.queue.size_bytes == 0

    def _is_odd_time(self) -> bool:
        """What seldom happens, or changes too much, is only drawn now and then."""
        return self._events_told % 6 == 5

    def _happens(self, event: Event) -> list[Action]:
        self._events_told += 1
        note(Line(self.now, event))
        before = {worker.id for worker in self.books.workers()}
        note_event(self.books, event, self.now)
        actions = self._take(lambda: self.core.step(event, self.now))
        check_after_step(self.books, self.core, self.now)
        self._just_forwarded = _forwarded_to(actions)
        self._gone += sorted(before - {worker.id for worker in self.books.workers()})
        self._look_at_the_clock()
        return actions

    def _let_time_pass_until(self, then: float) -> None:
        for _ in range(TURNS_MAX):
            due = self.core.next_deadline()
            if due is None or due > then:
                break
            self.now = max(self.now, due)
            self._look_at_the_clock()
        self.now = then
        self._just_forwarded = []

    def _look_at_the_clock(self) -> None:
        begin_to_expire(self.books, self.now)
        actions = self._take(lambda: self.core.expire(self.now))
        check_after_expire(self.books, self.core, self.now)
        self._just_forwarded += _forwarded_to(actions)

    def _take(self, act: Callable[[], list[Action]]) -> list[Action]:
        actions = act()
        for action in actions:
            note(Line(self.now, action))
            note_action(self.books, action, self.now)
        return actions
