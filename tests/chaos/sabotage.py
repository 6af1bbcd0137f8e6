"""Bugs on purpose: each breaks a copy of the project, and the checker must find it there.

``python -m tests.chaos --sabotage NAME`` plays one of them, ``all`` every one.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cluster.running import PROJECT

SECONDS = 5.0
PACE = 8.0
PLAY_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Edit:
    """``new`` in place of ``old``, which must be there just once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Sabotage:
    check: str
    """Which one is to find it."""
    faults: str
    edits: tuple[Edit, ...]


_HURRY = Edit("tests/chaos/run.py", "GOODS = 1000\n", "GOODS = 200\n")
"""What is to be found is found before the last good requests, or by a few of them."""
_IMPATIENT = Edit("tests/chaos/run.py", "HEAL_TIMEOUT_S = 15.0", "HEAL_TIMEOUT_S = 4.0")
_JOBS = "tests/chaos/jobs.py"
_PLACING = "balancer/core/placing.py"
_FRONTEND = "balancer/frontend.py"

SABOTAGES: dict[str, Sabotage] = {
    "two-replies": Sabotage(
        "C1",
        "empty",
        (
            Edit(
                _FRONTEND,
                "        if connection.say(envelope, body):\n",
                "        if connection.say(envelope, body) and connection.say(envelope, body):\n",
            ),
        ),
    ),
    "anothers-body": Sabotage(
        "C2",
        "empty",
        (
            Edit(
                _JOBS,
                "        return body\n",
                "        self._last, body = body, getattr(self, '_last', body)\n"
                "        return body\n",
            ),
        ),
    ),
    "swapped-envelopes": Sabotage(
        "C2",
        "empty",
        (
            Edit(
                _FRONTEND,
                "            if connection.say(envelope, body):  # as ``_say``\n",
                "            held, self._held = getattr(self, '_held', None), None\n"
                "            if held is not None:\n"
                "                self._say(*held[0], body)\n"
                "                self._say(connection, envelope, held[1])\n"
                "            elif self._open:\n"
                "                self._held = ((connection, envelope), body)\n"
                "            else:\n"
                "                self._say(connection, envelope, body)\n"
                "            if not connection.has_ended:\n",
            ),
        ),
    ),
    "two-at-a-time": Sabotage(
        "C3", "empty", (Edit(_JOBS, " at=time.monotonic(),\n", " at=time.monotonic() + 0.05,\n"),)
    ),
    "once-is-often": Sabotage(
        "C4",
        "crash",
        (
            Edit("tests/chaos/wishes.py", "0.005, dice.random() < 0.3", "0.005, True"),
            Edit(
                "balancer/core/lifecycle.py",
                "self.once and why not in SAFE_FOR_ONCE",
                "False",
            ),
        ),
    ),
    "made-up-answers": Sabotage(
        "C5", "empty", (Edit(_JOBS, "digest=body and digest(body)", "digest=None"),)
    ),
    "answers-of-nobody": Sabotage(
        "C5",
        "empty",
        (
            Edit(
                _FRONTEND,
                "replies.encode_refusal(action, id)",
                "replies.msgpack.packb({'status': 200, 'body': 'made up'})",
            ),
        ),
    ),
    "it-never-ran": Sabotage(
        "C6",
        "crash,hang",
        (
            Edit(
                "balancer/wire/replies.py",
                '"may_have_run": refuse.may_have_run',
                '"may_have_run": False',
            ),
        ),
    ),
    "late-replies": Sabotage(
        "C7",
        "empty",
        (
            Edit(
                "balancer/core/requests.py",
                "        deadline = now + timeout_s\n",
                "        deadline = now + timeout_s + 2.0\n",
            ),
            Edit("tests/chaos/wishes.py", "dice.uniform(0.02, 0.3)", "0.9"),
        ),
    ),
    "stale-work": Sabotage(
        "C8",
        "stop",
        (
            Edit(
                "workers/answering.py",
                "time.monotonic() >= task.expires_at:",
                "time.monotonic() >= task.expires_at + 60.0:",
            ),
            Edit("tests/chaos/wishes.py", "throw < 0.02", "True"),
            Edit("tests/chaos/wishes.py", "dice.uniform(0.02, 0.3)", "0.002"),
            # Too short for the worker to be given up, long enough for most deadlines to pass.
            Edit("tests/chaos/faults.py", "dice.uniform(0.1, 4.0)", "1.3"),
            Edit(
                "tests/chaos/world.py",
                '"--try-timeout": ',
                '"--hang-kill-after": "3s",\n            "--try-timeout": ',
            ),
        ),
    ),
    "one-strike": Sabotage(
        "C9",
        "kill,crash",
        (Edit(_PLACING, "request.strikes >= self.limits.strikes", "request.strikes"),),
    ),
    "plain-clients-fail": Sabotage(
        "C9",
        "kill,crash",
        (
            Edit(
                _FRONTEND,
                "            header.once,\n",
                "            header.once or len(envelope) != 12,\n",
            ),
        ),
    ),
    "poison-for-all": Sabotage(
        "C10", "crash", (Edit(_PLACING, "request.strikes >= self.limits.strikes", "False"),)
    ),
    "never-restarted": Sabotage(
        "C11",
        "kill",
        (Edit("workers/restart.py", "return 0.0", "return 3600.0"), _IMPATIENT),
    ),
    "never-dialed-again": Sabotage(
        "C11",
        "kill",
        (
            Edit(
                "workers/slot.py",
                '        self.why = "connecting"\n        self._dial_present()\n',
                '        self.why = "connecting"\n'
                "        if not self.recovery.restarts or self.name[-1] != '1':\n"
                "            self._dial_present()\n",
            ),
            _IMPATIENT,
        ),
    ),
    "leak": Sabotage(
        "C12",
        "empty",
        (
            Edit(
                _FRONTEND,
                "        body = replies.encode_answer(",
                "        self.__dict__.setdefault('_kept', []).append(b'x' * 60_000)\n"
                "        body = replies.encode_answer(",
            ),
        ),
    ),
    "files-left": Sabotage(
        "C12", "empty", (Edit("balancer/runtime_directory.py", "self.path.rmdir()", "pass"),)
    ),
    "hangup-unheard": Sabotage(
        "C13",
        "reload",
        (
            Edit("workers/supervisor.py", "            self._reload.ask()\n", "            pass\n"),
            Edit("tests/chaos/reloading.py", "FOLLOW_TIMEOUT_S = 20.0", "FOLLOW_TIMEOUT_S = 5.0"),
            Edit("tests/chaos/reloading.py", "REFUSE_TIMEOUT_S = 10.0", "REFUSE_TIMEOUT_S = 2.0"),
        ),
    ),
}


def apply(sabotage: Sabotage, project: Path) -> None:
    """Break the project in this directory."""
    for edit in (_HURRY, *sabotage.edits):
        path = project / edit.file
        text = path.read_text()
        assert text.count(edit.old) == 1, f"{edit.file} has changed: {edit.old!r}"
        path.write_text(text.replace(edit.old, edit.new))


def play(name: str, seconds: float = SECONDS, seed: int = 1) -> tuple[bool, str]:
    """Whether the checker has found it, and all that it printed."""
    sabotage = SABOTAGES[name]
    with TemporaryDirectory(prefix="sabotaged-") as directory:
        copy = Path(directory)
        for part in ("balancer", "workers", "tests"):
            shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("*.so"))
        shutil.copy(PROJECT / "run_cluster.py", copy)
        apply(sabotage, copy)
        options = ["--seconds", str(seconds), "--seed", str(seed), "--faults", sabotage.faults]
        options += ["--pace", str(PACE), "--keep", str(copy / "histories")]
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos", *options],
            cwd=copy,
            capture_output=True,
            text=True,
            timeout=PLAY_TIMEOUT_S,
        )
    output = done.stdout + done.stderr
    counts = next((line for line in output.splitlines() if line.startswith("violations: ")), "")
    return done.returncode == 1 and f" {sabotage.check} " in counts, output


def play_all(names: str) -> int:
    """Play one or all; the exit status tells whether some bug was overlooked."""
    is_blind = False
    for name in SABOTAGES if names == "all" else [names]:
        is_found, output = play(name)
        is_blind = is_blind or not is_found
        summary = next((line for line in output.splitlines() if "violations: " in line), output)
        verdict = "found" if is_found else "OVERLOOKED"
        print(f"{name}: {SABOTAGES[name].check} {verdict}; {summary}", flush=True)
    return int(is_blind)
