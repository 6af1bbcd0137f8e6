"""From a message to its reply: decode, ask the handler, encode; a lone request or a batch."""

import contextlib
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from balancer.wire import tasks, values
from balancer.wire.task import Task
from balancer.wire.tasks import encode_value
from balancer.wire.values import Blob, decode_payload
from workers import forks
from workers.handler import Current, Decline, Handler, describe, format_traceback
from workers.stopwatch import Stopwatch


def pong(handler: Handler) -> list[bytes]:
    """The reply to a ping: how the handler is called for a batch."""
    return tasks.PONG_WHOLE if handler.is_whole else tasks.PONG_EACH


def answer(frames: Sequence[Blob], handler: Handler, max_body_bytes: int) -> list[bytes]:
    """The reply to one message. Only what ends the process is raised."""
    try:
        if len(frames) > tasks.LONE_FRAMES_MAX:
            batch = tasks.decode_batch(frames)
            respond = _respond_whole if handler.is_whole else _respond_each
            stopwatch = Stopwatch()
            replies = respond(batch, handler, max_body_bytes)
            return tasks.encode_batch_reply(replies, stopwatch.needed_s())
        task = tasks.decode_task(frames)
    except values.WireError as error:
        return tasks.encode_error(400, str(error))
    if task.is_ping:
        return pong(handler)
    if handler.is_whole:
        return _respond_whole([task], handler, max_body_bytes)[0]
    if task.wants_time:
        stopwatch = Stopwatch()
        reply = _respond(task, handler, max_body_bytes)
        return tasks.encode_timed(reply, stopwatch.needed_s())
    return _respond(task, handler, max_body_bytes)


# --- one call for each request --------------------------------------------------------------------


def _respond_each(batch: list[Task], handler: Handler, max_body_bytes: int) -> list[list[bytes]]:
    replies = []
    for task in batch:
        replies.append(_respond(task, handler, max_body_bytes))
        if not forks.mark[0]:
            os._exit(0)  # a child that the handler forked came back: the rest is not its own
    return replies


def _respond(task: Task, handler: Handler, max_body_bytes: int) -> list[bytes]:
    try:
        request = decode_payload(task.payload)
    except values.WireError as unreadable:  # compiled code wants each name to be of one type
        return tasks.encode_error(400, str(unreadable))
    now, expires_at = time.monotonic(), task.expires_at
    if expires_at is not None and now >= expires_at:
        return tasks.EXPIRED_REPLY
    try:
        result = handler.handle(request, partial(about, task, now))
    except BaseException as error:
        return reply_to_error(task, error)
    return encode_reply(task, result, max_body_bytes)


# --- one call for all of them ---------------------------------------------------------------------


def _respond_whole(batch: list[Task], handler: Handler, max_body_bytes: int) -> list[list[bytes]]:
    replies = [tasks.EMPTY_REPLY] * len(batch)
    requests: dict[int, Any] = {}
    """By their number in the batch, without those that are refused before the handler is asked."""
    for number, task in enumerate(batch):
        try:
            request = decode_payload(task.payload)
        except values.WireError as error:
            replies[number] = tasks.encode_error(400, str(error))
            continue
        if task.expires_at is not None and time.monotonic() >= task.expires_at:
            replies[number] = tasks.EXPIRED_REPLY
        else:
            requests[number] = request
    if requests:
        asked = [batch[number] for number in requests]
        about = partial(_about_all, asked, time.monotonic())
        results = _respond_together(asked, [*requests.values()], about, handler, max_body_bytes)
        for number, reply in zip(requests, results, strict=True):
            replies[number] = reply
    return replies


def _respond_together(
    batch: list[Task],
    requests: list[Any],
    about: Callable[[], Current],
    handler: Handler,
    max_body_bytes: int,
) -> list[list[bytes]]:
    try:
        results = handler.handle_batch(requests, about)
    except BaseException as error:
        return [reply_to_error(batch[0], error, others=len(batch) - 1)] * len(batch)
    return [
        encode_reply(task, result, max_body_bytes)
        for task, result in zip(batch, results, strict=True)
    ]


# --- what user code can ask about it --------------------------------------------------------------


def about(task: Task, began_at: float) -> Current:
    remaining_s = math.inf if task.remaining_s is None else task.remaining_s
    return Current(task.id, task.attempt, began_at + remaining_s)


def _about_all(batch: list[Task], began_at: float) -> Current:
    each = [about(task, began_at) for task in batch]
    return Current(each[0].id, max(a.attempt for a in each), min(a.deadline for a in each))


# --- the reply ------------------------------------------------------------------------------------

TEXTS = (str, bytes)
"""What is nothing to say when it is empty."""


def encode_reply(task: Task, result: Any, max_body_bytes: int) -> list[bytes]:
    """The reply with what the handler returned."""
    if result is None or (isinstance(result, TEXTS) and not result):
        return tasks.EMPTY_REPLY
    try:
        reply = encode_value(result)
    # msgpack names three kinds, but packing runs user code too: the items() of a kind of dict.
    except Exception as error:
        return reply_to_unpackable(task, error)
    if len(reply[0]) > max_body_bytes:
        return reply_to_too_large(task, len(reply[0]), max_body_bytes)
    return reply


def reply_to_unpackable(task: Task, error: Exception) -> list[bytes]:
    """The reply where this was raised when the result was packed."""
    trouble = f"the result cannot be packed as msgpack: {describe(error)}"
    _log(task, trouble)
    return tasks.encode_error(500, trouble)


def reply_to_too_large(task: Task, size_bytes: int, max_body_bytes: int) -> list[bytes]:
    """The reply where the result is of so many bytes."""
    trouble = f"result of {size_bytes} bytes is above max_body ({max_body_bytes})"
    _log(task, trouble)
    return tasks.encode_error(500, trouble)


def reply_to_error(task: Task, error: BaseException, others: int = 0) -> list[bytes]:
    """The reply where this was raised instead; SystemExit is raised again. Whatever else user code
    raises is its answer: a CancelledError that got away, too."""
    if isinstance(error, Decline):
        return tasks.EMPTY_REPLY
    if isinstance(error, SystemExit):
        raise error
    _log(task, format_traceback(error), others)
    return tasks.encode_error(500, describe(error))


def _log(task: Task, trouble: str, others: int = 0) -> None:
    company = f" and {others} more in its batch" if others else ""
    # User code may have closed what is not its own, and the answer is due all the same.
    with contextlib.suppress(OSError, ValueError):
        print(
            f"request {task.id!r}{company} failed (try {task.attempt}): {trouble}",
            file=sys.stderr,
        )
