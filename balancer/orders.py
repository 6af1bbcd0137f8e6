"""The words that steer a running cluster, or have it tell; each returns an exit code."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from balancer.arguments import parse_question
from balancer.commands import FAILED, INTERRUPTED, OK, fail, fail_without_cluster
from balancer.config import load_name
from balancer.control import NotRunning, ask, follow
from balancer.telling import event_line, story_lines

LAST_EVENTS, LAST_STORIES = 10, 20
EVENTS_MAX, STORIES_MAX = 2000, 100


def carry_out(word: str, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Do what ``word`` and its arguments say; ConfigError if those make no sense."""
    asked = parse_question(argv, word, _OPTIONS[word])
    as_json = asked.pop("json", False)
    words = {key: asked.pop(key) for key in _WORDS if key in asked}
    name = load_name(asked, environ)
    try:
        if word == "events":
            return _show_events(name, words, as_json)
        if word == "trace":
            return _show_stories(name, words, as_json)
        return _steer(word, name, words, as_json)
    except NotRunning as error:
        return fail_without_cluster(name, error)
    except KeyboardInterrupt:
        return OK if word == "events" else INTERRUPTED


def _steer(word: str, name: str, words: Mapping[str, Any], as_json: bool) -> int:
    reply = ask(name, word, **words)
    if as_json:
        _print_json({key: value for key, value in reply.items() if key != "op"})
    elif "error" not in reply:
        print(reply["did"], flush=True)
    if "error" in reply:
        return FAILED if as_json else fail(reply["error"], FAILED)
    return OK


def _show_events(name: str, words: Mapping[str, Any], as_json: bool) -> int:
    """The last ones, and then what happens, until the cluster ends or the reader has enough."""
    for record in follow(name, {"last": LAST_EVENTS, **words}):
        if as_json:
            print(json.dumps(record), flush=True)
        else:
            print(event_line(record), flush=True)
    return OK


def _show_stories(name: str, words: Mapping[str, Any], as_json: bool) -> int:
    reply = ask(name, "trace", **{"last": LAST_STORIES, **words})
    if "error" in reply:
        return fail(reply["error"], FAILED)
    stories = reply["requests"]
    if as_json:
        _print_json(stories)
    elif stories:
        print("\n".join(line for story in stories for line in story_lines(story)), flush=True)
    if not stories and "request" in words:
        return fail(f"no request {words['request']!r} among the latest: see 'trace'", FAILED)
    return OK


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2), flush=True)


# --- arguments ----------------------------------------------------------------------------------

_WORDS = ("worker", "pool", "workers", "request", "last", "follow", "troubled")
"""What goes to the cluster as it is."""


def _add_worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker", metavar="WORKER", help="its name, as status shows it")
    _add_json(parser)


def _add_worker_or_all(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker", metavar="WORKER", nargs="?", help="its name; without it, all")
    _add_json(parser)


def _add_scale(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pool", metavar="POOL", help="its name, as in status --json")
    parser.add_argument("workers", metavar="N", type=_count, help="how many workers it is to have")
    _add_json(parser)


def _add_events(parser: argparse.ArgumentParser) -> None:
    _add_last(parser, LAST_EVENTS, EVENTS_MAX)
    parser.add_argument(
        "--no-follow",
        dest="follow",
        action="store_false",
        default=True,
        help="end after those that have happened",
    )
    _add_json(parser)


def _add_trace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("request", metavar="REQUEST", nargs="?", help="its name, as in the log")
    _add_last(parser, LAST_STORIES, STORIES_MAX)
    parser.add_argument(
        "--failed",
        dest="troubled",
        action="store_true",
        help="only requests with a failed try, an error or a refusal",
    )
    _add_json(parser)


def _add_last(parser: argparse.ArgumentParser, default: int, maximum: int) -> None:
    parser.add_argument(
        "--last", metavar="N", type=_count, help=f"the last N, at most {maximum} ({default})"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of them: write it like 4")
    return int(text)


_OPTIONS = {
    "drain": _add_worker,
    "ready": _add_worker,
    "kill": _add_worker,
    "restart": _add_worker_or_all,
    "scale": _add_scale,
    "events": _add_events,
    "trace": _add_trace,
}
