"""What was looked at time and again, and the file that it is kept in."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Mapping

import attrs

__all__ = ["Samples"]

_TIME = "seconds"


@attrs.define
class Samples:
    """Rows of numbers, each of one moment.

    :ivar times: seconds since the soak began, ascending.
    :ivar columns: the numbers by what they are about, as many of each as there are times.
    """

    times: list[float] = attrs.field(factory=list)
    columns: dict[str, list[float]] = attrs.field(factory=dict)

    def add(self, seconds: float, row: Mapping[str, float]) -> None:
        """Note what was seen at a time.

        :raises ValueError: it is not about the same as the rows before it.
        """
        if not self.times:
            self.columns = {name: [] for name in row}
        if self.columns.keys() != row.keys():
            raise ValueError(f"not the same columns: {sorted(self.columns.keys() ^ row.keys())}")
        self.times.append(seconds)
        for name, value in row.items():
            self.columns[name].append(value)

    def since(self, seconds: float) -> Samples:
        """What was seen at that time and later."""
        first = next((i for i, at in enumerate(self.times) if at >= seconds), len(self.times))
        columns = {name: values[first:] for name, values in self.columns.items()}
        return Samples(self.times[first:], columns)

    def write(self, path: pathlib.Path) -> None:
        """Keep it as comma-separated values."""
        with path.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow([_TIME, *self.columns])
            for index, at in enumerate(self.times):
                values = (values[index] for values in self.columns.values())
                rows.writerow([f"{at:g}", *(f"{value:.10g}" for value in values)])

    @classmethod
    def read(cls, path: pathlib.Path) -> Samples:
        """What :meth:`write` has kept."""
        samples = cls()
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                numbers = {name: float(value) for name, value in row.items()}
                samples.add(numbers.pop(_TIME), numbers)
        return samples
