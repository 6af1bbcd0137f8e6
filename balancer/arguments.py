"""What may stand on the command line: its parser, made of the table of options, and refusals."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from balancer import compiled
from balancer.kinds import SWITCH
from balancer.options import OPTIONS, Option
from balancer.sources import ConfigError

VERSION = "0.1.0"
PROGRAM = "run_cluster.py"
COMMANDS = {
    "check": "Check the configuration and import every handler, without starting anything.",
    "status": "Show what a running cluster, its workers and its queue are doing.",
    "top": "Watch a running cluster in the terminal, and steer its workers.",
    "drain": "Have a worker take nothing new, finish what it does, and stop.",
    "ready": "Bring back a worker that was drained or given up.",
    "restart": "Replace a worker, or one after another all, without losing a request.",
    "kill": "Kill a worker, as kill -9 does.",
    "scale": "Give a pool of a running cluster another number of workers.",
    "events": "Show what happens in a running cluster, as it happens.",
    "trace": "Show how a request went, or the latest ones: who tried them, and for how long.",
    "stop": "Let a running cluster finish its requests and end; returns when it is gone.",
    "bench": "Load a running cluster, kill its workers meanwhile if asked to, show the figures.",
}
_OPERANDS = {
    **dict.fromkeys(("drain", "ready", "kill"), "WORKER "),
    "restart": "[WORKER] ",
    "scale": "POOL N ",
    "trace": "[REQUEST] ",
}
ORDERS = ("drain", "ready", "restart", "kill", "scale", "events", "trace")

_USAGE = f"""{PROGRAM} [HANDLER ...] [options]     run a cluster
       {PROGRAM} check [HANDLER ...] [options]  see first whether its handlers import
       {PROGRAM} status [--json] [--name NAME]  show a running one
       {PROGRAM} top [--interval 1s]            watch it, and steer its workers
       {PROGRAM} events | trace [REQUEST]       see what happens, or how a request went
       {PROGRAM} drain | ready | restart | kill WORKER
       {PROGRAM} scale POOL N
       {PROGRAM} stop [--name NAME]             let it finish its requests and end
       {PROGRAM} bench [options]                load it, and show the figures"""
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
  run_cluster.py check jobs:resize              does it import? starts nothing
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


class Cluster(NamedTuple):
    """The cluster that is asked for: what was given, as texts."""

    flags: dict[str, str]
    """By option name."""
    handlers: list[str]
    print_config: bool


def parse_cluster(argv: Sequence[str], command: str = "") -> Cluster:
    """Read the arguments that run a cluster, or those of a ``command`` that takes the same.

    ConfigError if they make no sense, Done if they only ask to be explained.
    """
    namespace, unknown = _cluster_parser(command).parse_known_intermixed_args(argv)
    flags = vars(namespace)
    handlers, print_config = flags.pop("handlers", []), flags.pop("print_config", False)
    _refuse_unknown(unknown)
    for word in handlers:
        _refuse_stray_word(word)
    return Cluster(flags, handlers, print_config)


def parse_question(
    argv: Sequence[str],
    command: str,
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> dict[str, Any]:
    """Read the arguments of a ``command`` to a running cluster; raises like ``parse_cluster``.

    ``add_options`` adds those that it alone has.
    """
    usage = f"{PROGRAM} {command} {_OPERANDS.get(command, '')}[options]"
    parser = _Parser(usage=usage, description=COMMANDS[command])
    if add_options is not None:
        add_options(parser)
    for option in OPTIONS:
        if option.name in ("name", "config"):
            parser.add_argument(option.flag, metavar=option.kind.metavar, help=option.help)
    if command == "status":
        parser.add_argument("--json", action="store_true", help="print JSON, a stable format")
    parser.add_argument("-h", "--help", action="help", help="show this and exit")
    return vars(parser.parse_args(argv))


class Done(Exception):
    """--help or --version was shown; there is nothing else to do."""


# --- the parsers -------------------------------------------------------------------------------


def _cluster_parser(command: str) -> argparse.ArgumentParser:
    if command:
        usage = f"{PROGRAM} {command} [HANDLER ...] [options as for running]"
        parser = _Parser(usage, COMMANDS[command])
    else:
        parser = _Parser(_USAGE, _DESCRIPTION, _EPILOG)
    parser.add_argument("handlers", metavar="HANDLER", nargs="*", help=argparse.SUPPRESS)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in OPTIONS:
        if option.group not in groups:
            groups[option.group] = parser.add_argument_group(option.group)
        _add_option(groups[option.group], option)
    other = parser.add_argument_group("other")
    if not command:
        other.add_argument(
            "--print-config",
            action="store_true",
            help="print the configuration as a TOML file for --config, and exit",
        )
        other.add_argument("--version", action=_ShowVersion, help="show it and exit")
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


class _ShowVersion(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **rest: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **rest)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"failover-cluster {VERSION}{', compiled' if compiled.is_used() else ''}")
        parser.exit()


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
        raise Done

    def error(self, message: str) -> NoReturn:
        stray = re.fullmatch("unrecognized arguments: ([^-]\\S*)", message)
        hint = f"; did you mean --name {stray[1]}?" if stray else ""
        raise ConfigError(f"{message}{hint} (see {PROGRAM} --help)")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


# --- refusals -----------------------------------------------------------------------------------


def _refuse_unknown(arguments: Sequence[str]) -> None:
    if arguments:
        flag = arguments[0].partition("=")[0]
        known = [option.flag for option in OPTIONS]
        hint = _nearest(flag, [*known, "--no-restart", "--print-config", "--version", "--help"])
        raise ConfigError(f"unknown option {flag!r}{hint} (see {PROGRAM} --help)")


def _refuse_stray_word(word: str) -> None:
    if word in COMMANDS:
        raise ConfigError(f"{word!r} must be the first word: {PROGRAM} {word} [options]")
    if ":" not in word:
        # A first letter is rarely mistyped, and 'atop' must not become 'stop'.
        hint = _nearest(word, [command for command in COMMANDS if command[:1] == word[:1]])
        raise ConfigError(
            f"{word!r} is neither a command nor a handler (module:attribute)"
            f"{hint or ', for example workers.demo:server1'}"
        )


def _nearest(word: str, known: Sequence[str]) -> str:
    import difflib

    matches = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
