"""The launcher's answers to what is asked over the control socket."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from balancer.control import Message, listen
from balancer.printable import printable_line
from workers import snapshot
from workers.askers import Asker, Questions, Reply
from workers.balancer_process import BalancerProcess
from workers.crew import Crew
from workers.feed import EVENTS_MAX
from workers.loop import Loop
from workers.steering import Deed, Impossible, Steering
from workers.surroundings import Surroundings

CONNECTIONS_MAX = 64
STORIES_MAX = 100
"""At once: to tell as many costs the balancer about a millisecond."""
NAME_CHARACTERS_MAX = 64


class Commands:
    """Listens on the control socket. An asker that is slow or gone is nobody's trouble but its."""

    def __init__(
        self,
        loop: Loop,
        around: Surroundings,
        crew: Crew,
        balancer: BalancerProcess,
        steering: Steering,
        on_stop: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._around = around
        self._crew = crew
        self._steering = steering
        self._on_stop = on_stop
        self._started_at = datetime.now(UTC)
        self._balancer = balancer
        self._questions = Questions(loop, balancer)
        self._askers: dict[Asker, None] = {}
        """Who has asked the longest ago comes first."""
        self._listener = listen(around.config.name)
        loop.selector.register(self._listener, 1, self._accept)

    def close(self) -> None:
        self._loop.selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return  # out of descriptors, or the asker has left already
        if len(self._askers) >= CONNECTIONS_MAX:
            idle = next((one for one in self._askers if not one.is_following), None)
            (idle or next(iter(self._askers))).close()
        self._askers[Asker(connection, self._loop, self._ask, self._forget)] = None

    def _forget(self, asker: "Asker") -> None:
        self._askers.pop(asker, None)
        self._around.console.feed.leave(asker.tell)

    def _ask(self, asker: "Asker", question: Message) -> None:
        self._askers[asker] = self._askers.pop(asker, None)  # the latest comes last
        if question["op"] == "events":
            self._tell_events(question, asker)
        else:
            self._answer(question, asker.answer)

    def _answer(self, question: Message, reply: Reply) -> None:
        match question:
            case {"op": "status"}:
                self.status(reply)
            case {"op": "stop"}:
                reply({"op": "stop", "drain_timeout_s": self._around.config.drain_timeout_s})
                self._on_stop()
            case {"op": "trace"}:
                asked = _stories_asked(question)
                self._questions.ask(asked, lambda answer: reply(_stories(answer)))
            case {"op": op}:
                reply({"op": op[:NAME_CHARACTERS_MAX], **self._steer(op, question)})

    def _steer(self, op: str, question: Message) -> dict[str, Any]:
        """Do what is asked for; the reply says what was done, or why not."""
        try:
            deed = self._deed(question)
        except Impossible as error:
            return {"error": str(error)}
        if deed is None:
            shown = op[:NAME_CHARACTERS_MAX]
            return {"error": f"this cluster does not know '{shown}', or not like this"}
        if deed.is_change:
            by = printable_line(str(question.get("by") or "")[:NAME_CHARACTERS_MAX])
            said = f"{op}: {deed.text}" + (f" (by {by})" if by else "")
            self._around.console.write("cluster", said, event="command", by=by)
        return {"did": deed.text, "changed": deed.is_change}

    def _deed(self, question: Message) -> Deed | None:
        match question:
            case {"op": "drain", "worker": str(worker)}:
                return self._steering.drain(worker)
            case {"op": "ready", "worker": str(worker)}:
                return self._steering.ready(worker)
            case {"op": "restart", "worker": str(worker)}:
                return self._steering.restart(worker)
            case {"op": "restart"} if question.get("worker") is None:
                return self._steering.restart(None)
            case {"op": "kill", "worker": str(worker)}:
                return self._steering.kill(worker)
            case {"op": "scale", "pool": str(pool), "workers": int(workers)} if workers is not True:
                return self._steering.scale(pool, workers)
        return None

    def _tell_events(self, question: Message, asker: "Asker") -> None:
        """The last ones, and with ``follow`` all that come until the asker goes."""
        number, feed = question.get("last", EVENTS_MAX), self._around.console.feed
        latest = feed.latest(number if isinstance(number, int) else EVENTS_MAX)
        for record in latest:
            asker.tell(record)
        asker.is_following = bool(question.get("follow"))
        if not asker.is_following:
            asker.answer({"op": "events", "count": len(latest)})
            return
        feed.leave(asker.tell)  # whoever asks twice hears everything once
        feed.follow(asker.tell)
        asker.answer(None)

    # --- what only the balancer knows -----------------------------------------------------------

    def status(self, reply: Reply) -> None:
        """Reply with the state of everything, the balancer's part missing if it is not there."""

        def combine(counted: Message) -> None:
            config = self._around.config
            state = snapshot.take(config, self._crew, self._balancer, self._started_at, counted)
            reply({"op": "status", **state})

        self._questions.ask({"op": "status"}, combine)

    def note_answer(self, number: int, answer: Message) -> None:
        """The balancer has answered."""
        self._questions.note_answer(number, answer)


def _stories_asked(question: Message) -> Message:
    """Only what the balancer can take: nobody's question is its trouble."""
    request, last = question.get("request"), question.get("last", STORIES_MAX)
    asked: Message = {"op": "trace", "troubled": bool(question.get("troubled"))}
    if isinstance(request, str):
        return asked | {"request": request}
    return asked | {"last": min(last, STORIES_MAX) if isinstance(last, int) else STORIES_MAX}


def _stories(answer: Message) -> Message:
    if "requests" not in answer:
        return {"op": "trace", "error": "the balancer, who knows it, does not answer: try again"}
    return {"op": "trace", "requests": answer["requests"]}
