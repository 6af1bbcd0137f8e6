"""For all tests: signals mean what they mean at a terminal, and what takes long begins first."""

import signal

import pytest

from balancer import compiled

# A shell ignores SIGINT for what it starts with "&", nohup ignores SIGHUP, and both are inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

LONG_FILES = ("tests/test_readme.py", "tests/test_style.py", "tests/chaos/", "tests/cluster/")
"""The longest first: what begins last is waited for by everybody who has nothing left to do."""


def pytest_configure() -> None:
    complaint = compiled.complaint()
    if complaint is not None:
        pytest.exit(complaint, returncode=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    ranks = (rank for rank, path in enumerate(LONG_FILES) if item.nodeid.startswith(path))
    return next(ranks, len(LONG_FILES))
