"""Why a process was followed by another one: what restarts are counted by."""

from enum import StrEnum


class Ending(StrEnum):
    SIGNAL = "signal"
    EXIT = "exit"
    HUNG = "hung"
    UNRESPONSIVE = "unresponsive"
    STARTUP = "startup"
    BY_HAND = "by_hand"
    RECYCLED = "recycled"
