"""One axis of a chart: where a value lies on it, and its ticks."""

import dataclasses
import math
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis, linear, logarithmic, or of named places.

    Attributes:
        label: What it shows.
        low: Its first value, positive where logarithmic.
        high: Its last value, above `low`.
        logarithmic: Whether equal ratios have equal lengths.
        categories: Names at 0, 1, 2, ..., in place of numbers.

    Example:
        >>> axis = Axis("k", 1.0, 100.0, logarithmic=True)
        >>> axis.position(10.0), axis.position(-1.0)
        (0.5, None)
        >>> [label for _, label in axis.ticks()]
        ['1', '10', '100']
    """

    label: str
    low: float
    high: float
    logarithmic: bool = False
    categories: tuple[str, ...] = ()

    @classmethod
    def around(
        cls, label: str, values: Iterable[float | None], logarithmic: bool = False
    ) -> "Axis":
        """The axis that holds all finite values, with some room on either side."""
        finite = [v for v in values if v is not None and math.isfinite(v)]
        if logarithmic:
            finite = [math.log10(v) for v in finite if v > 0.0]
        low, high = min(finite, default=0.0), max(finite, default=1.0)
        room = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
        low, high = low - room, high + room
        if logarithmic:
            low, high = 10.0**low, 10.0**high
        return cls(label, low, high, logarithmic)

    @classmethod
    def of_names(cls, label: str, names: Iterable[str]) -> "Axis":
        """The axis with one place for each name."""
        categories = tuple(names)
        return cls(label, -0.5, len(categories) - 0.5, categories=categories)

    def position(self, value: float | None) -> float | None:
        """Where a value lies, 0 at `low` and 1 at `high`; None if nowhere."""
        if value is None or not math.isfinite(value):
            return None
        if not self.logarithmic:
            return (value - self.low) / (self.high - self.low)
        if value <= 0.0:
            return None
        return math.log(value / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels of the ticks."""
        if self.categories:
            values = [(float(i), name) for i, name in enumerate(self.categories)]
        elif self.logarithmic and self.high / self.low >= 10.0:
            values = [(v, f"{v:.6g}") for v in self._powers()]
        else:
            values = [(v, f"{v:.6g}") for v in self._steps()]
        placed = [(self.position(value), label) for value, label in values]
        return [(p, label) for p, label in placed if p is not None and 0 <= p <= 1]

    def _powers(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        few = math.log10(self.high / self.low) < 2.0
        step = max(1, (last - first) // 5)
        factors = (1, 2, 5) if few else (1,)
        return [f * 10.0**p for p in range(first, last + 1, step) for f in factors]

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / 5.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(f * power for f in (1, 2, 5, 10) if f * power >= rough)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(number * step, 12) for number in range(first, last + 1)]
