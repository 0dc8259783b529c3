"""The clock that processes are wired with."""

from datetime import UTC, datetime, timedelta

_stepped = timedelta(0)


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC) + _stepped


def now_ms() -> int:
    """Now, Unix milliseconds."""
    return int(utc_now().timestamp() * 1000)


def step_clock(by: timedelta) -> None:
    """Set this process's clock forward or back, as an administrator would; for fault tests."""
    global _stepped
    _stepped += by
