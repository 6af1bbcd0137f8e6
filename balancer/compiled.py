"""Whether what was compiled still is what its source says: Python prefers it, however old it is.

What can be compiled, and by what, is said in pyproject.toml.
"""

import os
from collections.abc import Iterator

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PACKAGES = ("balancer", "workers")
_REMOVE = "rm balancer/*.so balancer/*/*.so workers/*.so"


def complaint() -> str | None:
    """What to tell whoever would run something else than what the sources say, in one line."""
    for source, compiled in _compiled_sources():
        if os.path.getmtime(compiled) < os.path.getmtime(source):
            changed = os.path.relpath(source, _ROOT)
            return f"{changed} has changed since it was compiled: compile again, or {_REMOVE}"
    return None


def _compiled_sources() -> Iterator[tuple[str, str]]:
    """Each source with what was made of it; none where the package was installed, for nobody
    changes anything there."""
    if not os.path.exists(os.path.join(_ROOT, "pyproject.toml")):
        return
    for package in _PACKAGES:
        for directory, _, names in os.walk(os.path.join(_ROOT, package)):
            for name in names:
                source = os.path.join(directory, name.partition(".")[0] + ".py")
                if name.endswith(".so") and os.path.exists(source):
                    yield source, os.path.join(directory, name)
