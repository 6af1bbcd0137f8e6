"""Who asks the launcher, and what it has to ask the balancer for them: one thing at a time."""

import socket
import time
from collections import deque
from collections.abc import Callable

from balancer.control import Channel, Message
from workers.balancer_process import BalancerProcess
from workers.feed import Record
from workers.loop import Loop, Timer

LINE_BYTES_MAX = 64 * 1024
BACKLOG_BYTES_MAX = 4 * 1024 * 1024
"""A status of a thousand workers is below 1 MiB."""
QUESTIONS_MAX = 100
"""That an asker may send before the first is answered."""
BALANCER_TIMEOUT_S = 1.0
BALANCER_PACE_S = 0.02
"""The balancer is not asked more often, however many want to know something."""

Reply = Callable[[Message], None]


class Asker:
    """A connection. Its next question is looked at when the one before it is answered."""

    def __init__(
        self,
        connection: socket.socket,
        loop: Loop,
        on_question: Callable[["Asker", Message], None],
        on_gone: Callable[["Asker"], None],
    ) -> None:
        self.is_following = False
        self._on_question = on_question
        self._on_gone = on_gone
        self._questions: deque[Message] = deque()
        self._is_waiting = False
        self._is_looking = False
        self._channel = Channel(
            connection,
            loop.selector,
            self._note,
            self._note_end,
            line_bytes_max=LINE_BYTES_MAX,
            backlog_bytes_max=BACKLOG_BYTES_MAX,
        )

    def tell(self, record: Record) -> None:
        """An event; one that it is too slow for is dropped and counted."""
        self._channel.send_log({"op": "event", **record})

    def answer(self, message: Message | None) -> None:
        """Its question is answered, by this message if there is one."""
        if message is not None:
            self._channel.send(message)
        self._is_waiting = False
        self._look()

    def close(self) -> None:
        self._channel.close()

    def _note(self, question: Message) -> None:
        self._questions.append(question)
        if len(self._questions) > QUESTIONS_MAX:
            self.close()
        elif len(self._questions) == 1:
            self._look()

    def _look(self) -> None:
        if self._is_looking:
            return  # it was answered at once: whoever looks goes on
        self._is_looking = True
        while self._channel.is_open and self._questions and not self._is_waiting:
            self._is_waiting = True
            self._on_question(self, self._questions.popleft())
        self._is_looking = False

    def _note_end(self) -> None:
        self._questions.clear()
        self._on_gone(self)


class Questions:
    """What the balancer is asked: one thing at a time, at a pace that costs it little. Those who
    want the same get the same answer; who is not answered in time gets one that has only ``op``."""

    def __init__(self, loop: Loop, balancer: BalancerProcess) -> None:
        self._loop = loop
        self._balancer = balancer
        self._waiting: deque[tuple[Message, list[Reply]]] = deque()
        self._asked: list[Reply] | None = None
        self._number = 0
        self._timer: Timer | None = None
        self._asked_at = float("-inf")

    def ask(self, question: Message, reply: Reply) -> None:
        for other, replies in self._waiting:
            if other == question:
                replies.append(reply)
                return
        self._waiting.append((question, [reply]))
        self._plan()

    def note_answer(self, number: int, answer: Message) -> None:
        """It has answered, or its time is over."""
        if number != self._number or self._asked is None:
            return
        replies, self._asked = self._asked, None
        self._set_timer(None)
        for reply in replies:
            reply(answer)
        self._plan()

    def _plan(self) -> None:
        if self._waiting and self._asked is None and self._timer is None:
            rest_s = self._asked_at + BALANCER_PACE_S - time.monotonic()
            self._set_timer(max(0.0, rest_s), self._ask_next)

    def _ask_next(self) -> None:
        self._timer = None
        question, self._asked = self._waiting.popleft()
        self._asked_at = time.monotonic()
        self._number += 1
        number, silence = self._number, {"op": question["op"]}
        if self._balancer.process is None:
            self.note_answer(number, silence)
            return
        self._set_timer(BALANCER_TIMEOUT_S, lambda: self.note_answer(number, silence))
        self._balancer.send({**question, "id": number})

    def _set_timer(
        self, delay_s: float | None, callback: Callable[[], None] = lambda: None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if delay_s is None else self._loop.after(delay_s, callback)
