"""The controller of a lift's position. Its integral has learned the weight that hangs on the lift: that is its state.

``controller_fixed.py`` is what it should be: here the error is rounded, so that the lift stops up to half a metre off.
"""

from __future__ import annotations


class Controller:
    """A proportional-integral controller: ``step`` is to be called every millisecond."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.integral = 0.0

    def error(self, position: float) -> float:
        return float(round(self.target - position))

    def step(self, position: float, seconds: float) -> float:
        """The force for the next ``seconds``."""
        error = self.error(position)
        self.integral += 4.0 * error * seconds
        return 4.0 * error + self.integral
