"""What the words status, stop and check do; each returns the program's exit code."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from balancer.arguments import PROGRAM
from balancer.config import Config, Pool
from balancer.printable import printable_block, printable_line

if TYPE_CHECKING:
    from workers.check import Finding

OK, FAILED, BAD_CONFIGURATION, INTERRUPTED = 0, 1, 2, 130
STOP_MARGIN_S = 15.0
"""What a launcher may need beyond its drain_timeout to end every process."""

Ask = Callable[[str, str], dict[str, Any]]
WaitUntilGone = Callable[[str, float], bool]


def fail(text: str, code: int) -> int:
    """Say in one line what went wrong; the result is ``code``."""
    print(f"{PROGRAM}: error: {printable_line(text)}", file=sys.stderr)
    return code


# --- to a running cluster -----------------------------------------------------------------------


def ask_cluster(word: str, name: str, as_json: bool) -> int:
    """Have the cluster ``name`` do what the word says; without one, say how to start it."""
    from balancer.control import NotRunning, ask, wait_until_gone

    try:
        if word == "stop":
            return stop(name, ask, wait_until_gone)
        return show_status(name, as_json, ask)
    except NotRunning as error:
        return fail_without_cluster(name, error)
    except KeyboardInterrupt:
        return INTERRUPTED


def show_status(name: str, as_json: bool, ask: Ask) -> int:
    """Print the cluster's state; ``ask`` raises NotRunning where there is no cluster."""
    status = ask(name, "status")
    if as_json:
        import json

        del status["op"]
        print(json.dumps(status, indent=2), flush=True)
    else:
        from balancer.status import render

        print(render(status), end="", flush=True)
    return OK


def stop(name: str, ask: Ask, wait_until_gone: WaitUntilGone) -> int:
    """Ask the cluster to drain and wait until it is gone."""
    reply = ask(name, "stop")
    timeout_s = reply.get("drain_timeout_s", Config().drain_timeout_s) + STOP_MARGIN_S
    if not wait_until_gone(name, timeout_s):
        return fail(f"cluster {name!r} is still stopping after {timeout_s:.0f}s", FAILED)
    print(f"cluster {name!r} stopped", flush=True)
    return OK


def fail_without_cluster(name: str, error: Exception) -> int:
    """Say that nobody of that name answers; ``error`` is the NotRunning that told it."""
    if isinstance(error.__cause__, TimeoutError):
        return fail(f"cluster {name!r} does not answer", FAILED)
    print(not_running(name), file=sys.stderr)
    return FAILED


def not_running(name: str) -> str:
    """What to do where there is no cluster of that name."""
    from balancer.control import running_names

    others = running_names()
    if others:
        return f"no cluster named {name!r} is running, but by --name: {', '.join(others)}"
    option = "" if name == Config().name else f" --name {name}"
    return f"no cluster named {name!r} is running; start one with: python {PROGRAM}{option}"


# --- before there is one ------------------------------------------------------------------------


def check_handlers(config: Config) -> int:
    """Import every handler on trial and print a line for each; tracebacks go to stderr."""
    from workers.check import check

    handlers = [pool.handler for pool in config.pools if pool.handler]
    findings = check(handlers, config.startup_timeout_s, _show_output)
    lines = {finding.handler: _line(finding) for finding in findings}
    lines |= {pool.name: _static_line(pool) for pool in config.pools if not pool.handler}
    width = max(map(len, lines))
    for name, line in lines.items():
        print(printable_line(f"{name:<{width}}  {line}"), flush=True)
    # Two handlers of one module fail alike.
    for trace in dict.fromkeys(finding.traceback for finding in findings if finding.traceback):
        print(printable_block(trace), file=sys.stderr)
    if any(finding.is_unknown for finding in findings):
        return BAD_CONFIGURATION
    return OK if all(finding.is_ok for finding in findings) else FAILED


def _show_output(handler: str, line: str) -> None:
    print(printable_line(f"{handler} | {line}"), file=sys.stderr)


def _line(finding: "Finding") -> str:
    if finding.is_ok:
        return f"ok, imported in {finding.import_s * 1000:.0f} ms"
    return f"failed: {finding.error}"


def _static_line(pool: Pool) -> str:
    number = len(pool.endpoints)
    return f"ok, {number} endpoint{'s' * (number != 1)}, not dialed"
