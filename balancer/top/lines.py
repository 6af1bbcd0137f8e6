"""Lines of text with styles: put together, wrapped between their parts, cut with an ellipsis."""

from collections.abc import Iterable, Sequence

from rich.text import Text

MARGIN = 2
"""Free columns at the left; half as many are enough at the right, where few lines end."""
RIGHT_MARGIN = 1
GAP = 3

QUIET = "bright_black"
STRONG = "bold"
WARNING = "yellow"
TROUBLE = "bold red"


def pair(label: str, value: str, style: str = "") -> Text:
    """A label and what it stands for."""
    return Text.assemble((f"{label} ", QUIET), (value, style))


def flow(parts: Iterable[Text], width: int) -> list[Text]:
    """The parts beside one another, as many as fit into each line."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + GAP + part.cell_len <= width - RIGHT_MARGIN:
            lines[-1].append(" " * GAP).append_text(part)
        else:
            lines.append(Text(" " * MARGIN).append_text(part))
    return lines


def apart(left: Text, right: Text, width: int) -> Text:
    """One at each end of the line; the right one is left out where both do not fit."""
    room = width - RIGHT_MARGIN - left.cell_len - right.cell_len
    if room < GAP:
        return left
    return left.copy().append(" " * room).append_text(right)


def wrapped(text: Text, width: int, lines_max: int) -> list[Text]:
    """The text in so many lines at most, between its words."""
    room = max(1, width - MARGIN - RIGHT_MARGIN)
    words, lines = text.plain.split(" "), [""]
    for word in words:
        longer = f"{lines[-1]} {word}".lstrip(" ")
        if Text(longer).cell_len <= room or not lines[-1] or len(lines) == lines_max:
            lines[-1] = longer
        else:
            lines.append(word)
    return [Text(" " * MARGIN + line, style=text.style) for line in lines]


def indented(line: Text, columns: int) -> Text:
    return Text(" " * columns).append_text(line)


def fitted(lines: Sequence[Text], width: int, number: int) -> list[Text]:
    """So many lines of exactly this width."""
    result = [line.copy() for line in lines[:number]]
    result += [Text() for _ in range(number - len(result))]
    for line in result:
        line.no_wrap, line.overflow = True, "crop"
        line.truncate(max(1, width - RIGHT_MARGIN), overflow="ellipsis", pad=True)
        line.pad_right(width - line.cell_len)
    return result
