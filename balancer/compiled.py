"""Whether what was compiled still is what its source says: Python prefers it, however old it is.

What can be compiled, and by what, is said in pyproject.toml.
"""

import os
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PACKAGES = ("balancer", "workers")
_WHAT_TO_DO = "compile again (README, Compiled), or rm balancer/*.so balancer/*/*.so workers/*.so"
_SHARED = "__mypyc"
"""The end of the name of what they all have in common, which has no source of its own."""


def is_used() -> bool:
    """Whether this Python takes what a request passes through from C."""
    spec = find_spec("balancer.core.queue")
    return spec is not None and (spec.origin or "").endswith(tuple(EXTENSION_SUFFIXES))


def complaint() -> str | None:
    """What to tell whoever would run something else than what the sources say, in one line. It goes
    by the dates of files: a source that came back with an older one is not found out."""
    for source, compiled in _compiled_sources():
        name = os.path.relpath(source, _ROOT)
        if not os.path.exists(source):
            return f"{name} is gone, but not what was compiled from it: {_WHAT_TO_DO}"
        if os.path.getmtime(compiled) < os.path.getmtime(source):
            return f"{name} has changed since it was compiled: {_WHAT_TO_DO}"
    return None


def _compiled_sources() -> Iterator[tuple[str, str]]:
    """Where the source of each compiled module is to be, and what was made of it; none where the
    package was installed, for nobody changes anything there."""
    if not os.path.exists(os.path.join(_ROOT, "pyproject.toml")):
        return
    for package in _PACKAGES:
        for directory, _, names in os.walk(os.path.join(_ROOT, package)):
            for name in names:
                module = _module(name)
                if module and not module.endswith(_SHARED):
                    yield os.path.join(directory, f"{module}.py"), os.path.join(directory, name)


def _module(name: str) -> str | None:
    """What this Python, and no other, would import from a file of that name."""
    for suffix in EXTENSION_SUFFIXES:
        module = name.removesuffix(suffix)
        if module != name and "." not in module:
            return module
    return None
