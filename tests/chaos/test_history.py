"""What several processes wrote down comes back as one history."""

from dataclasses import asdict
from pathlib import Path

from tests.chaos.history import Fault, Journal, Operation, Outcome, Run, digest, load

OPERATION = Operation("a", "client-1", "sync", False, "echo", False, 10.0, 1000.0)
OUTCOME = Outcome("a", 1000.2, 200, digest="x", tried=(("v", "died"),))


def test_what_was_written_is_read_again_whatever_the_order_of_the_files(tmp_path: Path) -> None:
    clients, runs, faults = (tmp_path / name for name in ("clients", "runs", "faults"))
    Journal(clients).invoke(OPERATION)
    Journal(clients).complete(OUTCOME)
    begun = {"run": "w/1", "op": "a", "worker": "w", "attempt": 1, "started_at": 1000.1}
    Journal(runs).append("start", **begun)
    Journal(runs).append("start", **{**begun, "run": "v/1", "worker": "v"})
    Journal(runs).append("end", run="w/1", at=1000.15, digest="x", is_empty=False)
    Journal(faults).append("fault", **asdict(Fault("kill", 1.0, 2.0)))
    Journal(faults).append("client killed", client="client-2")
    for paths in ([clients, runs, faults], [faults, runs, clients]):
        history = load(paths)
        assert history.operations == {"a": OPERATION}
        assert history.outcomes == {"a": [OUTCOME]}
        assert history.runs_of()["a"] == [
            Run("w/1", "a", "w", 1, 1000.1, 1000.15, "x"),
            Run("v/1", "a", "v", 1, 1000.1),
        ]
        assert history.faults == [Fault("kill", 1.0, 2.0)]
        assert history.killed_clients == {"client-2"}


def test_the_outcome_of_a_request_is_its_reply_even_if_its_client_had_given_up(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "clients")
    journal.invoke(OPERATION)
    journal.complete(Outcome("a", 1010.5, None))
    journal.complete(OUTCOME)
    assert list(load([tmp_path / "clients"]).endings()) == [(OPERATION, OUTCOME)]


def test_a_digest_tells_bodies_apart() -> None:
    assert digest({"op": "a", "n": 1}) == digest({"op": "a", "n": 1})
    assert digest({"op": "a", "n": 1}) != digest({"op": "a", "n": 2})
