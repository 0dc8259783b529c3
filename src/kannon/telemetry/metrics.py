"""Counters, gauges and histograms of this process, and how Prometheus reads them.

They are changed in the event loop's thread only. Values of labels are few and known: nothing of a mail, no
address, no name that callers choose, but for exchangers, of which so many are told apart as `Few` allows.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Bounds of buckets for what should take milliseconds."""
LONG_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 120.0, 600.0)
"""Bounds of buckets for what others decide upon: a session with an exchanger may last for minutes."""

_Labels = tuple[str, ...]


class Metric:
    """One of the metrics of the catalogue.

    Args:
        name: as Prometheus names it, with unit and `_total` where they belong.
        help: what it is, for people.
        labels: names of its labels.
    """

    kind = "untyped"

    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.help = help
        self.labels = tuple(labels)

    def series(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """What is told: suffix of the name, labels, value."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget what was counted, as a new process does."""
        raise NotImplementedError

    def _named(self, values: _Labels) -> dict[str, str]:
        return dict(zip(self.labels, values, strict=True))


class _Single(Metric):
    def __init__(self, name: str, help: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help, labels)
        self._values: dict[_Labels, float] = {}

    def series(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """See `Metric`."""
        for values, value in list(self._values.items()):
            yield "", self._named(values), value

    def clear(self) -> None:
        """See `Metric`."""
        self._values.clear()

    def value(self, *values: str) -> float:
        """As it stands; 0 where nothing was counted."""
        return self._values.get(values, 0.0)


class Counter(_Single):
    """Only grows."""

    kind = "counter"

    def add(self, amount: float, *values: str) -> None:
        """Count `amount` more under these values of the labels."""
        self._values[values] = self._values.get(values, 0) + amount


class Gauge(_Single):
    """Is as it is."""

    kind = "gauge"

    def set(self, amount: float, *values: str) -> None:
        """It is `amount` now."""
        self._values[values] = amount


class Histogram(Metric):
    """How long, or how many at once: counted in buckets.

    Args:
        bounds: of its buckets, growing; none counts sum and number only.
    """

    kind = "histogram"

    def __init__(
        self, name: str, help: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS
    ) -> None:
        super().__init__(name, help, labels)
        self._bounds = tuple(bounds)
        self._counts: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = {}

    def observe(self, amount: float, *values: str) -> None:
        """Count one of this size."""
        counts = self._counts.get(values)
        if counts is None:
            counts = self._counts[values] = [0] * (len(self._bounds) + 1)
            self._sums[values] = 0.0
        counts[bisect_left(self._bounds, amount)] += 1
        self._sums[values] += amount

    def series(self) -> Iterator[tuple[str, Mapping[str, str], float]]:
        """See `Metric`; buckets count all that is not larger."""
        for values, counts in list(self._counts.items()):
            labels, total = self._named(values), 0
            for bound, count in zip((*map(_written, self._bounds), "+Inf"), counts, strict=True):
                total += count
                yield "_bucket", labels | {"le": bound}, total
            yield "_sum", labels, self._sums[values]
            yield "_count", labels, total

    def clear(self) -> None:
        """See `Metric`."""
        self._counts.clear()
        self._sums.clear()


class Few:
    """The first names that come, and `other` for all that come after them.

    Args:
        most: how many are told apart.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: set[str] = set()

    def of(self, name: str) -> str:
        """The value of a label for `name`."""
        if name in self._names:
            return name
        if len(self._names) >= self._most:
            return OTHER
        self._names.add(name)
        return name


def exposition(metrics: Sequence[Metric]) -> bytes:
    """What Prometheus reads, in its text format 0.0.4; metrics of which nothing was counted are left out."""
    lines = []
    for metric in metrics:
        series = [
            f"{metric.name}{suffix}{_braced(labels)} {_written(value)}"
            for suffix, labels, value in metric.series()
        ]
        if series:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}", *series]
    return "".join(f"{line}\n" for line in lines).encode()


def _braced(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _written(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
