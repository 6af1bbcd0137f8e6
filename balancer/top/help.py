"""What top says when it is asked for help."""

from rich.text import Text

from balancer.top.columns import STYLES
from balancer.top.lines import MARGIN, QUIET, STRONG

_KEYS = (
    ("↑ ↓  j k", "select a worker; page up, page down, home, end, too"),
    ("d", "drain it: nothing new for it, and it stops when done"),
    ("r", "restart it: its successor is ready before it goes"),
    ("x  K", "kill it, as kill -9 does; the next one gets its request"),
    ("u", "have it ready again after it was drained or given up"),
    ("q", "quit; the cluster goes on"),
)
_STATES = (
    ("idle busy", "in rotation"),
    ("starting connecting", "on the way into rotation"),
    ("overdue", "still at work on a request whose time has passed"),
    ("ejected", "failed one request after another, and has to rest"),
    ("draining drained", "taken out by a person"),
    ("down failed", "not there; failed: and given up, see u"),
)
_WIDTH = 22


def help_lines() -> list[Text]:
    """Beside keys and states, what the columns of failures count."""
    keys = [_line(Text(key, STRONG), meaning) for key, meaning in _KEYS]
    states = [_line(_coloured(names), meaning) for names, meaning in _STATES]
    failures = [
        _line(Text("EMPTY", QUIET), "it had nothing to say, so the next worker was asked"),
        _line(Text("TIMEOUT DIED GARBLED", QUIET), "it was too slow, died, or wrote nonsense"),
        _line(Text("P50 P99", QUIET), "how long its tries took: half of them, all but 1 %"),
    ]
    return [*keys, Text(), *states, Text(), *failures]


def _coloured(names: str) -> Text:
    return Text(" ").join(Text(name, STYLES[name]) for name in names.split())


def _line(what: Text, meaning: str) -> Text:
    what.truncate(_WIDTH, pad=True)
    return Text(" " * MARGIN).append_text(what).append(meaning)
