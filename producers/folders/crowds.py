"""Which lane a watched folder's photos take. Pure.

Somebody waits for a photo that was just put into a folder, and nobody for each of the hundred
thousand that were there when the watch began, or were copied into it at once.
"""

from schemas.topics import Lane

FRESH_PER_MINUTE = 60  # a fresh photo a second costs a bulk load that runs beside it little


class Trickle:
    """Sends photos by the fresh lane while they come in ones and twos, and a crowd in bulk.

    Args:
        per_minute: fresh photos; also the most that may come at once.
    """

    def __init__(self, per_minute: int = FRESH_PER_MINUTE) -> None:
        self._most = per_minute
        self._level = 0.0
        self._at = 0.0

    def lane(self, photos: int, now: float) -> Lane:
        """Return the lane of a batch that is announced now.

        Args:
            photos: how many it has.
            now: seconds, monotonic.
        """
        self._level = max(0.0, self._level - (now - self._at) * self._most / 60)
        self._at = now
        if self._level + photos > self._most:
            return Lane.BULK
        self._level += photos
        return Lane.FRESH
