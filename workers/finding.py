"""Find user code by its name and see whether it can be a handler, without calling any of it.

A handler is a callable that takes one request, or a class whose instances do, or one with a method
``batch`` that takes a list of requests.
"""

import importlib
from types import CodeType, FunctionType, ModuleType
from typing import Any


class UnknownHandler(Exception):
    """There is no such handler; the text is one line that says the fix."""


def find(spec: str) -> Any:
    """Import the handler ``module:attribute``, a callable or a class, and do not call it.

    UnknownHandler if there is none of that name; whatever else is raised comes from user code.
    """
    module_name, _, path = spec.partition(":")
    if not (all(module_name.split(".")) and all(path.split("."))) or "/" in module_name:
        raise UnknownHandler(
            f"{spec!r} does not name a handler: write module:attribute, for example jobs:handle"
        )
    target = _attribute(_import(module_name), path, spec)
    if takes_batches(target):
        _check_batch(target, spec)
    elif isinstance(target, type):
        _check_call(_method(target, "__call__"), spec, 2)
    else:
        _check_call(target, spec, 1)
    return target


def takes_batches(target: Any) -> bool:
    """Whether a handler, or the class of one, has a method ``batch``. It is then called for every
    request, and nothing else of it is."""
    batch = _method(target if isinstance(target, type) else type(target), "batch")
    return callable(batch) or isinstance(batch, classmethod)


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


def _method(target: type, name: str) -> object:
    """What the class has under this name, as it stands there; None if it has nothing."""
    # Not getattr: every class has a __call__, that of its metaclass, which makes instances.
    return next((vars(c)[name] for c in target.__mro__ if name in vars(c)), None)


def _check_batch(target: Any, spec: str) -> None:
    owner = target if isinstance(target, type) else type(target)
    is_bound = isinstance(_method(owner, "batch"), staticmethod | classmethod)
    what = "the list of requests"
    _check_call(owner.batch, f"{spec}.batch", 1 if is_bound else 2, what)  # type: ignore[attr-defined]


def _check_call(call: object, spec: str, arguments: int, what: str = "the request") -> None:
    """See whether it takes so many: one that is ``what`` it says, and ``self`` if there are two."""
    if not callable(call):
        raise UnknownHandler(
            f"{spec} cannot be called: name a function, or a class with __call__ or batch"
        )
    if isinstance(call, FunctionType) and _takes(call.__code__, arguments):
        return
    import inspect  # Slow to import, and most handlers are plain functions.

    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        raise UnknownHandler(f"{spec} is async: a handler must be a plain function")
    try:
        # Not what a decorator wraps: its own arguments are what counts.
        signature = inspect.signature(call, follow_wrapped=False)
    except ValueError:
        return  # Written in C and silent about its arguments: the first request will tell.
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        raise UnknownHandler(f"{spec} must take one argument, {what}: {error}") from error


def _takes(code: CodeType, arguments: int) -> bool:
    """Whether a plain function of this code obviously takes so many arguments, and no others."""
    is_asynchronous = code.co_flags & _CO_ASYNCHRONOUS
    return code.co_argcount == arguments and not code.co_kwonlyargcount and not is_asynchronous


_CO_ASYNCHRONOUS = 0x80 | 0x100 | 0x200
"""A coroutine, an iterable coroutine or an asynchronous generator."""
