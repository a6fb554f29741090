"""Deaths of fs against which the next fs is no help: each over the same request, or each before it could serve.

A kill from outside, however often it comes, is none of these: in between requests are answered.
"""

from typing import Final

from secretfs.link.hand import Hand

IN_A_ROW: Final = 5  # over one request


class Deaths:
    """What becomes of one fs after the other."""

    def __init__(self, now: float, hand: Hand) -> None:
        self.begin_anew(now)
        self._last = hand  # at the last death
        self._seen = hand.number

    def begin_anew(self, now: float) -> None:
        """On a connection on which nothing waits for an answer."""
        self._in_a_row = 0
        self._served_at = now

    def another(self, hand: Hand, *, crashed: bool) -> bool:
        """An fs has died, with this in hand; whether the next one would as well. ``crashed``: it had been ready, and
        nobody has killed it.
        """
        idle = hand.number == self._last.number
        if hand.repeats(self._last) or (idle and crashed):
            self._in_a_row += 1
        elif not idle:
            self._in_a_row = 1
        self._last = hand
        return self._in_a_row >= IN_A_ROW

    def unserved(self, now: float, hand: Hand, *, well: bool) -> float:
        """Seconds in which nobody was served; ``well``: there is an fs that has been ready for a while."""
        if well or hand.number != self._seen:
            self._served_at = now
        self._seen = hand.number
        return now - self._served_at
