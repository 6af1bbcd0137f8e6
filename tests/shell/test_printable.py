"""Text of others: what can be read stays, what a terminal would obey does not."""

from balancer.printable import printable_block, printable_line


def test_what_can_be_read_stays() -> None:
    text = "größer → 5%, \N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}"
    assert printable_line(text) == printable_block(text) == text


def test_what_a_terminal_would_obey_is_written_out() -> None:
    text = "\x1b[2J\x07\x7f\x9b\u202e\u2066\u2028\r"
    shown = r"\u001b[2J\u0007\u007f\u009b\u202e\u2066\u2028\u000d"
    assert printable_line(text) == printable_block(text) == shown


def test_a_line_stays_one_line_and_a_block_keeps_its_lines() -> None:
    assert printable_line("a\tb\nc") == r"a\tb\nc"
    assert printable_block("a\tb\nc") == "a\tb\nc"
