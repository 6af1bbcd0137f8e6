"""The planted bugs: each a small slip, as a person might make it."""

from dataclasses import dataclass

from tests.mutants.table_of_batches import BATCHES
from tests.mutants.table_of_placing import PLACING
from tests.mutants.table_of_requests import REQUESTS
from tests.mutants.table_of_workers import WORKERS


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    file: str
    """Below ``balancer/core``."""
    old: str
    """Must occur in the file exactly once."""
    new: str


MUTANTS = tuple(
    Mutant(name, file, old, new)
    for table in (REQUESTS, PLACING, WORKERS, BATCHES)
    for file, slips in table.items()
    for name, (old, new) in slips.items()
)
