"""What clients ask for: payloads for the handler, and how each is to be sent."""

import random
import signal
from dataclasses import dataclass, field
from typing import Any

PATIENCE_S = 10.0
WORK_MAX_S = 0.008
ALL_POOL = 1_000


@dataclass(frozen=True, slots=True)
class Wish:
    """One request that is still to be sent."""

    kind: str
    do: str = "echo"
    sleep_s: float = 0.0
    once: bool = False
    timeout_s: float = PATIENCE_S
    more: dict[str, Any] = field(default_factory=dict)

    def payload(self, op: str) -> dict[str, Any]:
        return {"op": op, "do": self.do, "sleep_s": self.sleep_s, **self.more}


def ordinary(dice: random.Random) -> Wish:
    """What clients send all the time: small good requests, some to be run once, few in a hurry."""
    sleep_s = dice.uniform(0.001, WORK_MAX_S)
    throw = dice.random()
    if throw < 0.02:
        # It may be late, and then it must be told so in time.
        return Wish(
            "hurried", sleep_s=dice.uniform(0.02, 0.3), timeout_s=dice.choice((0.1, 0.2, 0.3))
        )
    return Wish("echo", sleep_s=sleep_s, once=throw < 0.14)


def crash(dice: random.Random) -> Wish:
    number = int(dice.choice((signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT)))
    return Wish("crash", "crash", 0.005, dice.random() < 0.3, more={"signal": number})


def hang(dice: random.Random) -> Wish:
    return Wish("hang", "hang", once=dice.random() < 0.3, more={"spins": dice.random() < 0.5})


def leak(_: random.Random) -> Wish:
    return Wish("leak", "leak")


def empty(dice: random.Random) -> Wish:
    """Declined by some workers, or by all."""
    declines = dice.choice((1, 2, 3, ALL_POOL))
    kind = "nobody" if declines == ALL_POOL else "empty"
    return Wish(kind, "decline", once=dice.random() < 0.3, more={"declines": declines})


def garbage(_: random.Random) -> Wish:
    """Declined by the pool that knows nothing of it, for the one written by hand to answer."""
    return Wish("garbage", "decline", more={"declines": ALL_POOL, "garbage": True})


def large(_: random.Random) -> Wish:
    return Wish("large", "large")


def slow(dice: random.Random) -> Wish:
    return Wish("slow", sleep_s=dice.uniform(0.2, 0.8))


def raising(_: random.Random) -> Wish:
    return Wish("raise", "raise")


def chatter(_: random.Random) -> Wish:
    return Wish("chatter", "chatter")
