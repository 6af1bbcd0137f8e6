"""The launcher's answers to what is asked over the control socket."""

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from balancer.control import Channel, Message, listen
from workers import snapshot
from workers.balancer_process import BalancerProcess
from workers.crew import Crew
from workers.feed import EVENTS_MAX, Record
from workers.loop import Loop, Timer
from workers.steering import Deed, Impossible, Steering
from workers.surroundings import Surroundings

CONNECTIONS_MAX = 64
BALANCER_TIMEOUT_S = 1.0
STORIES_MAX = 1000

Reply = Callable[[Message], None]


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
        self._balancer = balancer
        self._steering = steering
        self._on_stop = on_stop
        self._started_at = datetime.now(UTC)
        self._asked: dict[int, tuple[Reply, Timer]] = {}
        """What the balancer was asked and has not answered."""
        self._number = 0
        self._connections = 0
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
        if self._connections >= CONNECTIONS_MAX:
            connection.close()
            return
        self._connections += 1
        self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        def tell(record: Record) -> None:
            channel.send_log({"op": "event", **record})

        def on_message(message: Message) -> None:
            if message["op"] == "events":
                self._tell_events(message, channel, tell)
            else:
                self._answer(message, channel.send)

        def on_close() -> None:
            self._connections -= 1
            self._around.console.feed.leave(tell)

        channel = Channel(connection, self._loop.selector, on_message, on_close)

    def _answer(self, question: Message, reply: Reply) -> None:
        match question:
            case {"op": "status"}:
                self.status(reply)
            case {"op": "stop"}:
                reply({"op": "stop", "drain_timeout_s": self._around.config.drain_timeout_s})
                self._on_stop()
            case {"op": "trace"}:
                asked = _stories_asked(question)
                self._ask_balancer(asked, lambda answer: reply(_stories(answer)))
            case {"op": op}:
                reply({"op": op, **self._steer(op, question)})

    def _steer(self, op: str, question: Message) -> dict[str, Any]:
        """Do what is asked for; the reply says what was done, or why not."""
        try:
            deed = self._deed(question)
        except Impossible as error:
            return {"error": str(error)}
        if deed is None:
            return {"error": f"this cluster does not know '{op}', or not like this"}
        if deed.is_change:
            by = str(question.get("by") or "")
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
            case {"op": "restart"}:
                return self._steering.restart(None)
            case {"op": "kill", "worker": str(worker)}:
                return self._steering.kill(worker)
            case {"op": "scale", "pool": str(pool), "workers": int(workers)}:
                return self._steering.scale(pool, workers)
        return None

    def _tell_events(
        self, question: Message, channel: Channel, tell: Callable[[Record], None]
    ) -> None:
        """The last ones, and with ``follow`` all that come until the asker goes."""
        number, feed = question.get("last", EVENTS_MAX), self._around.console.feed
        latest = feed.latest(number if isinstance(number, int) else EVENTS_MAX)
        for record in latest:
            tell(record)
        if question.get("follow"):
            feed.leave(tell)  # whoever asks twice hears everything once
            feed.follow(tell)
        else:
            channel.send({"op": "events", "count": len(latest)})

    # --- what only the balancer knows -----------------------------------------------------------

    def status(self, reply: Reply) -> None:
        """Reply with the state of everything, the balancer's part missing if it is not there."""

        def combine(counted: Message) -> None:
            config = self._around.config
            state = snapshot.take(config, self._crew, self._balancer, self._started_at, counted)
            reply({"op": "status", **state})

        self._ask_balancer({"op": "status"}, combine)

    def _ask_balancer(self, question: Message, reply: Reply) -> None:
        """Reply with its answer, which has no more than ``op`` if it does not answer in time."""
        self._number += 1
        number, silence = self._number, {"op": question["op"]}
        timer = self._loop.after(BALANCER_TIMEOUT_S, lambda: self.note_answer(number, silence))
        self._asked[number] = (reply, timer)
        if self._balancer.process is None:
            self.note_answer(number, silence)
        else:
            self._balancer.send({**question, "id": number})

    def note_answer(self, number: int, answer: Message) -> None:
        """The balancer has answered, or has not."""
        if number in self._asked:
            reply, timer = self._asked.pop(number)
            timer.cancel()
            reply(answer)


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
