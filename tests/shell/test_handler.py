"""Finding handlers, what is said when there is none, and their errors in words."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import workers
from tests.shell import jobs
from workers.finding import UnknownHandler
from workers.handler import (
    ERROR_CHARS_MAX,
    TRACEBACK_CHARS_MAX,
    Current,
    Handler,
    describe,
    format_traceback,
    load,
)


def about() -> Current:
    return Current("r1", 1, deadline=1_000.0)


def refusal(spec: str) -> str:
    with pytest.raises(UnknownHandler) as raised:
        load(spec)
    text = str(raised.value)
    assert "\n" not in text
    return text


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file to write; it can be imported as ``a_module`` and is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_module", raising=False)
    return tmp_path / "a_module.py"


# --- finding --------------------------------------------------------------------------------------


def test_a_function_is_found_and_called() -> None:
    assert load("tests.shell.jobs:reply_with").handle("0", about) == 0


def test_the_path_may_be_dotted() -> None:
    assert load("tests.shell.jobs:Diary.static").handle(1, about) == {"static": 1}


def test_a_callable_that_is_silent_about_its_arguments_is_taken() -> None:
    assert load("builtins:max").handle([1, 3, 2], about) == 3


def test_a_decorator_counts_with_its_own_arguments(module: Path) -> None:
    module.write_text(
        "import functools\n"
        "def with_database(f):\n"
        "    @functools.wraps(f)\n"
        "    def wrapper(request): return f(request, 'database')\n"
        "    return wrapper\n"
        "@with_database\n"
        "def handle(request, database): return [request, database]\n"
    )
    assert load("a_module:handle").handle(1, about) == [1, "database"]


def test_a_class_without_setup_and_close_will_do(module: Path) -> None:
    module.write_text("class Echo:\n    def __call__(self, request): return request\n")
    handler = load("a_module:Echo")
    assert handler.handle(1, about) == 1
    handler.close()


# --- not finding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["jobs", "jobs:", ":handle", "a..b:c", "a:b..c", "./jobs.py:f"])
def test_a_wrong_spelling_is_told_the_right_one(spec: str) -> None:
    assert refusal(spec) == (
        f"{spec!r} does not name a handler: write module:attribute, for example jobs:handle"
    )


def test_a_module_that_is_not_there_is_named() -> None:
    fix = "looked in the current directory and the installed packages"
    assert refusal("nowhere:f") == f"there is no module 'nowhere' ({fix})"
    assert refusal("nowhere.deep:f") == f"there is no module 'nowhere' ({fix})"
    assert refusal("workers.nowhere:f") == f"there is no module 'workers.nowhere' ({fix})"


def test_a_file_name_is_told_to_be_a_module_name(module: Path) -> None:
    module.write_text("")
    assert "write a_module:attribute, without .py" in refusal("a_module.py:f")


def test_an_attribute_that_is_not_there_has_a_neighbour() -> None:
    assert refusal("workers.demo:ecko").endswith("no attribute 'ecko', did you mean 'echo'?")
    assert refusal("workers.demo:xyzxyz").endswith("no attribute 'xyzxyz'")


@pytest.mark.parametrize("name", ["NOT_CALLABLE", "NotCallable"])
def test_what_cannot_be_called_is_no_handler(name: str) -> None:
    assert "cannot be called: name a function, or a class with __call__" in refusal(
        f"tests.shell.jobs:{name}"
    )


@pytest.mark.parametrize("name", ["no_arguments", "Diary._write"])
def test_a_handler_must_take_one_argument(name: str) -> None:
    assert "must take one argument, the request" in refusal(f"tests.shell.jobs:{name}")


@pytest.mark.parametrize("name", ["asynchronous", "Async"])
def test_an_async_handler_is_refused(name: str) -> None:
    assert "is async" in refusal(f"tests.shell.jobs:{name}")


@pytest.mark.parametrize("name", ["BatchOfTwo", "BatchOfNone"])
def test_batch_must_take_one_list(name: str) -> None:
    text = f"tests.shell.jobs:{name}.batch must take one argument, the list of requests: "
    assert refusal(f"tests.shell.jobs:{name}").startswith(text)


@pytest.mark.parametrize("name", ["BatchAsync", "BatchAsyncGenerator"])
def test_an_async_batch_is_refused(name: str) -> None:
    assert f"{name}.batch is async" in refusal(f"tests.shell.jobs:{name}")


def test_a_missing_import_of_the_module_is_its_own_error(module: Path) -> None:
    module.write_text("import not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="not_installed"):
        load("a_module:f")


def test_an_error_at_import_is_its_own_error(module: Path) -> None:
    module.write_text("def f(request): pass\n1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load("a_module:f")


# --- current --------------------------------------------------------------------------------------


def test_there_is_no_current_request_outside_of_one() -> None:
    with pytest.raises(RuntimeError, match="only known while"):
        workers.current()
    assert Handler(lambda _: workers.current().id, None).handle(0, about) == "r1"
    with pytest.raises(ZeroDivisionError):
        Handler(lambda _: 1 / 0, None).handle(0, about)
    with pytest.raises(RuntimeError, match="only known while"):
        workers.current()


def test_the_remaining_time_runs_down_to_0() -> None:
    now = time.monotonic()
    assert Current("r1", 1, deadline=now - 1).remaining_s() == 0.0
    assert 59.0 < Current("r1", 1, deadline=now + 60).remaining_s() <= 60.0


# --- errors in words ------------------------------------------------------------------------------


def test_an_error_is_its_type_and_its_message() -> None:
    assert describe(ValueError("no good")) == "ValueError: no good"
    assert describe(ValueError()) == "ValueError"
    assert describe(jobs.Awkward()) == "Awkward: (it has no readable message)"
    assert describe(ValueError("\ud800")) == "ValueError: ?"
    name_chars = len("ValueError: ")
    longest = "x" * (ERROR_CHARS_MAX - name_chars)
    assert describe(ValueError(longest)) == f"ValueError: {longest}"
    assert len(describe(ValueError(longest + "x"))) == ERROR_CHARS_MAX


def raised(request: Any) -> BaseException:
    with pytest.raises(ValueError, match=r"no good|\U0001F600") as info:
        load("tests.shell.jobs:fail").handle(request, about)
    return info.value


def test_a_traceback_begins_where_user_code_does() -> None:
    text = format_traceback(raised("x"))
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ValueError: no good")


def test_a_long_traceback_keeps_both_ends() -> None:
    text = format_traceback(raised("long"))
    assert text.startswith("Traceback (most recent call last):\n")
    assert TRACEBACK_CHARS_MAX < len(text) < TRACEBACK_CHARS_MAX + 10


# --- by hand --------------------------------------------------------------------------------------


def run_by_hand(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers", *arguments],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=10,
    )


def test_by_hand_an_unknown_handler_is_one_line_on_stderr(tmp_path: Path) -> None:
    done = run_by_hand("nowhere:f", "--bind", "tcp://127.0.0.1:*", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no module 'nowhere'")
    assert done.stderr.count("\n") == 1


def test_by_hand_a_failed_start_is_the_traceback_of_user_code_alone(tmp_path: Path) -> None:
    """The module is found in the current directory."""
    (tmp_path / "broken.py").write_text("import sys\nsys.exit('no model file')\n")
    done = run_by_hand("broken:f", "--bind", "tcp://127.0.0.1:*", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith("Traceback (most recent call last):\n  File ")
    assert done.stderr.splitlines()[1].endswith('broken.py", line 2, in <module>')
    assert done.stderr.endswith("SystemExit: no model file\n")


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:6001", "tcp://*:6001", "ipc://", "inproc://x"])
def test_by_hand_an_address_that_others_can_reach_is_refused(address: str, tmp_path: Path) -> None:
    done = run_by_hand("workers.demo:echo", "--bind", address, cwd=tmp_path)
    assert done.returncode == 2
    assert "workers listen locally" in done.stderr


def test_by_hand_the_worker_says_where_it_is() -> None:
    command = [sys.executable, "-m", "workers", "workers.demo:echo"]
    command += ["--bind", "tcp://127.0.0.1:*", "--name", "mine"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
        finally:
            process.terminate()
        assert line.startswith("worker mine is ready on tcp://127.0.0.1:")
        assert process.wait(10) == 0


def test_a_start_imports_nothing_heavy() -> None:
    code = "import sys, workers.__main__; print(*sys.modules, sep='\\n')"
    listing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(listing.stdout.split())
    assert "workers.runtime" in loaded
    assert not loaded & {"asyncio", "logging", "traceback", "multiprocessing", "tomllib", "socket"}
