"""What processes wait for that is none of theirs: servers that are away, transactions of others."""

from collections.abc import Iterable

from core.storage.stream.heartbeats import Heartbeat

#: A producer's transaction that is open for so long keeps what lies behind it from everybody: its
#: role is not well, although nothing of ours stands still. Before, it is only told.
HELD_S = 300.0


def waits(beats: Iterable[Heartbeat]) -> list[str]:
    """Return what is away, as the processes that wait for it say."""
    return sorted(
        {str(beat.about["waits_for"])[:200] for beat in beats if beat.about.get("waits_for")}
    )


def open_transactions(beats: Iterable[Heartbeat]) -> list[str]:
    """Return which partitions wait for the end of a foreign producer's transaction."""
    return [
        f"{one['topic']}/{one['partition']}: a producer's transaction at offset {one['offset']} is"
        f" open for {one['seconds']} s; {one['records']} offsets behind it wait"
        for beat in beats
        for one in beat.about.get("open_transactions", ())
    ]


def is_held(beats: Iterable[Heartbeat]) -> bool:
    """Tell whether one of them is open for so long that somebody should end it."""
    return any(
        one["seconds"] > HELD_S for beat in beats for one in beat.about.get("open_transactions", ())
    )
