"""The border to user code: make a handler ready, call it, put its errors into words.

A handler is a callable that takes one request, or a class: built and ``setup()`` once per process,
called for every request, ``close()`` at the end. A class with ``batch()`` is called with a list of
requests instead. ``current()`` tells user code about its request.
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple

from workers.finding import find, takes_batches

ERROR_CHARS_MAX = 1000
"""Four bytes each at most, so that an error always fits into a reply's header."""
TRACEBACK_CHARS_MAX = 8_000
"""Little enough that a report of a failed start never waits for the launcher to read it."""


class Decline(Exception):
    """Raised by a handler to say *not mine*: an empty reply, and the next worker is asked."""


class Current(NamedTuple):
    """The request that is being handled; in ``batch()``, what can be said of all of them."""

    id: str
    """In ``batch()`` that of the first."""
    attempt: int
    """1 for the first worker that gets this request; in ``batch()`` the highest of them."""
    deadline: float
    """On the clock of ``time.monotonic()``; infinite where nobody set one; in ``batch()`` the
    earliest of them."""

    def remaining_s(self) -> float:
        """How long the client still waits, never less than 0."""
        return max(0.0, self.deadline - time.monotonic())


class Asked:
    """What ``current`` is asked about."""

    __slots__ = ("about",)

    def __init__(self) -> None:
        self.about: Callable[[], Current] | None = None
        """Put into words only if user code asks, which it hardly ever does."""


# One per process and not per thread or context: a worker handles one request at a time, and the
# threads that a handler starts for it ask about the same request.
asked = Asked()


def current() -> Current:
    """The request that is being handled; RuntimeError outside of one. In ``batch()`` it speaks for
    them all: the id of the first, the highest attempt and the earliest deadline."""
    if asked.about is None:
        raise RuntimeError("current() is only known while a handler works on a request")
    return asked.about()


class Handler:
    """User code, ready to be called."""

    def __init__(
        self,
        call: Callable[[Any], Any],
        close: Callable[[], object] | None,
        *,
        is_whole: bool = False,
    ) -> None:
        self.call = call
        """User code itself, for whoever sets ``asked`` for it as ``handle`` does."""
        self._close = close
        self.is_whole = is_whole
        """It is called with a list of requests by ``handle_batch``; else with one by ``handle``."""

    def handle(self, request: Any, about: Callable[[], Current]) -> Any:
        """What the handler returns; it may raise anything. ``about`` is what ``current`` asks."""
        asked.about = about
        try:
            return self.call(request)
        finally:
            asked.about = None

    def handle_batch(self, requests: list[Any], about: Callable[[], Current]) -> Sequence[Any]:
        """What ``batch()`` returns for each of them; it may raise anything, and TypeError or
        ValueError comes from us if it is not a list of so many."""
        count = len(requests)  # The list is user code's now, which may change it.
        results = self.handle(requests, about)
        if not isinstance(results, list | tuple):
            kind = type(results).__name__
            raise TypeError(f"batch() must return a list of results, not {kind}")
        if len(results) != count:
            raise ValueError(f"batch() returned {len(results)} results for {count} requests")
        return [*results]

    def close(self) -> None:
        """Tell the handler that no request will follow."""
        if self._close is not None:
            self._close()


def load(spec: str) -> Handler:
    """Import the handler ``module:attribute`` and make it ready; raises as ``find`` does."""
    target = find(spec)
    close = None
    if isinstance(target, type):
        target = _build(target)
        close = getattr(target, "close", None)
    if takes_batches(target):
        return Handler(target.batch, close, is_whole=True)
    return Handler(target, close)


def _build(target: type) -> Any:
    instance = target()
    setup = getattr(instance, "setup", None)
    if setup is not None:
        setup()
    return instance


# --- errors of user code in words ---------------------------------------------------------------


def describe(error: BaseException) -> str:
    """``TypeName: message`` in one bounded text that UTF-8 can carry."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:  # User code again: its __str__ may raise anything.
        message = "(it has no readable message)"
    return _bounded(f"{name}: {message}" if message else name)


def _bounded(text: str) -> str:
    if len(text) > ERROR_CHARS_MAX:
        text = text[: ERROR_CHARS_MAX - 2] + " …"
    return text.encode("utf-8", "replace").decode("utf-8")


def format_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, without our own frames on top, bounded."""
    import traceback  # Slow to import, and most workers never need it.

    frames = _from_user_code(error.__traceback__)
    text = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    if len(text) <= TRACEBACK_CHARS_MAX:
        return text
    half = TRACEBACK_CHARS_MAX // 2
    return f"{text[:half]}\n[…]\n{text[-half:]}"


_OUR_MODULES = {
    "__main__",
    "workers.__main__",
    "workers.answering",
    "workers.fast_path",
    "workers.finding",
    "workers.handler",
    "workers.runtime",
    "importlib",
    "importlib._bootstrap",
    "importlib._bootstrap_external",
    "zmq.sugar.socket",
}


def _from_user_code(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_globals.get("__name__") in _OUR_MODULES:
        frames = frames.tb_next
    return frames
