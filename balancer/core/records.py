"""What passes through the core: values that nobody changes, made by the thousand."""

from dataclasses import dataclass, fields
from typing import Any, TypeVar, dataclass_transform

Record = TypeVar("Record")


@dataclass_transform(frozen_default=True)
def record(cls: type[Record]) -> type[Record]:
    """A frozen dataclass to the type checker. At run time it is not frozen: that would make each
    one three times as expensive, some microseconds for each request. And how it is compared and
    shown is not written out for each class, which would keep the balancer's start for 20 ms."""
    # dataclass would make up a text, and inspect a signature for it.
    cls.__doc__ = cls.__doc__ or cls.__name__
    made = dataclass(slots=True, eq=False, repr=False)(cls)
    names = [field.name for field in fields(made)]  # type: ignore[arg-type]  # it is one now
    compared = [field.name for field in fields(made) if field.compare]  # type: ignore[arg-type]

    def key(self: Record) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in compared])

    def is_equal(self: Record, other: object) -> bool:
        return type(other) is made and key(self) == key(other)

    def hash_of(self: Record) -> int:
        return hash((made, key(self)))

    def show(self: Record) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name in names)
        return f"{made.__name__}({', '.join(shown)})"

    for name, method in {"__eq__": is_equal, "__hash__": hash_of, "__repr__": show}.items():
        setattr(made, name, method)
    return made
