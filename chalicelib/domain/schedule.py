"""When things happen: the maintenance window, the on-weeks and EventBridge's schedules."""

import re
from calendar import monthrange
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib.resources import files
from itertools import takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

SEARCH_LIMIT = timedelta(days=5 * 366)
"""How far a timetable looks ahead, so that a schedule that never meets its conditions ends."""

_DAY = 24 * 60
_WINDOW = re.compile(
    r"([01][0-9]|2[0-3]):([0-5][0-9])-(?:([01][0-9]|2[0-3]):([0-5][0-9])|24:00)(?: +(\S+))?"
)


class Window(NamedTuple):
    """The hours of every day, on the clocks of one place, in which a database may be replaced.

    `start` (inclusive) and `end` (exclusive) are minutes after midnight, `end` up to 1440; a
    window whose end comes before its start passes midnight. Clocks that are set back show an hour
    twice, and the window holds both; an hour they skip never comes. It has nothing to do with
    the PreferredMaintenanceWindow that AWS keeps for a cluster.
    """

    start: int
    end: int
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> "Window":
        """Read "hh:mm-hh:mm" and an optional IANA time zone, which is UTC if absent.

        Raises ValueError, saying what is wrong and what would be right.
        """
        match = _WINDOW.fullmatch(text)
        wrong = ValueError(
            f'"{text}" is not hh:mm-hh:mm (two times, at most 24:00) and a time zone; write e.g. '
            '"00:00-07:00 Europe/Amsterdam", or "00:00-24:00" for always'
        )
        if not match:
            raise wrong
        start_hour, start_minute, end_hour, end_minute, key = match.groups()
        start = int(start_hour) * 60 + int(start_minute)
        end = int(end_hour) * 60 + int(end_minute) if end_hour else _DAY
        if start == end:
            raise wrong
        return cls(start, end, _zone(key or "UTC"))

    def contains(self, instant: datetime) -> bool:
        """Whether the zone's clocks are inside the window at this (aware) instant."""
        clock = instant.astimezone(self.zone)
        minute = clock.hour * 60 + clock.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def date_of(self, instant: datetime) -> date:
        """Return the zone's calendar date at this (aware) instant."""
        return instant.astimezone(self.zone).date()

    def whole_day(self) -> "Window":
        """Return the same zone without closing hours, for what only has to know the date."""
        return self._replace(start=0, end=_DAY)

    def __str__(self) -> str:
        """Return the text that `parse` reads as this window."""
        start, end = (f"{time // 60:02}:{time % 60:02}" for time in (self.start, self.end))
        return f"{start}-{end} {self.zone.key}"


class Cadence(NamedTuple):
    """Every how many weeks (at least 1) there is a refresh, counted from the `anchor` date.

    EventBridge has no biweekly cron. The parity of ISO weeks breaks at New Year after a year of 53
    weeks, such as 2026, and `rate(14 days)` counts from whenever the rule was created; a weekly
    cron and a fixed date do neither.
    """

    every_weeks: int
    anchor: date

    def is_on_week(self, day: date) -> bool:
        """Whether `day` lies in a week with a refresh; weeks begin on the anchor's weekday."""
        # Floor division: the week before the anchor is number -1, not a second number 0.
        return (day - self.anchor).days // 7 % self.every_weeks == 0


# A dataclass, unlike the other records: only the text takes part in comparisons.
@dataclass(frozen=True, slots=True)
class Expression:
    """A schedule expression of an EventBridge rule, whose times are UTC, or those of a zone.

    A rule knows only UTC, so `utc` is what it is given, and `is_due` selects from its firings.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-scheduled-rule-pattern.html

    A time that the zone's clocks skip is due as much later as they skip: 02:30 at 03:30. One that
    they show twice is due the first time. EventBridge Scheduler does the latter too, but passes
    over a skipped time, and a refresh would be missed.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
    """

    text: str
    _cron: "_Cron | None" = field(compare=False, repr=False)
    _zone: ZoneInfo | None = field(compare=False, repr=False, default=None)

    @classmethod
    def parse(cls, text: str) -> "Expression":
        """Read `cron(…)` or `rate(…)`; an IANA time zone may follow `cron(…)`.

        Raises ValueError, naming the value and what would be right. PutRule itself says only
        "Parameter ScheduleExpression is not valid", and that at deployment.
        """
        zoned = re.fullmatch(r"([^)]*\)) +(\S+)", text)
        bare, key = zoned.groups() if zoned else (text, "UTC")
        cron = None if _RATE.fullmatch(bare) else _Cron.parse(bare)
        if key == "UTC":
            return cls(bare, cron)
        if cron is None or cron.weekdays is None:
            raise ValueError(
                f'"{bare}" cannot be in a time zone, because EventBridge fires in UTC, where the '
                "date may be another; write a cron with days of the week such as SUN or MON-FRI, "
                f'or leave out "{key}"'
            )
        return cls(text, cron, _zone(key))

    @property
    def is_rate(self) -> bool:
        """Whether it counts from its rule's creation, which nothing here can know."""
        return self._cron is None

    @property
    def utc(self) -> "Expression":
        """The expression for the rule, in UTC; it fires whenever this one is due, and may fire more.

        Each offset of the zone shifts the times, and with them the day. One expression cannot say
        which hour belongs to which day or offset, so it has them all, and every month and year.
        """
        if self._cron is None or self._cron.weekdays is None or self._zone is None:
            return self
        offsets = [offset // timedelta(minutes=1) for offset in _offsets(self._zone)]
        times = {
            hour * 60 + minute - offset
            for hour in self._cron.hours
            for minute in self._cron.minutes
            for offset in offsets
        }
        minutes = _MINUTES.text({time % 60 for time in times})
        hours = _HOURS.text({time // 60 % 24 for time in times})
        days = _DAY_OF_WEEK.text(
            {(n - 1 + time // _DAY) % 7 + 1 for n in self._cron.weekdays for time in times}
        )
        return Expression.parse(f"cron({minutes} {hours} ? * {days} *)")

    def is_due(self, instant: datetime) -> bool:
        """Whether to act at a firing of `utc`, a minute in UTC; always true without a zone."""
        return self._zone is None or instant in self.fires_on(instant.date())

    def fires_on(self, day: date) -> list[datetime]:
        """Return the instants of a UTC date at which it is due, in order; none for a rate."""
        cron = self._cron
        if cron is None:
            return []
        # Without a fold, a zone takes the first of two equal times, and for a skipped time the
        # offset before the change.
        fires = {
            datetime(each.year, each.month, each.day, hour, minute, tzinfo=self._zone or UTC)
            for each in (_near(day) if self._zone else [day])
            if cron.has_day(each)
            for hour in cron.hours
            for minute in cron.minutes
        }
        instants = {fire.astimezone(UTC) for fire in fires}
        return sorted(instant for instant in instants if instant.date() == day)

    def fires_after(self, instant: datetime) -> Iterator[datetime]:
        """Yield in order every UTC instant, strictly after this (aware) one, at which it is due."""
        first = max(instant.astimezone(UTC).date(), date(_YEAR.low, 1, 1))
        for ordinal in range(first.toordinal(), date(_YEAR.high + 1, 1, 1).toordinal()):
            yield from (fire for fire in self.fires_on(date.fromordinal(ordinal)) if fire > instant)

    def __str__(self) -> str:
        """Return the text that `parse` reads as this expression."""
        return self.text


def scheduled_minute(text: str) -> datetime:
    """Read the time of a scheduled event: the minute, in UTC, that it is for.

    EventBridge may deliver an event twice, may fire a rule twice for one time, and does not promise
    that the event's time is on the second. Raises ValueError for anything but a time with a zone.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError("write a time with its zone, such as 2026-01-04T04:00:00Z")
    try:
        return time.astimezone(UTC).replace(second=0, microsecond=0)
    except OverflowError as error:
        raise ValueError(f"{text} is not a time in UTC") from error


def day(text: str) -> date:
    """Read a date such as 2026-01-04; raises ValueError, saying so."""
    # date.fromisoformat alone would also take 20260104 and 2026-W01-7.
    if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        with suppress(ValueError):
            return date.fromisoformat(text)
    raise ValueError("write a date such as 2026-01-04")


class Timetable(NamedTuple):
    """When a scheduled function acts: its expression fires inside the window, in an on-week.

    Dates are those of the window's zone. A function that obeys no window has `window.whole_day()`.
    """

    expression: Expression
    cadence: Cadence
    window: Window

    def runs(self, after: datetime, not_before: date = date.min) -> Iterator[datetime]:
        """Yield the UTC instants, strictly after `after`, at which the function will act.

        None is on a date before `not_before`, the first day on which a hold lets it. It ends
        SEARCH_LIMIT later, and yields nothing for a rate.
        """

        def is_due(day: date) -> bool:
            return day >= not_before and self.cadence.is_on_week(day)

        first = after.astimezone(UTC).date()
        for days in range(SEARCH_LIMIT.days + 1):
            day = first + timedelta(days=days)
            if any(map(is_due, _near(day))):
                for fire in self.expression.fires_on(day):
                    is_within = after < fire <= after + SEARCH_LIMIT and self.window.contains(fire)
                    if is_within and is_due(self.window.date_of(fire)):
                        yield fire

    def next_run(self, after: datetime, not_before: date = date.min) -> datetime | None:
        """Return the first of the `runs`; None for a rate."""
        return next(self.runs(after, not_before), None)

    def last_run(self, before: datetime) -> datetime | None:
        """Return the last of the `runs` until `before`; None if a cycle of the cadence has none."""
        cycle = min(timedelta(weeks=self.cadence.every_weeks + 1), SEARCH_LIMIT)
        found = self.runs(before - cycle)
        return max(takewhile(lambda instant: instant <= before, found), default=None)

    def ever_runs(self) -> bool:
        """Whether the function will ever act.

        The search begins with the first firing after the anchor, so that the answer does not depend
        on the clock, and ends SEARCH_LIMIT later. A rate is assumed to run.
        """
        anchor = datetime.combine(self.cadence.anchor, time(), UTC)
        first = next(self.expression.fires_after(anchor), None)
        if first is None:
            return self.expression.is_rate
        return any(self.runs(first - timedelta(minutes=1)))


def _near(day: date) -> Iterator[date]:
    """Yield the dates that a zone can have on a UTC date."""
    return (day + timedelta(days=days) for days in (-1, 0, 1))


def _zone(key: str) -> ZoneInfo:
    if key != "UTC" and key not in _zones():
        raise ValueError(
            f'"{key}" is not a time zone of the IANA database; write e.g. Europe/Amsterdam'
        )
    return ZoneInfo(key)


@cache
def _offsets(zone: ZoneInfo) -> set[timedelta]:
    """Return the zone's offsets from UTC, from fixed years so that no rule depends on the clock.

    No zone has an offset for less than ten days: Morocco's in Ramadan lasts a month.
    """
    days = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=10 * n) for n in range(366))
    return {offset for day in days if (offset := day.astimezone(zone).utcoffset()) is not None}


def _zones() -> set[str]:
    """Return the time zones of the tzdata package, which is deployed with this application.

    The machine that deploys may know other names (right/…, localtime, other spellings on a
    case-insensitive file system), but Lambda does not. "Factory" is the zone of an unset clock.
    """
    return set(files("tzdata").joinpath("zones").read_text("ascii").split()) - {"Factory"}


class _Field(NamedTuple):
    """One of the six fields: its numbers, the names of these in order, and what else it takes."""

    title: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    others: str = ""

    def wrong(self, value: str) -> ValueError:
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        usage = (
            f"{self.low}-{self.high}{names}, a list a,b, a range a-b, a step a/n or *{self.others}"
        )
        return ValueError(f'{self.title} "{value}" is not accepted by EventBridge; write {usage}')

    def number(self, value: str) -> int:
        """Read a number, leading zeros allowed, or a name."""
        if value in self.names:
            return self.low + self.names.index(value)
        if re.fullmatch("[0-9]{1,4}", value) and self.low <= int(value) <= self.high:
            return int(value)
        raise self.wrong(value)

    def numbers(self, text: str) -> set[int]:
        """Read a list of numbers, ranges and steps."""
        return {n for part in text.split(",") for n in self._span(part)}

    def text(self, numbers: set[int]) -> str:
        """Write a list of numbers, as names if they have some."""
        if len(numbers) == self.high - self.low + 1:
            return "*"
        return ",".join(self.names[n - self.low] if self.names else str(n) for n in sorted(numbers))

    def _span(self, part: str) -> list[int]:
        match = re.fullmatch("([^-/]+)(?:-([^-/]+))?(?:/([0-9]{1,4}))?", part)
        if not match:
            raise self.wrong(part)
        first_text, last_text, step_text = match.groups()
        if first_text == "*" and not last_text:
            first, last = self.low, self.high
        else:
            first = self.number(first_text)
            open_end = self.high if step_text else first
            last = self.number(last_text) if last_text else open_end
        step = int(step_text or 1)
        # PutRule refuses */60: a step must fit into its field.
        if not 1 <= step <= self.high:
            raise self.wrong(part)
        if first <= last:
            return list(range(first, last + 1, step))
        if self is _YEAR:
            raise self.wrong(part)
        # AWS's own example 20-2 in the hours passes midnight: 20 to 23, and 0 to 2.
        return [*range(first, self.high + 1), *range(self.low, last + 1)][::step]


_MINUTES = _Field("minutes", 0, 59)
_HOURS = _Field("hours", 0, 23)
_DAY_OF_MONTH = _Field("day-of-month", 1, 31, others="; or, alone, ?, L, LW or nW")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_MONTH = _Field("month", 1, 12, _MONTHS)
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_DAY_OF_WEEK = _Field("day-of-week", 1, 7, _DAYS, "; or, alone, ?, L, nL or n#1 to n#5; no step")
_YEAR = _Field("year", 1970, 2199, others="; ascending")

# Nothing but ASCII: str.upper would take a long s for an S.
_CRON = re.compile(rf"cron\( *{' +'.join(['([!-~]+)'] * 6)} *\)")
# AWS refuses "1 days" and "2 day".
_RATE = re.compile(r"rate\((1 (minute|hour|day)|(?!1 )[1-9][0-9]{0,4} (minute|hour|day)s)\)")


class _Cron(NamedTuple):
    """A `cron(…)`. Where AWS's page is silent, this is what its console was seen to do.

    Names are read in any case, as in Quartz, whose dialect EventBridge's is. `weekdays` is None
    unless it has the same days in every week.
    """

    minutes: set[int]
    hours: set[int]
    is_day: Callable[[date], bool]
    weekdays: set[int] | None
    months: set[int]
    years: set[int]

    @classmethod
    def parse(cls, text: str) -> "_Cron":
        match = _CRON.fullmatch(text)
        if not match:
            raise ValueError(
                f'"{text}" is not a schedule expression; write cron(minutes hours day-of-month month '
                "day-of-week year) such as cron(0 2 ? * SUN *), or a rate such as rate(30 minutes) or "
                "rate(1 day)"
            )
        minutes, hours, day_of_month, month, day_of_week, year = map(str.upper, match.groups())
        if (day_of_month == "?") == (day_of_week == "?"):
            raise ValueError(
                f'day-of-month "{day_of_month}" and day-of-week "{day_of_week}" do not go '
                'together; write "?" in exactly one of the two'
            )
        weekdays = None
        if day_of_month in ("?", "*") and not re.search("[L#/]", day_of_week):
            weekdays = _DAY_OF_WEEK.numbers("*" if day_of_week == "?" else day_of_week)
        return cls(
            _MINUTES.numbers(minutes),
            _HOURS.numbers(hours),
            _in_week(day_of_week) if day_of_month == "?" else _in_month(day_of_month),
            weekdays,
            _MONTH.numbers(month),
            _YEAR.numbers(year),
        )

    def has_day(self, day: date) -> bool:
        """Whether it fires on a day."""
        return day.year in self.years and day.month in self.months and self.is_day(day)


def _in_month(text: str) -> Callable[[date], bool]:
    if text == "L":
        return lambda day: day.day == _days_in_month(day)
    if text == "LW":
        return lambda day: day.day == _nearest_weekday(day, _days_in_month(day))
    if match := re.fullmatch(r"(\w+)W", text):
        target = _DAY_OF_MONTH.number(match[1])
        return lambda day: day.day == _nearest_weekday(day, target)
    numbers = _DAY_OF_MONTH.numbers(text)
    return lambda day: day.day in numbers


def _in_week(text: str) -> Callable[[date], bool]:
    if text == "L":
        # The last day of the week, hence every week; only nL is the last of the month.
        return lambda day: day.isoweekday() == 6
    if match := re.fullmatch(r"(\w+)L", text):
        last = _DAY_OF_WEEK.number(match[1])
        return lambda day: _weekday(day) == last and day.day > _days_in_month(day) - 7
    if match := re.fullmatch(r"(\w+)#([1-5])", text):
        weekday, ordinal = _DAY_OF_WEEK.number(match[1]), int(match[2])
        return lambda day: _weekday(day) == weekday and (day.day - 1) // 7 + 1 == ordinal
    if "/" in text:
        # Quartz has steps here; EventBridge has not.
        raise _DAY_OF_WEEK.wrong(text)
    numbers = _DAY_OF_WEEK.numbers(text)
    return lambda day: _weekday(day) in numbers


def _weekday(day: date) -> int:
    """Return the day of the week from 1 (Sunday) to 7 (Saturday), unlike Python and Unix cron."""
    return day.isoweekday() % 7 + 1


def _days_in_month(day: date) -> int:
    return monthrange(day.year, day.month)[1]


def _nearest_weekday(day: date, target: int) -> int | None:
    """Return the Monday to Friday nearest to the target day, in the month that `day` lies in.

    It never leaves the month. A month without the target day has none: AWS skips it.
    """
    last = _days_in_month(day)
    if target > last:
        return None
    workdays = (n for n in range(1, last + 1) if day.replace(day=n).isoweekday() < 6)
    return min(workdays, key=lambda n: abs(n - target))
