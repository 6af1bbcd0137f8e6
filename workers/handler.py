"""The border to user code: find the handler, make it ready, call it, put its errors into words.

A handler is a callable that takes one request, or a class: built and ``setup()`` once per process,
called for every request, ``close()`` at the end. ``current()`` tells it about its request.
"""

import importlib
import time
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType, TracebackType
from typing import Any, NamedTuple

ERROR_CHARS_MAX = 1000
"""Four bytes each at most, so that an error always fits into a reply's header."""
TRACEBACK_CHARS_MAX = 8_000
"""Little enough that a report of a failed start never waits for the launcher to read it."""


class Decline(Exception):
    """Raised by a handler to say *not mine*: an empty reply, and the next worker is asked."""


class Current(NamedTuple):
    """The request that is being handled."""

    id: str
    attempt: int
    """1 for the first worker that gets this request."""
    deadline: float
    """On the clock of ``time.monotonic()``; infinite where nobody set one."""

    def remaining_s(self) -> float:
        """How long the client still waits, never less than 0."""
        return max(0.0, self.deadline - time.monotonic())


# One per process and not per thread or context: a worker handles one request at a time, and the
# threads that a handler starts for it ask about the same request.
_current: Current | None = None


def current() -> Current:
    """The request that is being handled; RuntimeError outside of one."""
    if _current is None:
        raise RuntimeError("current() is only known while a handler works on a request")
    return _current


class UnknownHandler(Exception):
    """There is no such handler; the text is one line that says the fix."""


class Handler:
    """User code, ready to be called."""

    def __init__(self, call: Callable[[Any], Any], close: Callable[[], object] | None) -> None:
        self._call = call
        self._close = close

    def handle(self, request: Any, about: Current) -> Any:
        """What the handler returns; it may raise anything."""
        global _current
        _current = about
        try:
            return self._call(request)
        finally:
            _current = None

    def close(self) -> None:
        """Tell the handler that no request will follow."""
        if self._close is not None:
            self._close()


def load(spec: str) -> Handler:
    """Import the handler ``module:attribute`` and make it ready; raises as ``find`` does."""
    target = find(spec)
    return _build(target) if isinstance(target, type) else Handler(target, None)


def find(spec: str) -> Callable[..., Any]:
    """Import the handler ``module:attribute``, a function or a class, and do not call it.

    UnknownHandler if there is none of that name; whatever else is raised comes from user code.
    """
    module_name, _, path = spec.partition(":")
    if not (all(module_name.split(".")) and all(path.split("."))) or "/" in module_name:
        raise UnknownHandler(
            f"{spec!r} does not name a handler: write module:attribute, for example jobs:handle"
        )
    target: Callable[..., Any] = _attribute(_import(module_name), path, spec)
    if isinstance(target, type):
        _check_call(_call_method(target), spec, (None, None))
    else:
        _check_call(target, spec, (None,))
    return target


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # The module is there; something that it imports is not.
        fix = "looked in the current directory and the installed packages"
        if name.endswith(".py"):
            fix = f"write {name.removesuffix('.py')}:attribute, without .py"
        raise UnknownHandler(f"there is no module {error.name!r} ({fix})") from error


def _attribute(module: ModuleType, path: str, spec: str) -> Any:
    found: Any = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            hint = _similar(name, dir(found))
            raise UnknownHandler(f"{spec}: there is no attribute {name!r}{hint}") from error
    return found


def _similar(name: str, names: list[str]) -> str:
    import difflib  # Only a failure needs it.

    close = difflib.get_close_matches(name, names, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _call_method(target: type) -> object:
    # Not getattr: every class has a __call__, that of its metaclass, which makes instances.
    return next((vars(c)["__call__"] for c in target.__mro__ if "__call__" in vars(c)), None)


def _check_call(call: object, spec: str, arguments: tuple[None, ...]) -> None:
    if not callable(call):
        raise UnknownHandler(f"{spec} cannot be called: name a function, or a class with __call__")
    if isinstance(call, FunctionType) and _takes(call.__code__, len(arguments)):
        return
    import inspect  # Slow to import, and most handlers are plain functions.

    if inspect.iscoroutinefunction(call):
        raise UnknownHandler(f"{spec} is async: a handler must be a plain function")
    try:
        # Not what a decorator wraps: its own arguments are what counts.
        signature = inspect.signature(call, follow_wrapped=False)
    except ValueError:
        return  # Written in C and silent about its arguments: the first request will tell.
    try:
        signature.bind(*arguments)
    except TypeError as error:
        raise UnknownHandler(f"{spec} must take one argument, the request: {error}") from error


def _takes(code: CodeType, arguments: int) -> bool:
    """Whether a plain function of this code obviously takes so many arguments, and no others."""
    is_asynchronous = code.co_flags & _CO_ASYNCHRONOUS
    return code.co_argcount == arguments and not code.co_kwonlyargcount and not is_asynchronous


_CO_ASYNCHRONOUS = 0x80 | 0x100 | 0x200
"""A coroutine, an iterable coroutine or an asynchronous generator."""


def _build(target: type) -> Handler:
    instance = target()
    setup = getattr(instance, "setup", None)
    if setup is not None:
        setup()
    return Handler(instance, getattr(instance, "close", None))


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
