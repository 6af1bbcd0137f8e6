"""The command line: arguments become a configuration that runs, or a question to a cluster."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from balancer.config import Config, load, load_name, to_toml
from balancer.kinds import SWITCH
from balancer.options import OPTIONS, Option
from balancer.sources import ConfigError

VERSION = "0.1.0"
PROGRAM = "run_cluster.py"
OK, FAILED, BAD_CONFIGURATION, INTERRUPTED = 0, 1, 2, 130
STOP_MARGIN_S = 15.0
"""What a launcher may need beyond its drain_timeout to end every process."""

Ask = Callable[[str, str], Mapping[str, Any]]
WaitUntilGone = Callable[[str, float], bool]

_USAGE = f"""{PROGRAM} [HANDLER ...] [options]     run a cluster
       {PROGRAM} status [--json] [--name NAME]  show a running one
       {PROGRAM} stop [--name NAME]             let it finish its requests and end"""
_DESCRIPTION = """\
Run Python functions in a supervised pool of worker processes behind one ZeroMQ address.
A worker that dies or hangs is replaced, and the request it held goes to the next one.

HANDLER is module:attribute, a function or a class. Several handlers make several pools,
asked in that order. Without one, the demo runs."""
_EPILOG = """\
examples:
  run_cluster.py                                the demo on tcp://127.0.0.1:5555
  run_cluster.py jobs:resize -w 8               8 processes of resize() in jobs.py
  run_cluster.py fast:answer slow:answer        slow is asked where fast has no answer
  run_cluster.py jobs:resize --try-timeout 5s   move on after 5 s without an answer
  run_cluster.py --config cluster.toml          options and pools from a file
  run_cluster.py jobs:resize --print-config > cluster.toml
  run_cluster.py status                         what every worker does right now

values:
  durations: 30, 30s, 500ms, 5m, 2h    sizes: 1000000, 64KiB, 16MiB    shares: 20%, 0.2

where options come from:
  Each option --try-timeout is CLUSTER_TRY_TIMEOUT in the environment and try_timeout in a
  TOML file. The command line wins over the environment, the environment over the file.
  Handlers: CLUSTER_HANDLERS="a:b c:d", in the file handlers = ["a:b", "c:d"] or tables
  [[pool]] with handler, workers and name, or with endpoints, probe and name for workers
  that run already.

exit codes: 0 stopped as asked, 1 the pool failed, 2 bad arguments or configuration,
  3 could not bind"""


def main(argv: list[str]) -> int:
    """Do what ``argv`` (without the program's name) says and return the exit code."""
    # A worker's name or error may hold what this terminal cannot show; that must not stop us.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if argv and argv[0] in _COMMANDS:
            return _command(argv[0], argv[1:])
        return _run(argv)
    except ConfigError as error:
        return _fail(str(error), BAD_CONFIGURATION)
    except _Done:
        return OK
    except BrokenPipeError:
        # The reader has enough. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _fail(text: str, code: int) -> int:
    from balancer.printable import printable_line

    print(f"{PROGRAM}: error: {printable_line(text)}", file=sys.stderr)
    return code


# --- running a cluster ------------------------------------------------------------------------


def _run(argv: list[str]) -> int:
    namespace, unknown = _run_parser().parse_known_intermixed_args(argv)
    flags = vars(namespace)
    handlers, print_config = flags.pop("handlers", []), flags.pop("print_config", False)
    _refuse_unknown(unknown)
    for word in handlers:
        _refuse_stray_word(word)
    config = load(flags, handlers, os.environ)
    if print_config:
        print(to_toml(config), end="", flush=True)
        return OK
    return _start(config, lambda: load(flags, handlers, os.environ))


def _start(config: Config, read_again: Callable[[], Config]) -> int:
    _refuse_without_packages()
    from workers.supervisor import run

    return run(config, read_again)


def _run_parser() -> argparse.ArgumentParser:
    parser = _Parser(usage=_USAGE, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("handlers", metavar="HANDLER", nargs="*", help=argparse.SUPPRESS)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        _add_option(groups[option.group], option)
    other = parser.add_argument_group("other")
    other.add_argument(
        "--print-config",
        action="store_true",
        help="print the configuration as a TOML file for --config, and exit",
    )
    other.add_argument("--version", action="version", version=f"failover-cluster {VERSION}")
    other.add_argument("-h", "--help", action="help", help="show this and exit")
    return parser


def _add_option(group: argparse._ArgumentGroup, option: Option) -> None:
    help = f"{option.help} (default: {option.shown_default})".replace("%", "%%")
    if option.kind is SWITCH:
        negative = f"--no-{option.flag.removeprefix('--')}"
        group.add_argument(option.flag, negative, action=_Switch, dest=option.name, help=help)
    else:
        names = [option.short_flag, option.flag] if option.short_flag else [option.flag]
        group.add_argument(*names, metavar=option.kind.metavar, dest=option.name, help=help)


class _Switch(argparse.Action):
    """A flag and its ``--no-`` form, stored as the text that the environment would have."""

    def __init__(self, option_strings: Sequence[str], dest: str, **rest: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **rest)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        is_off = option_string is not None and option_string.startswith("--no-")
        setattr(namespace, self.dest, "false" if is_off else "true")


class _Parser(argparse.ArgumentParser):
    """Leaves out what was not given, and raises ConfigError where argparse would exit."""

    def __init__(self, usage: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=PROGRAM,
            usage=usage,
            description=description,
            epilog=epilog,
            formatter_class=_HelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            add_help=False,
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()
        raise _Done

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {PROGRAM} --help)")


class _Done(Exception):
    """--help or --version was shown; there is nothing else to do."""


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def _refuse_unknown(arguments: Sequence[str]) -> None:
    if arguments:
        flag = arguments[0].partition("=")[0]
        known = [option.flag for option in OPTIONS]
        hint = _nearest(flag, [*known, "--no-restart", "--print-config", "--version", "--help"])
        raise ConfigError(f"unknown option {flag!r}{hint} (see {PROGRAM} --help)")


def _refuse_stray_word(word: str) -> None:
    if word in _COMMANDS:
        raise ConfigError(f"{word!r} must be the first word: {PROGRAM} {word} [options]")
    if ":" not in word:
        # A first letter is rarely mistyped, and 'top' must not become 'stop'.
        hint = _nearest(word, [command for command in _COMMANDS if command[:1] == word[:1]])
        raise ConfigError(
            f"{word!r} is neither a command nor a handler (module:attribute)"
            f"{hint or ', for example workers.demo:server1'}"
        )


def _nearest(word: str, known: Sequence[str]) -> str:
    import difflib

    matches = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _refuse_without_packages() -> None:
    """Look for them without importing them: the launcher has to spawn before that."""
    import importlib.util

    names = {"pyzmq": "zmq", "msgpack": "msgpack"}
    missing = [name for name, module in names.items() if not importlib.util.find_spec(module)]
    if missing:
        raise ConfigError(
            f"{sys.executable} has no {' and no '.join(missing)}: "
            "python3 -m venv .venv && .venv/bin/pip install -e . "
            f"and then .venv/bin/python {PROGRAM}"
        )


# --- asking a running cluster -----------------------------------------------------------------


def _command(word: str, argv: list[str]) -> int:
    parser = _Parser(usage=f"{PROGRAM} {word} [options]", description=_COMMANDS[word])
    for option in OPTIONS:
        if option.name in ("name", "config"):
            parser.add_argument(option.flag, metavar=option.kind.metavar, help=option.help)
    if word == "status":
        parser.add_argument("--json", action="store_true", help="print JSON, a stable format")
    parser.add_argument("-h", "--help", action="help", help="show this and exit")
    flags = vars(parser.parse_args(argv))
    as_json = flags.pop("json", False)
    name = load_name(flags, os.environ)

    from balancer.control import NotRunning, ask, wait_until_gone

    try:
        if word == "stop":
            return stop(name, ask, wait_until_gone)
        return show_status(name, as_json, ask)
    except NotRunning as error:
        if isinstance(error.__cause__, TimeoutError):
            return _fail(f"cluster {name!r} does not answer", FAILED)
        print(_not_running(name), file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


_COMMANDS = {
    "status": "Show what a running cluster, its workers and its queue are doing.",
    "stop": "Let a running cluster finish its requests and end; returns when it is gone.",
}


def show_status(name: str, as_json: bool, ask: Ask) -> int:
    """Print the cluster's state; ``ask`` raises NotRunning where there is no cluster."""
    status = ask(name, "status")
    if as_json:
        import json

        shown = {key: status[key] for key in ("cluster", "workers", "queue", "totals")}
        print(json.dumps(shown, indent=2), flush=True)
    else:
        from balancer.status import render

        print(render(status), end="", flush=True)
    return OK


def stop(name: str, ask: Ask, wait_until_gone: WaitUntilGone) -> int:
    """Ask the cluster to drain and wait until it is gone."""
    reply = ask(name, "stop")
    timeout_s = reply.get("drain_timeout_s", Config().drain_timeout_s) + STOP_MARGIN_S
    if not wait_until_gone(name, timeout_s):
        return _fail(f"cluster {name!r} is still stopping after {timeout_s:.0f}s", FAILED)
    print(f"cluster {name!r} stopped", flush=True)
    return OK


def _not_running(name: str) -> str:
    option = "" if name == Config().name else f" --name {name}"
    return f"no cluster named {name!r} is running; start one with: python {PROGRAM}{option}"
