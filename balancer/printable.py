"""Text that other people wrote, made harmless for terminals and for readers of lines."""

# What could move the cursor, colour the screen, begin a line or reverse the text.
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F)]
_CONTROLS += range(0x2066, 0x206A)
# Written as in JSON, so that text which is JSON stays so.
_ESCAPES = {code: f"\\u{code:04x}" for code in _CONTROLS}
_ESCAPES_IN_BLOCKS = {code: text for code, text in _ESCAPES.items() if chr(code) not in "\n\t"}
_ESCAPES |= {ord("\n"): r"\n", ord("\t"): r"\t"}


def printable_line(text: str) -> str:
    """The text as a single line: its control characters escaped, line feed and tab too."""
    return text.translate(_ESCAPES)


def printable_block(text: str) -> str:
    """The text with its control characters escaped, all but line feed and tab."""
    return text.translate(_ESCAPES_IN_BLOCKS)
