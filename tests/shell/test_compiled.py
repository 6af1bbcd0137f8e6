"""What was compiled is used only while it is what its source says."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from balancer.arguments import VERSION
from tests.cluster.running import PROJECT

SOURCE = "balancer/core/queue.py"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project, with one module that was compiled just now; the launcher does not load it."""
    plain = shutil.ignore_patterns("__pycache__", "*.so")
    for part in ("balancer", "workers"):
        shutil.copytree(PROJECT / part, tmp_path / part, ignore=plain)
    for part in ("pyproject.toml", "run_cluster.py"):
        shutil.copy(PROJECT / part, tmp_path)
    (tmp_path / SOURCE).with_suffix(".so").touch()
    return tmp_path


def complaint(copy: Path) -> str:
    command = "from balancer.compiled import complaint; print(complaint() or '')"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=copy, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def change(source: Path, compiled: Path | None = None) -> None:
    at_ns = (compiled or source.with_suffix(".so")).stat().st_mtime_ns + 1_000_000
    os.utime(source, ns=(at_ns, at_ns))


def test_the_version_tells_whether_it_was_compiled(copy: Path) -> None:
    def version() -> str:
        command = [sys.executable, "run_cluster.py", "--version"]
        return subprocess.check_output(command, cwd=copy, text=True, timeout=30).rstrip()

    assert version() == f"failover-cluster {VERSION}, compiled"
    (copy / SOURCE).with_suffix(".so").unlink()
    assert version() == f"failover-cluster {VERSION}"


def test_what_was_compiled_after_the_last_change_is_as_good_as_its_source(copy: Path) -> None:
    assert complaint(copy) == ""


@pytest.mark.parametrize("words", [("--name", "outdated"), ("check",)])
def test_what_has_changed_since_is_not_started(copy: Path, words: tuple[str, ...]) -> None:
    change(copy / SOURCE)
    start = [sys.executable, "run_cluster.py", *words]
    done = subprocess.run(start, cwd=copy, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr == (
        f"run_cluster.py: error: {SOURCE} has changed since it was compiled: "
        "compile again (README, Compiled), or rm balancer/*.so balancer/*/*.so workers/*.so\n"
    )


def test_what_has_no_source_any_more_is_not_started(copy: Path) -> None:
    (copy / SOURCE).unlink()
    assert complaint(copy).startswith(f"{SOURCE} is gone, but not what was compiled from it: ")


def test_what_another_python_compiled_or_all_have_in_common_is_nobodys_concern(copy: Path) -> None:
    compiled = (copy / SOURCE).with_suffix(".so")
    compiled.rename(compiled.with_suffix(".cpython-27-any.so"))
    change(copy / SOURCE, compiled.with_suffix(".cpython-27-any.so"))
    (copy / "balancer" / "compiled__mypyc.so").touch()
    assert complaint(copy) == ""


def test_a_changed_worker_is_found_out_too(copy: Path) -> None:
    source = copy / "workers" / "mailbox.py"
    source.with_suffix(".so").touch()
    change(source)
    assert complaint(copy).startswith("workers/mailbox.py has changed")


def test_where_it_was_installed_nobody_changes_anything(copy: Path) -> None:
    """And the files lie there with the dates at which they were unpacked, in any order."""
    change(copy / SOURCE)
    (copy / "pyproject.toml").unlink()
    assert complaint(copy) == ""


def test_all_that_is_to_be_compiled_is_there() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
    patterns = hook["include"] + hook["exclude"]
    assert all(list(PROJECT.glob(pattern.lstrip("/"))) for pattern in patterns)
