"""The balancer's reply as its client reads it and keeps it."""

from dataclasses import dataclass
from typing import Any

from balancer.wire.requests import Echo
from balancer.wire.values import WireError, decode_payload


@dataclass(frozen=True, slots=True)
class Try:
    """A failed try as the client sees it."""

    worker: str
    why: str
    ms: float


@dataclass(frozen=True, slots=True)
class Reply:
    """The balancer's whole answer to one request. ``body`` is set for status 200 alone."""

    status: int
    body: Any = None
    error: str = ""
    reason: str = ""
    worker: str = ""
    attempts: int = 0
    tried: tuple[Try, ...] = ()
    may_have_run: bool = False
    retry_after_ms: int | None = None
    id: Echo = None


def decode_reply(frame: bytes) -> Reply:
    """Read the balancer's answer; WireError if it is none, which only a broken peer sends."""
    fields = decode_payload(frame)
    try:
        tried = tuple(Try(t["worker"], t["why"], t["ms"]) for t in fields.pop("tried", ()))
        known = {name: fields[name] for name in Reply.__dataclass_fields__ if name in fields}
        if type(known["status"]) is not int or type(known.get("reason", "")) is not str:
            raise WireError("not a reply of a balancer")
        return Reply(**known, tried=tried)
    except (AttributeError, KeyError, TypeError) as error:
        raise WireError("not a reply of a balancer") from error


def decode_welcome(frame: bytes) -> str:
    """The life that a balancer told of; empty if the frame tells of none."""
    try:
        body = decode_reply(frame).body
    except WireError:
        return ""
    life = body.get("life") if isinstance(body, dict) else None
    return life if isinstance(life, str) else ""
