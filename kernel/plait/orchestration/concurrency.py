"""A limit that adapts: additive increase, multiplicative decrease.

As TCP does with its window (Chiu and Jain, "Analysis of the increase and decrease algorithms for
congestion avoidance in computer networks", 1989): each success adds `increase / limit`, which is
`increase` for a whole round of them; an overload leaves the share `decrease`. Pure: told what
happened, it says the limit.
"""

from __future__ import annotations

from plait.orchestration.settings import AdaptionSettings

__all__ = ["AdaptiveLimit"]


class AdaptiveLimit:
    """How many may work at once, learnt from how that goes.

    Args:
        first: the limit to begin with.
        most: the highest that it may ever be; the lowest is 1.
        settings: the steps.

    Attributes:
        lowest: the lowest that it has been.
        highest: the highest that it has been.
        decreases: how often there was an overload that counted.
    """

    def __init__(self, first: int, most: int, settings: AdaptionSettings | None = None) -> None:
        if not 1 <= first <= most:
            raise ValueError(f"a limit of {first} is not between 1 and {most}")
        self._settings = settings or AdaptionSettings()
        self._limit = float(first)
        self._most = most
        self._epoch = 0
        self.lowest: int = first
        self.highest: int = first
        self.decreases: int = 0

    @property
    def limit(self) -> int:
        """How many may work at once now: at least 1."""
        return int(self._limit)

    @property
    def most(self) -> int:
        """The highest that it may ever be."""
        return self._most

    @property
    def epoch(self) -> int:
        """How often it was decreased. What began in an earlier epoch decreases it no more."""
        return self._epoch

    def succeeded(self, *, busy: bool) -> None:
        """One was done in good time.

        Args:
            busy: whether all of the limit was in use; if not, nothing is known of more.
        """
        if busy:
            step = self._settings.increase / self._limit
            self._limit = min(float(self._most), self._limit + step)
            self.highest = max(self.highest, self.limit)

    def overloaded(self, epoch: int) -> bool:
        """One was refused, or took too long; whether that made the limit smaller.

        Those that were at work together tell of one overload, and it counts once: what began before
        the last decrease (`epoch` is that in which it began) tells of a limit that is gone.
        """
        if epoch != self._epoch:
            return False
        self._epoch += 1
        self.decreases += 1
        self._limit = max(1.0, self._limit * self._settings.decrease)
        self.lowest = min(self.lowest, self.limit)
        return True
