"""google.protobuf.Timestamp to and from datetime."""

from datetime import UTC, datetime
from typing import Literal, Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from kannon.core.errors import BadInput


def read_timestamp(field: str, value: Timestamp) -> datetime:
    """The moment, aware and in UTC, to the microsecond.

    Args:
        field: the field it stands in, for the error's text.

    Raises:
        BadInput: it lies outside the years 1 to 9999, or its nanoseconds are out of range.
    """
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{field}: must lie between the years 1 and 9999, with nanos below 1000000000"
        ) from None


class Ranged(Protocol):
    """A request for a range of time."""

    @property
    def from_date(self) -> Timestamp:
        """Its beginning."""

    @property
    def to_date(self) -> Timestamp:
        """Its end, which is not in it."""

    def HasField(self, name: Literal["from_date", "to_date"], /) -> bool:
        """Whether that was given."""


def read_range(
    request: Ranged, beginning: datetime, end: datetime, within: str = ""
) -> tuple[datetime, datetime]:
    """The range that is asked for, half-open.

    Args:
        beginning: of a range that says none.
        end: likewise.
        within: what stands before the fields' names in errors, as in `filter.`.

    Raises:
        BadInput: as `read_timestamp`; or it ends before it begins.
    """
    start = beginning
    if request.HasField("from_date"):
        start = read_timestamp(f"{within}from_date", request.from_date)
    if request.HasField("to_date"):
        end = read_timestamp(f"{within}to_date", request.to_date)
    if start > end:
        raise BadInput(f"{within}from_date: must not be later than to_date")
    return start, end


def write_timestamp(moment: datetime) -> Timestamp:
    """The Timestamp of an aware moment."""
    value = Timestamp()
    value.FromDatetime(moment)
    return value
