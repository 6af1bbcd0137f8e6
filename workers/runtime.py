"""The loop of a worker: one message after another until SIGTERM."""

import os

from workers import forks
from workers.answering import answer, pong
from workers.handler import Handler
from workers.mailbox import Mailbox
from workers.wear import Wear


def serve(mailbox: Mailbox, handler: Handler, max_body_bytes: int, wear: Wear | None) -> None:
    """Answer requests until SIGTERM; the message that is being handled is finished and answered."""
    ping_reply = pong(handler)
    receive = mailbox.receive
    while (frames := receive()) is not None:
        reply = answer(frames, handler, max_body_bytes)
        if forks.is_child:
            os._exit(0)
        mailbox.send(reply)
        if wear is not None and reply is not ping_reply:
            wear.note_requests(max(1, len(frames) - 1))
