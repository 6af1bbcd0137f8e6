"""What is sent: a value written as JSON, a file, or so many bytes; packed once for all requests."""

import json
from pathlib import Path
from typing import Any

from balancer.durations import parse_size_bytes
from balancer.kinds import SIZE
from balancer.wire.requests import encode_payload

REQUEST_DEFAULT = "hello"


def from_json(text: str) -> bytes:
    """The packed value of ``--request``; ValueError with a text that says the fix."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        quoted = json.dumps(text)
        raise ValueError(f"{text!r} is not JSON ({error}); a text is written '{quoted}'") from error
    return _packed(value, text)


def from_file_or_size(text: str) -> bytes:
    """The packed value of ``--payload``; ValueError with a text that says the fix."""
    if _is_size(text):
        return _packed(bytes(SIZE.read(text)), text)
    try:
        content = Path(text).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"{text!r} is neither a size like 10KiB nor a readable file: {why}") from (
            error
        )
    if not text.endswith(".json"):
        return _packed(content, text)
    try:
        return _packed(json.loads(content), text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the content of {text} is not JSON: {error}") from error


def default_payload() -> bytes:
    return _packed(REQUEST_DEFAULT, REQUEST_DEFAULT)


def _is_size(text: str) -> bool:
    try:
        parse_size_bytes(text)
    except ValueError:
        return False
    return True


def _packed(value: Any, text: str) -> bytes:
    try:
        return encode_payload(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"msgpack cannot carry {text!r}: {error}") from error
