"""The rules of the calendar, the intricate ones also against a slow and obvious reading."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.schedule import (
    SEARCH_LIMIT,
    Cadence,
    Expression,
    Timetable,
    Window,
    scheduled_minute,
)

ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
FORTNIGHTLY = Cadence(2, date(2026, 1, 4))
ALWAYS = Window.parse("00:00-24:00")
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)

# Hypothesis wants its bounds naive.
FIRST, LAST = datetime(2011, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001
instants = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
dates = st.dates(date(1970, 1, 1), date(2198, 1, 1))
windows = st.builds(
    Window,
    st.integers(0, 24 * 60 - 1),
    st.integers(0, 24 * 60),
    st.sampled_from(ZONES).map(ZoneInfo),
).filter(lambda window: window.start != window.end)


# --- what is refused ------------------------------------------------------------------------------

WRONG_WINDOWS = (
    "|always|0:00-7:00 UTC|00:00-07:60 UTC|00:60-07:00 UTC|24:00-07:00 UTC|00:00-24:01 UTC|"
    "00:00-07:00 UTC |00:00-07:00UTC|00:00-07:00 UTC\n|\N{ARABIC-INDIC DIGIT ZERO}0:00-07:00 UTC"
)
# The second line is what the machine that deploys may have, and Lambda has not. "Factory" stands in
# the package for "nobody has set the clock".
WRONG_ZONES = (
    "Amsterdam|Europe|/etc/localtime|../UTC|zones|Factory|"
    "right/Europe/Amsterdam|localtime|europe/amsterdam|utc"
)
WRONG_RATES = (
    "rate(1 days)|rate(14 day)|rate(0 days)|rate(-1 days)|rate(01 day)|rate(1.5 days)|rate(2 weeks)|"
    "rate(14days)|rate(100000 days)|rate(14 days"
)
NO_EXPRESSIONS = (
    "|0 2 ? * SUN *|cron(0 2 ? * SUN *|at(2026-11-23T00:00:00)|CRON(0 2 ? * SUN *)|cron(0 2 * * SUN)|"
    "cron(0 0 2 ? * SUN *)"
)
# Python reads a long s as an S, and many a character as a space; EventBridge does not.
NOT_ASCII = (
    "cron(0 2 ? * \N{LATIN SMALL LETTER LONG S}UN *)|cron(0 2 ? * SUN\N{NO-BREAK SPACE}*)|"
    "cron(\N{ARABIC-INDIC DIGIT FIVE} 2 * * ? *)|cron(0 2 ? *\tSUN *)|cron(0 2 ? * SUN *)\n"
)
NOT_WEEKLY = (
    "rate(7 days)|cron(0 4 1-31 * ? *)|cron(0 4 L * ? *)|cron(0 4 ? * L *)|cron(0 4 ? * SUN#1 *)"
)

Parse = Callable[[str], object]
REFUSED: list[tuple[Parse, str, str, str]] = [
    (Window.parse, "{}", WRONG_WINDOWS, '"{}" is not hh:mm-hh:mm (two times, at most 24:00)'),
    (Window.parse, "{} UTC", "07:00-07:00|00:00-00:00", '"{} UTC" is not hh:mm-hh:mm (two times'),
    (Window.parse, "00:00-07:00 {}", WRONG_ZONES, '"{}" is not a time zone of the IANA database'),
    (Expression.parse, "cron(0 4 ? * SUN *) {}", WRONG_ZONES, '"{}" is not a time zone'),
    (Expression.parse, "{} Europe/Amsterdam", NOT_WEEKLY, '"{}" cannot be in a time zone'),
    (Expression.parse, "{}", WRONG_RATES, '"{}" is not a schedule expression'),
    (Expression.parse, "{}", NO_EXPRESSIONS, '"{}" is not a schedule expression'),
    (Expression.parse, "{}", NOT_ASCII, '"{}" is not a schedule expression'),
    (Expression.parse, "cron(0 2 {} * * *)", "*|1", 'day-of-month "{}" and day-of-week "*" do not'),
    (Expression.parse, "cron(0 2 ? * {} *)", "?", 'day-of-month "?" and day-of-week "{}" do not'),
]
# Each field, with what is wrong in it.
WRONG_FIELDS = [
    ("minutes", "{} 2 * * ? *", "60|-1|MON|1-2-3|*/|*/0|*/60|0/X|99999"),
    ("minutes", "0,{} 2 * * ? *", "61|"),
    ("minutes", "{}-5 2 * * ? *", "*"),
    ("hours", "0 {} * * ? *", "24|*/24"),
    ("day-of-month", "0 2 {} * ? *", "0|32|W|SUN"),
    ("day-of-month", "0 2 {}W * ? *", "32"),
    ("day-of-month", "0 2 {},1 * ? *", "1W|L"),
    ("day-of-month", "0 2 1-{} * ? *", "5W"),
    ("day-of-month", "0 2 {}-3 * ? *", "L"),
    ("month", "0 2 * {} ? *", "0|13|JANUARY"),
    ("day-of-week", "0 2 ? * {} *", "0|8|SUNDAY|2#0|2#6|2W|*/2"),
    ("day-of-week", "0 2 ? * {}L *", "8"),
    ("day-of-week", "0 2 ? * {}#1 *", "8"),
    ("day-of-week", "0 2 ? * 6,{} *", "6L|3#1"),
    ("year", "0 2 ? * SUN {}", "1969|2200|26|2028-2026|?"),
]
REFUSED += [
    (Expression.parse, f"cron({fields})", texts, f'{title} "{{}}" is not accepted by EventBridge')
    for title, fields, texts in WRONG_FIELDS
]


@pytest.mark.parametrize(
    ("parse", "template", "text", "problem"),
    [(*row[:2], text, row[3]) for row in REFUSED for text in row[2].split("|")],
)
def test_a_wrong_text_is_refused_with_what_would_be_right(
    parse: Parse, template: str, text: str, problem: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem.format(text))}.*(write|e.g.) "):
        parse(template.format(text))


def test_a_zone_is_known_when_the_package_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda has no other: what ZoneInfo finds on the machine that deploys proves nothing."""
    monkeypatch.setattr("chalicelib.domain.schedule._zones", lambda: {"Europe/Berlin"})
    with pytest.raises(ValueError, match="time zone"):
        Window.parse("00:00-07:00 Europe/Amsterdam")
    monkeypatch.delattr("chalicelib.domain.schedule._zones")
    # UTC needs no list: it is cold-start time.
    assert str(Window.parse("00:00-07:00")) == "00:00-07:00 UTC"


# --- the window -----------------------------------------------------------------------------------


@given(windows, instants)
def test_a_window_is_read_back_and_holds_the_minutes_walked_through_from_its_start_to_its_end(
    window: Window, instant: datetime
) -> None:
    """By the clocks of its zone: twice where they are set back, never where they skip."""
    assert Window.parse(str(window)) == window
    length = (window.end - window.start) % (24 * 60) or 24 * 60
    walked = {(window.start + minute) % (24 * 60) for minute in range(length)}
    day = [instant + timedelta(minutes=minute) for minute in range(24 * 60)]
    clocks = [each.astimezone(window.zone) for each in day]
    inside = [clock.hour * 60 + clock.minute in walked for clock in clocks]
    assert [window.contains(each) for each in day] == inside
    assert window.date_of(instant) == clocks[0].date()
    assert window.whole_day() == Window(0, 24 * 60, window.zone)


# --- the cadence ----------------------------------------------------------------------------------


@given(st.integers(1, 60), dates, dates)
def test_on_weeks_come_back_at_their_interval(weeks: int, anchor: date, day: date) -> None:
    """The parity of ISO weeks does not: 2026 has 53 of them."""
    since_an_on_week = (day - anchor) % timedelta(weeks=weeks)
    assert Cadence(weeks, anchor).is_on_week(day) is (since_an_on_week < timedelta(weeks=1))


# --- expressions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "first"),
    [
        # Examples of the EventBridge user guide.
        ("cron(0/5 8-17 ? * MON-FRI *)", ["Mon 23 08:00", "Mon 23 08:05", "Mon 23 08:10"]),
        ("cron(15 10 ? * 6L 2026-2027)", ["Fri 27 10:15", "Fri 25 10:15", "Fri 29 10:15"]),
        # Its wildcards: "3#2 would be the second Tuesday", "3W the weekday closest to the third".
        ("cron(0 0 ? * 3#2 *)", ["Tue 08 00:00", "Tue 12 00:00", "Tue 09 00:00"]),
        ("cron(0 0 ? * MON#5 *)", ["Mon 30 00:00", "Mon 29 00:00", "Mon 31 00:00"]),
        ("cron(0 0 3W * ? *)", ["Thu 03 00:00", "Mon 04 00:00", "Wed 03 00:00"]),
        ("cron(0 0 9W * ? *)", ["Wed 09 00:00", "Fri 08 00:00", "Tue 09 00:00"]),
        ("cron(0 0 1W MAY ? *)", ["Mon 03 00:00", "Mon 01 00:00", "Tue 01 00:00"]),
        ("cron(0 0 LW * ? *)", ["Mon 30 00:00", "Thu 31 00:00", "Fri 29 00:00"]),
        ("cron(0 0 L * ? *)", ["Mon 30 00:00", "Thu 31 00:00", "Sun 31 00:00"]),
        ("cron(0 0 ? * L *)", ["Sat 28 00:00", "Sat 05 00:00", "Sat 12 00:00"]),
        # A month without a 31st is passed over: https://github.com/winebarrel/cronplan/issues/106
        ("cron(5 10 31W * ? *)", ["Thu 31 10:05", "Fri 29 10:05", "Wed 31 10:05"]),
        # Ranges may go round; a night's hours pass midnight, but the day stays the date itself.
        ("cron(30 20-2 ? * MON *)", ["Mon 23 00:30", "Mon 23 01:30", "Mon 23 02:30"]),
        ("cron(7 22-4/3 * * ? *)", ["Mon 23 01:07", "Mon 23 04:07", "Mon 23 22:07"]),
        ("cron(7 23,3,5-9/4 * * ? *)", ["Mon 23 03:07", "Mon 23 05:07", "Mon 23 09:07"]),
        # A default of this app, in another spelling.
        ("cron(00  02 ?   * sun *)", ["Sun 29 02:00", "Sun 06 02:00", "Sun 13 02:00"]),
        # What is rare, or never comes.
        ("cron(0 0 29 Feb ? *)", ["Tue 29 00:00", "Sun 29 00:00", "Fri 29 00:00"]),
        ("cron(0 0 1 1 ? 2027/2)", ["Fri 01 00:00", "Mon 01 00:00", "Wed 01 00:00"]),
        ("cron(59 23 31 12 ? 2199)", ["Tue 31 23:59"]),
        # The phase of a rate is not guessed.
        ("rate(99999 days)", []),
    ],
)
def test_an_expression_fires_as_its_documentation_says(text: str, first: list[str]) -> None:
    expression = Expression.parse(text)
    fires = list(islice(expression.fires_after(MONDAY), len(first) or 1))
    assert [fire.strftime("%a %d %H:%M") for fire in fires] == first
    assert str(expression) == text
    assert expression.is_rate is text.startswith("rate")
    assert expression.is_due(MONDAY)  # whenever its rule fires, for it is in no zone


# --- expressions in a time zone -------------------------------------------------------------------


def test_the_rule_fires_in_utc_at_each_time_that_the_offsets_make() -> None:
    for text, rule in (
        # The day shifts with the hour, for one of the offsets or for both.
        ("cron(30 1 ? * 1 *) Europe/Amsterdam", "cron(30 0,23 ? * SUN,SAT *)"),
        ("cron(0 4 ? * SUN *) Australia/Lord_Howe", "cron(0,30 17 ? * SAT *)"),
        # So may the month and the year.
        ("cron(0 4 * JAN ? 2027) Africa/Casablanca", "cron(0 3,4 ? * * *)"),
        ("cron(* * ? * * *) Europe/Amsterdam", "cron(* * ? * * *)"),
        ("cron(0 4 L * ? *) UTC", "cron(0 4 L * ? *)"),
    ):
        expression = Expression.parse(text)
        assert str(expression.utc) == rule
        assert str(expression) == text.removesuffix(" UTC")


def test_a_year_ends_by_the_clocks_of_the_zone() -> None:
    expression = Expression.parse("cron(0 22 ? * * 2026) America/New_York")
    last = datetime(2027, 1, 1, 3, tzinfo=UTC)
    assert list(expression.fires_after(last - timedelta(minutes=1))) == [last]


CHANGING = (
    *("Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham"),
    # Changes at midnight, before midnight, by two hours, and for Ramadan; and no changes.
    *("Africa/Cairo", "America/Nuuk", "Antarctica/Troll", "Africa/Casablanca", "Asia/Kolkata"),
)
QUARTER = timedelta(minutes=15)  # all their offsets are whole quarters of an hour


def due_by_brute_force(start: datetime, end: datetime, zone: ZoneInfo) -> dict[datetime, datetime]:
    """Watch the zone's clocks each quarter: what they show when, and what they jump over."""
    shown: dict[datetime, datetime] = {}
    instant = start - timedelta(hours=4)  # what clocks show now, they may have shown before
    clocks = instant.astimezone(zone).replace(tzinfo=None)
    while instant < end:
        now = instant.astimezone(zone).replace(tzinfo=None)
        skipped = clocks
        while skipped < now:
            shown.setdefault(skipped, instant + (skipped - clocks))
            skipped += QUARTER
        shown.setdefault(now, instant)
        instant, clocks = instant + QUARTER, now + QUARTER
    return {wall: instant for wall, instant in shown.items() if start <= instant < end}


@st.composite
def near_a_change(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """A zone, and a quarter up to a day before its clocks change, or any."""
    zone = ZoneInfo(draw(st.sampled_from(CHANGING)))
    start = datetime(draw(st.integers(2026, 2040)), 1, 1, tzinfo=UTC)
    midnights = [start + timedelta(days=n) for n in range(365)]
    offsets = [midnight.astimezone(zone).utcoffset() for midnight in midnights]
    changes = [midnights[n] for n in range(364) if offsets[n] != offsets[n + 1]]
    day = draw(st.sampled_from(changes or midnights))
    return zone, day - QUARTER * draw(st.integers(0, 24 * 4))


WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@given(
    st.sampled_from([[0], [30], [0, 45], [0, 15, 30, 45]]),
    st.sets(st.integers(0, 23), min_size=1),
    st.sets(st.sampled_from(WEEKDAYS), min_size=1),
    near_a_change(),
)
def test_times_in_a_zone_are_those_that_a_watch_of_its_clocks_finds(
    minutes: list[int], hours: set[int], weekdays: set[str], place: tuple[ZoneInfo, datetime]
) -> None:
    zone, start = place
    end = start + timedelta(days=2)
    fields = [",".join(map(str, each)) for each in (minutes, hours, weekdays)]
    expression = Expression.parse("cron({} {} ? * {} *) {}".format(*fields, zone.key))
    due = [
        instant
        for wall, instant in due_by_brute_force(start, end, zone).items()
        if wall.minute in minutes
        and wall.hour in hours
        and WEEKDAYS[wall.isoweekday() % 7] in weekdays
    ]

    def before_end(of: Expression) -> list[datetime]:
        local = (start - QUARTER / 2).astimezone(zone)
        return list(takewhile(lambda fire: fire < end, of.fires_after(local)))

    assert before_end(expression) == sorted(set(due))
    acted = [fire for fire in before_end(expression.utc) if expression.is_due(fire)]
    assert acted == sorted(set(due))
    # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    assert len(str(expression.utc)) <= 256


def test_an_event_is_for_a_minute_in_utc() -> None:
    for text in ("2026-01-04T04:00:59.000007Z", "2026-01-04T05:00:00+01:00"):
        assert scheduled_minute(text).isoformat() == "2026-01-04T04:00:00+00:00"


@pytest.mark.parametrize("text", ["2026-01-04T04:00:00", "0001-01-01T00:00:00+14:00", "yesterday"])
def test_what_is_no_time_with_a_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a time|Invalid isoformat|not a time in UTC"):
        scheduled_minute(text)


# --- runs -----------------------------------------------------------------------------------------

WEEKENDS = Expression.parse("cron(0 0-6,22 ? * SAT,SUN *)")
hours = instants.map(lambda instant: instant.replace(minute=0, second=0, microsecond=0))


@given(st.integers(1, 8), dates, windows, hours, st.integers(-30, 60))
def test_the_runs_nearest_to_now_are_firings_that_meet_every_condition(
    weeks: int, anchor: date, window: Window, now: datetime, held: int
) -> None:
    cadence, until = Cadence(weeks, anchor), now.date() + timedelta(days=held)
    fires = list(islice(WEEKENDS.fires_after(now - timedelta(weeks=weeks + 1)), 16 * 30))
    acting = [
        fire for fire in fires if window.contains(fire) and cadence.is_on_week(window.date_of(fire))
    ]
    past = [fire for fire in acting if fire <= now]
    coming = [fire for fire in acting if fire > now and window.date_of(fire) >= until]
    timetable = Timetable(WEEKENDS, cadence, window)
    found = timetable.next_run(now, until)
    assert timetable.last_run(now) == (past[-1] if past else None)
    assert found == coming[0] if coming else (found is None or found > fires[-1])


def test_the_search_for_the_next_run_ends_at_its_limit() -> None:
    once, fire = Expression.parse("cron(0 4 1 1 ? 2050)"), datetime(2050, 1, 1, 4, tzinfo=UTC)
    early, timetable = fire - SEARCH_LIMIT, Timetable(once, Cadence(1, date(2026, 1, 4)), ALWAYS)
    assert list(timetable.runs(early)) == [fire]
    assert not any(timetable.runs(early - timedelta(seconds=1)))


def test_a_search_under_a_long_hold_skips_most_firings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense schedule fires two million times within the limit."""
    monkeypatch.delattr(Expression, "fires_on")
    every_minute = Expression.parse("cron(* * * * ? *)")
    assert not any(Timetable(every_minute, FORTNIGHTLY, ALWAYS).runs(MONDAY, date.max))


def ever(text: str, cadence: Cadence = FORTNIGHTLY) -> bool:
    return Timetable(Expression.parse(text), cadence, ALWAYS).ever_runs()


def test_whether_it_ever_runs_does_not_depend_on_the_clock() -> None:
    # The years: past, and long after the anchor.
    assert not ever("cron(0 4 ? * SUN 2025)")
    assert ever("cron(0 4 ? * SUN 2027)", Cadence(2, date(1960, 1, 3)))
    assert not ever("cron(0 4 ? * SUN *)", Cadence(1, date.max))
    # The one firing lies in an off-week, or is the anchor's first minute.
    assert not ever("cron(0 4 11 1 ? 2026)")
    assert ever("cron(1 0 4 1 ? 2026)")
