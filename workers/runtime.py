"""The loop of a worker: one message after another until SIGTERM."""

import os

from workers import forks
from workers.answering import answer, pong
from workers.fast_path import answer_lone
from workers.handler import Handler
from workers.mailbox import Mailbox
from workers.wear import Wear


def serve(mailbox: Mailbox, handler: Handler, max_body_bytes: int, wear: Wear | None) -> None:
    """Answer requests until SIGTERM; the message that is being handled is finished and answered."""
    ping_reply, receive = pong(handler), mailbox.receive
    while (message := receive()) is not None:
        requests = 1
        reply: bytes | list[bytes] | None = None
        if isinstance(message, bytes):
            reply = answer_lone(message, handler, max_body_bytes)
        if reply is None:
            frames = mailbox.assemble(message) if isinstance(message, bytes) else message
            if frames is None:
                continue
            requests = max(1, len(frames) - 1)
            reply = answer(frames, handler, max_body_bytes)
        if not forks.mark[0]:
            os._exit(0)  # a child that the handler forked came back
        if isinstance(reply, bytes):
            mailbox.send_message(reply)
        else:
            mailbox.send(reply)
        if wear is not None and reply is not ping_reply:
            wear.note_requests(requests)
