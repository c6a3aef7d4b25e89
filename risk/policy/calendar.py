"""Ends of windows: hours on the clock, or whole days of the buyer's own calendar."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from risk.claim import microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000
"""In microseconds, as all moments."""


def end_of_hours(start: int, hours: int) -> int:
    """The last moment of a window of hours (microseconds)."""
    return start + hours * HOUR


def end_of_days(start: int, days: int, time_zone: str) -> int:
    """The last moment of a window of whole days (microseconds), which are counted from the day after `start`.

    A day is what the calendar of the time zone calls one: 23 or 25 hours long where clocks change. Where midnight does not
    exist because the clocks skip it, the day ends at the moment at which they do.

    >>> from risk.claim import microseconds
    >>> signed = microseconds(datetime.fromisoformat("2026-03-01T23:30:00+08:00"))
    >>> end = end_of_days(signed, 7, "Asia/Shanghai") + 1
    >>> (_EPOCH + timedelta(microseconds=end)).astimezone(ZoneInfo("Asia/Shanghai")).isoformat()
    '2026-03-09T00:00:00+08:00'
    """
    zone = ZoneInfo(time_zone)
    day = (_EPOCH + timedelta(microseconds=start)).astimezone(zone).date()
    after = day + timedelta(days=days + 1)
    return microseconds(datetime(after.year, after.month, after.day, tzinfo=zone)) - 1
