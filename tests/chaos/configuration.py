"""The cluster's configuration file: written anew for each reload, and now and then badly."""

from collections.abc import Sequence
from pathlib import Path

WORKERS = 4
REVIVE_GRACE_S = 3.0
"""Where everybody shares two cores, five interpreters may take more than the usual second."""

BAD = {
    "no TOML": "[[pool]\n",
    "no such handler": '[[pool]]\nname = "work"\nhandler = "tests.chaos.jobs:Nobody"\n',
}


class Configuration:
    """Each edition names its handler otherwise, and every worker's command line tells its name."""

    def __init__(self, path: Path, endpoints: Sequence[str]) -> None:
        self.path = path
        self.edition = 1
        self._endpoints = list(endpoints)
        self._write()

    def renew(self) -> int:
        """Write the next edition; its number."""
        self.edition += 1
        self._write()
        return self.edition

    def spoil(self, kind: str) -> None:
        """What stands there is no configuration, until it is renewed."""
        self.path.write_text(BAD[kind])

    def _write(self) -> None:
        self.path.write_text(
            f'[[pool]]\nname = "work"\nhandler = "tests.chaos.jobs:Worker{self.edition}"\n'
            f"workers = {WORKERS}\n"
            f'[[pool]]\nname = "by-hand"\nendpoints = {self._endpoints}\n'
        )


def edition_of(arguments: Sequence[str]) -> int:
    """Of a worker process by its command line; 0 if it is none of ours."""
    names = [argument.partition(":Worker")[2] for argument in arguments]
    return next((int(name) for name in names if name.isdigit()), 0)
