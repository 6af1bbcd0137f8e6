"""What passes through the core: values that nobody changes, made by the thousand."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

Record = TypeVar("Record")


@dataclass_transform(frozen_default=True)
def record(cls: type[Record]) -> type[Record]:
    """A frozen dataclass to the type checker. At run time it is not frozen: that would make each
    one three times as expensive, some microseconds for each request."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
