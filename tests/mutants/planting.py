"""Plants one bug into a copy of the project and hunts it there, in a process of its own."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.table import Mutant

ROOT = Path(__file__).resolve().parent.parent.parent
_COPIED = ("balancer", "tests/__init__.py", "tests/core", "tests/mutants", "tests/simulation")
_HUNT_MAX_S = 600.0


class DoesNotApply(ValueError):
    """The core has changed: the old text of the mutant must be looked up anew."""


@dataclass(frozen=True, slots=True)
class Catch:
    """How a mutant was found out; without a checker it survived."""

    checker: str | None
    seed: int
    """The one that gave it away, or how many did not."""


def source_of(mutant: Mutant, root: Path = ROOT) -> Path:
    return root / "balancer" / "core" / mutant.file


def mutated(mutant: Mutant, text: str) -> str:
    """DoesNotApply if the old text is not there just once, or the new one is no Python."""
    times = text.count(mutant.old)
    if times != 1:
        raise DoesNotApply(f"{mutant.name}: {mutant.file} has its old text {times} times")
    changed = text.replace(mutant.old, mutant.new)
    try:
        compile(changed, mutant.file, "exec")
    except SyntaxError as error:
        raise DoesNotApply(f"{mutant.name}: {error}") from error
    return changed


def hunt(mutant: Mutant, seeds: int) -> Catch:
    """Play seeds with the bug planted until a checker objects."""
    with _copy() as root:
        source = source_of(mutant, root)
        source.write_text(mutated(mutant, source.read_text(encoding="utf-8")), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-B", "-m", "tests.mutants.hunt", str(seeds)],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=_HUNT_MAX_S,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{mutant.name}: {done.stderr[-2000:]}")
    report = json.loads(done.stdout)
    return Catch(report["checker"], report["seed"])


@contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        root = Path(name)
        for part in _COPIED:
            source, target = ROOT / part, root / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(
                    source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so")
                )
            else:
                shutil.copyfile(source, target)
        yield root
