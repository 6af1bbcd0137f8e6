"""How a reply looks to a person or to a program that reads lines: text that no terminal obeys."""

import base64
import json
from dataclasses import asdict
from typing import Any

from balancer.printable import printable_block
from balancer.wire.reply import Reply


def body_text(body: Any) -> str:
    """A str as it is, anything else as JSON would write it."""
    return printable_block(body if isinstance(body, str) else _json(body, (", ", ": ")))


def json_text(value: Any) -> str:
    """One line of JSON; bytes become base64, and what else JSON does not know its repr."""
    return printable_block(_json(value, (",", ":")))


def _json(value: Any, separators: tuple[str, str]) -> str:
    try:
        return json.dumps(_plain(value), ensure_ascii=False, separators=separators)
    except RecursionError:
        return '"(nested too deeply to be printed)"'


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain_key(key): _plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, str | int | float):
        return value
    return repr(value)


def _plain_key(key: Any) -> str | int | float | None:
    plain = _plain(key)
    return repr(plain) if isinstance(plain, list) else plain


def reply_json(reply: Reply) -> str:
    """The whole reply as a line of JSON, without the fields that say nothing."""
    fields = {name: value for name, value in asdict(reply).items() if value not in ("", None, ())}
    if reply.status == 200:
        fields["body"] = reply.body
        del fields["may_have_run"]
    return json_text(fields)


def reply_details(reply: Reply) -> str:
    """One line for people: who answered, at which attempt, and who was tried before."""
    parts = [f"status {reply.status}"]
    parts += [reply.reason] if reply.reason else []
    parts += [f"worker {reply.worker}"] if reply.worker else []
    parts += [f"attempts {reply.attempts}"]
    parts += [f"tried {t.worker}: {t.why} ({t.ms} ms)" for t in reply.tried]
    parts += ["may have run"] if reply.may_have_run else []
    parts += [f"retry after {reply.retry_after_ms} ms"] if reply.retry_after_ms else []
    return printable_block(f"  [{', '.join(parts)}]")
