"""How far one look into the ledger reaches: slices of Batches, so many Deliveries and no more."""

from collections.abc import Iterable
from dataclasses import dataclass

from kannon.core.deliveries import DeliveryId


@dataclass(frozen=True, slots=True)
class Extent:
    """A Batch and how many Deliveries it has, which are numbered from 0."""

    batch: int
    recipients: int


@dataclass(frozen=True, slots=True)
class Slice:
    """Deliveries of a Batch with numbers from `first` to below `end`."""

    batch: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What to look at, and where the next look begins; None if nothing is left."""

    slices: tuple[Slice, ...]
    next: DeliveryId | None


def reach(batches: Iterable[Extent], start: DeliveryId | None, room: int) -> Reach:
    """The first `room` Deliveries of `batches`, in their order.

    Args:
        start: where to begin; counts if it is in the first Batch.
    """
    slices: list[Slice] = []
    for batch in batches:
        first = start.seq if start is not None and start.batch == batch.batch else 0
        if room == 0:
            return Reach(tuple(slices), DeliveryId(batch.batch, first))
        end = min(batch.recipients, first + room)
        if end > first:
            slices.append(Slice(batch.batch, first, end))
            room -= end - first
        if end < batch.recipients:
            return Reach(tuple(slices), DeliveryId(batch.batch, end))
    return Reach(tuple(slices), None)
