"""Every transcript in this directory tells what the core does; and the runner can tell when not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.transcript import HERE, TranscriptError, play, transcripts

ROOT = HERE.parent.parent
GOOD = """\
# A worker that dies hands its request to the next one.
pool echo: a b

0.000 request 1
      1 -> a (attempt 1)
0.300 a dies
      1 -> b (attempt 2)
"""


@pytest.mark.parametrize("path", transcripts(), ids=lambda path: path.stem)
def test_the_transcript_tells_what_happens(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# "), "the first line says in a sentence what the transcript shows"
    assert play(text) == text


def test_there_is_a_transcript_for_every_way_in_which_a_try_ends() -> None:
    assert {path.stem for path in transcripts()} >= {
        "answered",
        "undelivered",
        "empty",
        "garbled",
        "timeout",
        "died",
        "sweep",
        "exhausted",
        "poison_deaths",
        "drain",
        "late_answer",
        "revived",
        "batch",
        "batch_died",
        "batch_poison",
        "batch_filled",
    }


# --- the runner --------------------------------------------------------------------------------


def test_a_good_transcript_comes_out_as_it_is() -> None:
    assert play(GOOD) == GOOD


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("-> b (attempt 2)", "-> a (attempt 2)"),
        ("(attempt 2)", "(attempt 1)"),
        ("      1 -> b (attempt 2)\n", ""),
        ("      1 -> b (attempt 2)\n", "      1 -> b (attempt 2)\n      kill a\n"),
    ],
)
def test_a_wrong_trace_differs_from_what_happens(right: str, wrong: str) -> None:
    assert right in GOOD
    wrong_text = GOOD.replace(right, wrong)
    assert play(wrong_text) == GOOD != wrong_text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "no command in it"),
        ("# Only words.\npool echo: a\n", "no command in it"),
        ("pool echo: a\n0.000 a explodes\n", "line 2: .*unknown command"),
        ("pool echo: a\nrequest 1\n", "line 2: .*unknown command"),
        ("pool echo: a\n0.000 b dies\n", "line 2: .*'b'"),
        ("pool echo: a\n0.000 request 1 twice\n", "line 2: .*twice"),
        ("pool echo: a\nlimit patience: 3\n0.000 request 1\n", "line 3: .*patience"),
        ("pool echo: a\n0.000 request 1\npool more: b\n", "line 3: .*before the first command"),
        ("pool echo: a\n1.000 request 1\n0.500 a dies\n", "line 3: .*time runs backwards"),
        ("pool echo: a\n0.000 request 1\n11.000 a dies\n", "line 3: .*at 10.000: let time pass"),
    ],
)
def test_a_transcript_that_makes_no_sense_is_refused(text: str, error: str) -> None:
    with pytest.raises(TranscriptError, match=error):
        play(text)


def test_the_command_says_whether_the_transcripts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.scenarios"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"0 of {len(transcripts())} differ\n")
