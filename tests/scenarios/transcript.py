"""Read a plain-text transcript, play it through the real core, and write down what happens.

A transcript is a list of pools, maybe limits and what workers do with a batch, then dated commands;
beneath each command stands its trace, indented. Seconds count from 0. What happens by itself is
shown by ``time passes``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from balancer.core.events import Batching, DrainStarted, Event, Outcome
from tests.core import story
from tests.core.story import START, Story

HERE = Path(__file__).parent
_INDENT = "      "


class TranscriptError(ValueError):
    """The transcript makes no sense; the text says which line and why."""


@dataclass
class _Stage:
    """What the head of a transcript sets up, and which incarnation of a worker is meant."""

    pools: dict[str, str]
    limits: dict[str, Any]
    incarnation: dict[str, int]
    batching: Batching = Batching.NONE
    story: Story | None = None

    def worker(self, slot: str) -> str:
        return f"{slot}#{self.incarnation[slot]}"

    def next_worker(self, slot: str) -> str:
        self.incarnation[slot] += 1
        return self.worker(slot)


def play(text: str) -> str:
    """The transcript with the traces that the core gives today."""
    stage = _Stage({}, {}, {})
    written: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith((" ", "\t")):
            continue
        written.append(line.rstrip())
        if line.strip() and not line.startswith("#"):
            try:
                written += [_INDENT + sentence for sentence in _obey(stage, line)]
            except (KeyError, TypeError, ValueError) as error:
                raise TranscriptError(f"line {number}: {line!r}: {error}") from error
    if stage.story is None:
        raise TranscriptError("no command in it")
    return "\n".join(written).strip("\n") + "\n"


def _obey(stage: _Stage, line: str) -> list[str]:
    if match := re.fullmatch(r"pool (\w+): ([\w ]+)", line):
        stage.pools[match[1]] = match[2]
        stage.incarnation |= dict.fromkeys(match[2].split(), 1)
    elif match := re.fullmatch(r"limit (\w+): (\S+)", line):
        stage.limits[match[1]] = _value(match[2])
    elif match := re.fullmatch(r"batches: (\w+)", line):
        stage.batching = Batching(match[1])
    elif match := re.fullmatch(r"(\d+\.\d{3}) (.+)", line):
        return _happen(stage, START + float(match[1]), match[2])
    else:
        raise ValueError("unknown command")
    if stage.story is not None:
        raise ValueError("pools and limits come before the first command")
    return []


def _happen(stage: _Stage, now: float, command: str) -> list[str]:
    events = _events(stage, command)
    if stage.story is None:
        stage.story = Story(pools=stage.pools, batching=stage.batching, **stage.limits)
    if now < stage.story.now:
        raise ValueError("time runs backwards")
    due = stage.story.core.next_deadline()
    while due is not None and due < now:
        if stage.story.at(due):
            raise ValueError(f"something happens before, at {due - START:.3f}: let time pass")
        due = stage.story.core.next_deadline()
    return stage.story.at(now, *events)


def _events(stage: _Stage, command: str) -> tuple[Event, ...]:
    for pattern, make in _COMMANDS.items():
        if match := re.fullmatch(pattern, command):
            return make(stage, *match.groups())
    raise ValueError("unknown command")


def _request(stage: _Stage, number: str, wishes: str) -> tuple[Event, ...]:
    fields: dict[str, Any] = {}
    for wish in wishes.split():
        name, _, value = wish.partition("=")
        fields[name] = _value(value or "yes")
    return (story.request(int(number), **fields),)


_OUTCOMES = {
    "an answer": Outcome.ANSWER,
    "nothing": Outcome.EMPTY,
    "garbage": Outcome.GARBLED,
    "too late": Outcome.EXPIRED,
}


def _replies(stage: _Stage, slot: str, words: str) -> tuple[Event, ...]:
    outcomes = (_OUTCOMES[word] for word in words.split(", "))
    return (story.replies(stage.worker(slot), *outcomes),)


def _come_back(stage: _Stage, slot: str) -> tuple[Event, ...]:
    worker = stage.next_worker(slot)
    return story.connects(worker), story.ready(worker, stage.batching)


def _value(text: str) -> float | bool | str:
    if text in ("yes", "no"):
        return text == "yes"
    if re.fullmatch(r"\d+", text):
        return int(text)
    return float(text) if re.fullmatch(r"\d+\.\d+", text) else text


_COMMANDS: dict[str, Callable[..., tuple[Event, ...]]] = {
    r"request (\d+)((?: \w+(?:=\S+)?)*)": _request,
    r"(\w+) answers": lambda s, slot: (story.answer(s.worker(slot)),),
    r"(\w+) raises an error": lambda s, slot: (story.answer(s.worker(slot), 500),),
    r"(\w+) replies with nothing": lambda s, slot: (story.empty(s.worker(slot)),),
    r"(\w+) replies with garbage": lambda s, slot: (story.garbled(s.worker(slot)),),
    r"(\w+) says it is too late": lambda s, slot: (story.expired(s.worker(slot)),),
    r"(\w+) dies": lambda s, slot: (story.dies(s.worker(slot)),),
    r"(\w+) turns out to be gone": lambda s, slot: (story.undelivered(s.worker(slot)),),
    r"(\w+) connects": lambda s, slot: (story.connects(s.next_worker(slot)),),
    r"(\w+) is ready": lambda s, slot: (story.ready(s.worker(slot), s.batching),),
    r"(\w+) comes back": _come_back,
    r"(\w+) replies to each: (.+)": _replies,
    r"client (\w+) leaves": lambda s, client: (story.leaves(client),),
    r"drain for at most (\d+) s": lambda s, seconds: (DrainStarted(float(seconds)),),
    r"time passes": lambda s: (),
}


def transcripts() -> list[Path]:
    return sorted(HERE.glob("*.txt"))
