"""Ends of windows against a second reading of the calendar that never asks for a midnight."""

import random
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.claim import microseconds
from risk.policy.calendar import HOUR, end_of_days, end_of_hours

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
# Clocks that change at midnight or at one, by half an hour, against the sun, at the date line, not by whole hours, or never.
ZONES = ("Asia/Shanghai", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Beirut", "America/Havana", "America/Santiago",
         "Australia/Lord_Howe", "Europe/Dublin", "Pacific/Chatham", "Pacific/Kiritimati", "Etc/GMT+12", "Asia/Kathmandu",
         "America/St_Johns", "America/Nuuk", "America/Asuncion", "Africa/Casablanca", "Australia/Eucla", "UTC")  # fmt: skip
moments = st.integers(microseconds(datetime(2024, 7, 1, tzinfo=UTC)), microseconds(datetime(2037, 1, 1, tzinfo=UTC)))
zones = st.sampled_from(ZONES)
lengths = st.integers(1, 800)


def moment(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


@cache
def first_moment_after(day: date, time_zone: str) -> datetime:
    """Walk in steps of a quarter of an hour, at which all clocks change, until the wall shows a later day.

    It asks only what the wall shows at a moment, never which moment a wall shows: no gap, no hour that comes twice.
    """
    zone = ZoneInfo(time_zone)
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=16)
    while at.astimezone(zone).date() <= day:
        at += QUARTER
    return at


def walked(start: int, days: int, time_zone: str) -> int:
    day = moment(start).astimezone(ZoneInfo(time_zone)).date()
    for _ in range(days):
        day += timedelta(days=1)
    return microseconds(first_moment_after(day, time_zone)) - 1


@pytest.mark.parametrize("time_zone", ZONES)
def test_a_window_of_days_ends_where_a_walk_along_the_wall_clock_ends(time_zone: str) -> None:
    numbers = random.Random(time_zone)
    first, last = microseconds(datetime(2024, 7, 1, tzinfo=UTC)), microseconds(datetime(2031, 1, 1, tzinfo=UTC))
    for _ in range(400):
        start, days = numbers.randrange(first, last), numbers.choice((1, 2, 7, 15, 60, numbers.randint(1, 800)))
        assert end_of_days(start, days, time_zone) == walked(start, days, time_zone), (moment(start), days)


@pytest.mark.parametrize("time_zone", ZONES)
def test_so_does_one_that_begins_or_ends_around_every_change_of_clocks(time_zone: str) -> None:
    zone, hour = ZoneInfo(time_zone), timedelta(hours=1)
    at, changes = datetime(2025, 12, 1, tzinfo=UTC), []
    while at < datetime(2028, 1, 1, tzinfo=UTC):
        if (at + hour).astimezone(zone).utcoffset() != at.astimezone(zone).utcoffset():
            changes.append(at)
        at += hour
    for change in changes:
        for around in range(-54, 55):
            for days in (1, 7):
                for beside in (-1, 0, 1):
                    start = microseconds(change + around * hour / 2) + beside
                    for begin in (start, start - days * 24 * HOUR):
                        assert end_of_days(begin, days, time_zone) == walked(begin, days, time_zone), (moment(begin), days)


@given(moments, lengths, zones)
@settings(deadline=None, max_examples=500, derandomize=True)
def test_the_last_moment_is_a_microsecond_before_midnight_on_the_day_that_many_days_later(start: int, days: int, zone: str) -> None:
    begin, end = moment(start).astimezone(ZoneInfo(zone)), moment(end_of_days(start, days, zone)).astimezone(ZoneInfo(zone))
    assert end.date() == begin.date() + timedelta(days=days)
    assert end.time() == time(23, 59, 59, 999_999)


@given(moments, lengths, zones, zones)
@settings(deadline=None, max_examples=500, derandomize=True)
def test_two_zones_end_less_than_a_day_apart_but_for_their_own_changes_of_clocks(start: int, days: int, one: str, other: str) -> None:
    # In each zone the wall shows between `days` and `days` + 1 whole days more at the end than at the start. The wall runs as
    # time does, but for what the zone's clocks were put forward or back in between. So the same start ends, in two zones,
    # less than 24 hours apart once these changes are added again. How far apart the zones are does not enter.
    def length(zone: str) -> timedelta:
        begin, end = moment(start), moment(end_of_days(start, days, zone))
        offsets = [at.astimezone(ZoneInfo(zone)).utcoffset() or timedelta() for at in (begin, end)]
        return end - begin + offsets[1] - offsets[0]

    assert timedelta(days=days) <= length(one) < timedelta(days=days + 1)
    assert abs(length(one) - length(other)) < timedelta(days=1)


@given(moments, moments, lengths, zones)
@settings(deadline=None, max_examples=300, derandomize=True)
def test_who_signs_later_never_has_to_claim_earlier(one: int, other: int, days: int, zone: str) -> None:
    first, second = sorted((one, other))
    assert end_of_days(first, days, zone) <= end_of_days(second, days, zone)
    assert end_of_days(first, days, zone) < end_of_days(first, days + 1, zone)


@given(moments, st.integers(1, 9_000))
@settings(deadline=None, derandomize=True)
def test_hours_are_hours_wherever_the_buyer_lives(start: int, hours: int) -> None:
    assert moment(end_of_hours(start, hours)) - moment(start) == timedelta(hours=hours)
