"""The command line: arguments become a configuration that runs, a check, or a question."""

import io
import os
import sys
from collections.abc import Callable

from balancer import compiled
from balancer.arguments import COMMANDS, ORDERS, PROGRAM, Done, parse_cluster, parse_question
from balancer.commands import ask_cluster, check_handlers, fail
from balancer.config import Config, load, load_name, to_toml
from balancer.sources import ConfigError

OK, FAILED, BAD_CONFIGURATION = 0, 1, 2


def main(argv: list[str]) -> int:
    """Do what ``argv`` (without the program's name) says and return the exit code."""
    # A worker's name or error may hold what this terminal cannot show; that must not stop us.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if argv and argv[0] in COMMANDS:
            return _command(argv[0], argv[1:])
        return _run(argv)
    except ConfigError as error:
        return fail(str(error), BAD_CONFIGURATION)
    except Done:
        return OK
    except BrokenPipeError:
        # The reader has enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(argv: list[str]) -> int:
    asked = parse_cluster(argv)
    config = load(asked.flags, asked.handlers, os.environ)
    if asked.print_config:
        print(to_toml(config), end="", flush=True)
        return OK
    return _start(config, lambda: load(asked.flags, asked.handlers, os.environ))


def _start(config: Config, read_again: Callable[[], Config]) -> int:
    _refuse_without_packages()
    _refuse_what_is_outdated()
    _refuse_page_that_cannot_be(config)
    from workers.supervisor import run

    return run(config, read_again)


def _command(word: str, argv: list[str]) -> int:
    if word == "check":
        asked = parse_cluster(argv, word)
        config = load(asked.flags, asked.handlers, os.environ)
        _refuse_without_packages()
        _refuse_what_is_outdated()
        return check_handlers(config)
    if word == "top":
        from balancer.top.command import top

        return top(argv, os.environ)
    if word in ORDERS:
        from balancer.orders import carry_out

        return carry_out(word, argv, os.environ)
    if word == "bench":
        _refuse_without_packages()
        from balancer.bench.command import bench

        return bench(argv, os.environ)
    flags = parse_question(argv, word)
    as_json = flags.pop("json", False)
    return ask_cluster(word, load_name(flags, os.environ), as_json)


def _refuse_page_that_cannot_be(config: Config) -> None:
    if config.dashboard_admin and config.dashboard is None:
        raise ConfigError("dashboard_admin needs a page: add --dashboard 127.0.0.1:8080")
    if config.dashboard and _missing({"starlette": "starlette", "uvicorn": "uvicorn"}):
        raise ConfigError(
            "the dashboard needs more packages: .venv/bin/pip install -e '.[web]', "
            "or start without --dashboard"
        )


def _refuse_what_is_outdated() -> None:
    complaint = compiled.complaint()
    if complaint is not None:
        raise ConfigError(complaint)


def _missing(names: dict[str, str]) -> list[str]:
    """Look for packages without importing them: the launcher has to spawn before that."""
    import importlib.util

    return [name for name, module in names.items() if not importlib.util.find_spec(module)]


def _refuse_without_packages() -> None:
    missing = _missing({"pyzmq": "zmq", "msgpack": "msgpack"})
    if missing:
        raise ConfigError(
            f"{sys.executable} has no {' and no '.join(missing)}: "
            "python3 -m venv .venv && .venv/bin/pip install -e . "
            f"and then .venv/bin/python {PROGRAM}"
        )
