"""Which keys were pressed, read from the bytes that a terminal sends for them."""

import codecs
import re

_ESCAPE = "\x1b"
_NAMES = {
    "[A": "up",
    "[B": "down",
    "OA": "up",
    "OB": "down",
    "[5~": "page up",
    "[6~": "page down",
    "[H": "home",
    "[1~": "home",
    "OH": "home",
    "[F": "end",
    "[4~": "end",
    "OF": "end",
}
_SEQUENCE = re.compile(r"\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O]", re.S)
_UNFINISHED = re.compile(r"(?:\[[0-?]*[ -/]*|O)?", re.S)
_PASTE_BEGINS, _PASTE_ENDS = "[200~", _ESCAPE + "[201~"
PENDING_MAX = 64
"""No key is as long: what does not end by then is no sequence."""


class Decoder:
    """A character stands for itself, other keys have names; unknown ones say nothing.

    What is pasted is nobody's command, and is left out.
    """

    def __init__(self) -> None:
        self._characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""
        self._is_pasting = False

    @property
    def is_unfinished(self) -> bool:
        """Whether a key may be on its way in pieces; ``give_up_waiting`` if no more comes soon."""
        return bool(self._pending) and not self._is_pasting

    def feed(self, data: bytes) -> list[str]:
        """The keys that have become complete."""
        self._pending += self._characters.decode(data)
        keys: list[str] = []
        while self._pending and (key := self._next()) is not None:
            keys += [key] if key else []
        return keys

    def give_up_waiting(self) -> list[str]:
        """Nothing has followed an escape: that was the key of this name."""
        was_escape, self._pending = self._pending == _ESCAPE, ""
        return ["escape"] if was_escape else []

    def _next(self) -> str | None:
        """Take a key off; empty for one that says nothing, None if it is not complete."""
        if self._is_pasting:
            return self._skip_pasted()
        first, rest = self._pending[0], self._pending[1:]
        if first != _ESCAPE:
            self._pending = rest
            return first if first.isprintable() else ""
        if rest.startswith(_ESCAPE):
            self._pending = rest
            return "escape"
        if found := _SEQUENCE.match(rest):
            self._pending = rest[found.end() :]
            self._is_pasting = found[0] == _PASTE_BEGINS
            return _NAMES.get(found[0], "")
        if _UNFINISHED.fullmatch(rest) and len(rest) < PENDING_MAX:
            return None
        self._pending = ""
        return ""

    def _skip_pasted(self) -> str | None:
        before, end, after = self._pending.partition(_PASTE_ENDS)
        self._is_pasting = not end
        # Its end may come in pieces, too.
        self._pending = after if end else before[-len(_PASTE_ENDS) + 1 :]
        return "" if end else None
