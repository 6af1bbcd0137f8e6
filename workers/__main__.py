"""``python -m workers module:attr --bind ADDR``: one worker process, from its start to its exit.

With ``--check`` in place of ``--bind`` it only imports the handler. Exit codes: 0 stopped by
SIGTERM or checked, 2 no such handler or bad arguments, 3 the handler or its socket could not be
set up.
"""

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import re
import signal
import sys
import time
from contextlib import closing

import zmq

from balancer import lifeline
from balancer.allocator import keep_freed_memory
from workers.finding import UnknownHandler, find
from workers.handler import Handler, describe, format_traceback, load
from workers.mailbox import Mailbox
from workers.rep_socket import RepSocket
from workers.runtime import serve
from workers.stop_signal import StopSignal
from workers.wear import Wear

MAX_BODY_BYTES = 16 * 1024 * 1024
EXIT_UNKNOWN_HANDLER = 2
EXIT_BOOT_ERROR = 3


class Launcher:
    """Whoever started us: the launcher behind ``fd``, told in JSON lines, or a person at stderr."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def tell(self, event: str, text: str, **fields: str) -> None:
        """Report the event with its fields; ``text`` is what a person reads instead."""
        if self._fd is None:
            print(text, file=sys.stderr, flush=True)
            return
        line = json.dumps({"event": event, **fields}, ensure_ascii=False) + "\n"
        with open(self._fd, "wb", closefd=False) as stream:
            stream.write(line.encode("utf-8", "backslashreplace"))

    def tell_worn(self, why: str) -> None:
        # User code may have closed what is not its own; then nobody hears of it.
        with contextlib.suppress(OSError):
            self.tell("worn", f"worn: {why}", why=why)


def main() -> int:
    """Run the worker; the result is its exit code."""
    options = _parse_arguments()
    # SIGABRT is how a worker that hangs is asked for its stack, even where C code holds the GIL.
    faulthandler.enable(all_threads=True)
    # Ctrl-C at a terminal reaches everybody; who stops when is the launcher's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    _tie_to_launcher(options.launcher_fd, options.launcher_pid)
    launcher = Launcher(options.launcher_fd)
    _look_in_current_directory()
    try:
        if options.check:
            _check(options.handler, launcher)
            return 0
        handler = load(options.handler)
    except UnknownHandler as error:
        launcher.tell("unknown_handler", f"error: {error}", error=str(error))
        return EXIT_UNKNOWN_HANDLER
    # Whatever user code raises here is a failed start, SystemExit too.
    except BaseException as error:
        return _report_boot_error(launcher, error)
    _freeze_what_is_loaded()
    return _run(handler, options, launcher)


def _freeze_what_is_loaded() -> None:
    """Have the collector never look again at modules and models: they stay to the end."""
    gc.collect()  # What is garbage by now would else stay, too.
    gc.freeze()


def _check(spec: str, launcher: Launcher) -> None:
    began_at = time.monotonic()
    find(spec)
    took_ms = f"{(time.monotonic() - began_at) * 1000:.0f}"
    launcher.tell("ready", f"{spec} is usable: imported in {took_ms} ms", import_ms=took_ms)


def _run(handler: Handler, options: argparse.Namespace, launcher: Launcher) -> int:
    # Not before user code was imported: a context does not survive a fork.
    with zmq.Context() as context, closing(handler), closing(StopSignal()) as stop:
        try:
            rep = RepSocket(context, options.bind, options.max_body)
        except zmq.ZMQError as error:
            return _report_boot_error(launcher, error)
        # Closed first: the balancer sees us gone before the handler's close() takes its time.
        # The context then waits until the last reply has left.
        with closing(rep):
            try:
                mailbox = Mailbox(rep, options.stream, options.max_body, stop)
            except OSError as error:
                return _report_boot_error(launcher, error)
            with closing(mailbox):
                text = f"worker {options.name or options.handler} is ready on {rep.endpoint}"
                launcher.tell("ready", text, endpoint=rep.endpoint)
                serve(mailbox, handler, options.max_body, _wear(options, launcher))
    return 0


def _wear(options: argparse.Namespace, launcher: Launcher) -> Wear | None:
    if options.max_requests is None and options.max_rss is None:
        return None
    return Wear(options.max_requests, options.max_rss, launcher.tell_worn)


def _look_in_current_directory() -> None:
    """Have the handler found there. The launcher starts us without it, for a folder that is called
    ``workers`` or ``balancer`` would be taken for ours; by now ours are imported."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)


def _report_boot_error(launcher: Launcher, error: BaseException) -> int:
    trace = format_traceback(error)
    launcher.tell("boot_error", trace, error=describe(error), traceback=trace)
    return EXIT_BOOT_ERROR


def _tie_to_launcher(fd: int | None, pid: int | None) -> None:
    if pid is not None:
        lifeline.die_with_parent(pid)
    if fd is not None:
        # What the handler starts must not hold the launcher's socket open.
        os.set_inheritable(fd, False)
        lifeline.kill_group_on_hangup(fd)
        lifeline.watch(fd)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m workers", description="Serve one handler on a REP socket until SIGTERM."
    )
    parser.add_argument("handler", metavar="module:attribute", help="for example workers.demo:echo")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--bind", type=_address, metavar="ADDR")
    task.add_argument("--check", action="store_true", help="import the handler and end")
    parser.add_argument("--name", help="what this worker is called in its messages")
    parser.add_argument("--max-body", type=_size_bytes, default=MAX_BODY_BYTES, metavar="BYTES")
    parser.add_argument("--stream", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--max-requests", type=int, metavar="N", help=argparse.SUPPRESS)
    parser.add_argument("--max-rss", type=int, metavar="BYTES", help=argparse.SUPPRESS)
    parser.add_argument("--launcher-fd", type=int, metavar="N", help=argparse.SUPPRESS)
    parser.add_argument("--launcher-pid", type=int, metavar="P", help=argparse.SUPPRESS)
    return parser.parse_args()


def _address(text: str) -> str:
    if not re.fullmatch(r"ipc://.+|tcp://(127\.[0-9.]+|localhost):([0-9]+|\*)", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither ipc://PATH nor tcp://127.0.0.1:PORT (workers listen locally)"
        )
    return text


def _size_bytes(text: str) -> int:
    size_bytes = int(text)
    if size_bytes < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of bytes above 0")
    return size_bytes


if __name__ == "__main__":
    sys.exit(main())
