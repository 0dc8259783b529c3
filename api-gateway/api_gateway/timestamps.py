"""google.protobuf.Timestamp to and from datetime."""

from datetime import UTC, datetime

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


def write_timestamp(moment: datetime) -> Timestamp:
    """The Timestamp of an aware moment."""
    value = Timestamp()
    value.FromDatetime(moment)
    return value
