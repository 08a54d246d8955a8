"""The rules of the calendar, each also against a slow and obvious reading of itself."""

import calendar
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib.domain.schedule import (
    SEARCH_LIMIT,
    Cadence,
    Expression,
    Window,
    ever_runs,
    last_run,
    next_run,
)

ZONES = ("UTC", "Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia")
SUNDAYS_AT_FOUR = Expression.parse("cron(0 4 ? * SUN *)")
FORTNIGHTLY = Cadence(2, date(2026, 1, 4))

# Hypothesis wants its bounds naive.
FIRST, LAST = datetime(2011, 1, 1), datetime(2040, 1, 1)  # noqa: DTZ001
instants = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
dates = st.dates(date(1970, 1, 1), date(2199, 12, 31))
minutes_of_day = st.integers(0, 24 * 60 - 1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start, end = draw(minutes_of_day), draw(st.integers(0, 24 * 60))
    assume(start != end)
    return Window.parse(f"{clock(start)}-{clock(end)} {draw(st.sampled_from(ZONES))}")


# Window


@pytest.mark.parametrize(
    ("text", "start", "end", "key"),
    [
        ("00:00-07:00 UTC", 0, 420, "UTC"),
        ("22:00-05:30 Europe/Amsterdam", 1320, 330, "Europe/Amsterdam"),
        ("00:00-24:00 America/New_York", 0, 1440, "America/New_York"),
        ("22:00-00:00 UTC", 1320, 0, "UTC"),
        ("09:05-23:59 Etc/GMT+5", 545, 1439, "Etc/GMT+5"),
    ],
)
def test_a_window_is_read_and_written_back(text: str, start: int, end: int, key: str) -> None:
    window = Window.parse(text)

    assert window == Window(start, end, ZoneInfo(key))
    assert str(window) == text


@pytest.mark.parametrize("text", ["00:00-07:00", "00:00-07:00   UTC"])
def test_the_text_of_a_window_is_canonical(text: str) -> None:
    assert str(Window.parse(text)) == "00:00-07:00 UTC"


@given(windows())
def test_every_window_is_read_back_from_its_text(window: Window) -> None:
    assert Window.parse(str(window)) == window


WRONG_WINDOWS = (
    "|always|00:00|0:00-7:00 UTC|00:00-07:60 UTC|00:60-07:00 UTC|24:00-07:00 UTC|00:00-24:01 UTC|"
    "00:00-25:00 UTC|00:00-07:00 UTC |00:00-07:00UTC|00:00-07:00 UTC UTC|00:00-07:00 UTC\n|"
    "\N{ARABIC-INDIC DIGIT ZERO}0:00-07:00 UTC"
)
# The second line is what the machine that deploys may have, and Lambda has not. "Factory" stands in
# the package for "nobody has set the clock".
WRONG_ZONES = (
    "Amsterdam|Europe|/etc/localtime|../UTC|CET-1\x00|zones|Factory|"
    "right/Europe/Amsterdam|posix/Europe/Amsterdam|localtime|posixrules|europe/amsterdam|utc"
)
EXAMPLE = 'write e.g. "00:00-07:00 Europe/Amsterdam"'


def refusal(parse: Callable[[str], object], text: str) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the caller compares all of it)
        parse(text)
    return str(error.value)


@pytest.mark.parametrize("text", WRONG_WINDOWS.split("|"))
def test_a_text_that_is_no_window_is_refused(text: str) -> None:
    problem = f'"{text}" is not hh:mm-hh:mm (at most 24:00) and a time zone'
    assert refusal(Window.parse, text) == f"{problem}; {EXAMPLE}"


@pytest.mark.parametrize("text", ["07:00-07:00", "00:00-00:00 Europe/Amsterdam"])
def test_a_window_that_starts_when_it_ends_is_refused(text: str) -> None:
    problem = f'"{text}" starts when it ends, which could mean never or always'
    assert refusal(Window.parse, text) == f'{problem}; for always write "00:00-24:00"'


@pytest.mark.parametrize("key", WRONG_ZONES.split("|"))
def test_an_unknown_zone_is_refused(key: str) -> None:
    problem = f'"{key}" is not a time zone of the IANA database; write e.g. Europe/Amsterdam'
    assert refusal(Window.parse, f"00:00-07:00 {key}") == problem
    if key.isprintable():
        assert refusal(Expression.parse, f"cron(0 4 ? * SUN *) {key}") == problem


def test_a_zone_is_known_when_the_package_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda has no other: what ZoneInfo finds on the machine that deploys proves nothing."""
    monkeypatch.setattr("chalicelib.domain.schedule._zones", lambda: {"Europe/Berlin"})

    with pytest.raises(ValueError, match="time zone"):
        Window.parse("00:00-07:00 Europe/Amsterdam")


def test_utc_needs_no_list_of_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cold-start time."""
    monkeypatch.delattr("chalicelib.domain.schedule._zones")

    assert Window.parse("00:00-07:00") == Window.parse("00:00-07:00 UTC")


@pytest.mark.parametrize(
    ("window", "instant", "inside"),
    [
        ("00:00-07:00 UTC", "2026-11-22T00:00:00", True),
        ("00:00-07:00 UTC", "2026-11-22T06:59:59", True),
        ("00:00-07:00 UTC", "2026-11-22T07:00:00", False),
        ("22:00-05:00 UTC", "2026-11-22T21:59:59", False),
        ("22:00-05:00 UTC", "2026-11-22T22:00:00", True),
        ("22:00-05:00 UTC", "2026-11-22T05:00:00", False),
        ("22:00-00:00 UTC", "2026-11-23T00:00:00", False),
        # 02:30 comes twice on 25 October 2026, at 00:30 and at 01:30 UTC.
        ("02:15-02:45 Europe/Amsterdam", "2026-10-25T00:30:00", True),
        ("02:15-02:45 Europe/Amsterdam", "2026-10-25T01:10:00", False),
        ("02:15-02:45 Europe/Amsterdam", "2026-10-25T01:30:00", True),
        # 02:00 to 03:00 does not come on 29 March 2026: 01:00 UTC is 03:00.
        ("02:00-03:00 Europe/Amsterdam", "2026-03-29T00:59:59", False),
        ("02:00-03:00 Europe/Amsterdam", "2026-03-29T01:00:00", False),
    ],
)
def test_the_clocks_of_the_zone_decide(window: str, instant: str, inside: bool) -> None:
    assert Window.parse(window).contains(utc(instant)) is inside


@given(windows(), instants)
def test_a_window_holds_the_minutes_walked_through_from_its_start_to_its_end(
    window: Window, instant: datetime
) -> None:
    minute, walked = window.start, set()
    while minute != window.end % (24 * 60):
        walked.add(clock(minute))
        minute = (minute + 1) % (24 * 60)
    local = instant.astimezone(window.zone).strftime("%H:%M")

    assert window.contains(instant) is (local in walked or str(window).startswith("00:00-24:00"))


@given(windows(), instants, st.sampled_from(ZONES))
def test_it_does_not_matter_in_which_zone_an_instant_is_written(
    window: Window, instant: datetime, key: str
) -> None:
    elsewhere = instant.astimezone(ZoneInfo(key))

    assert window.contains(elsewhere) is window.contains(instant)
    assert window.date_of(elsewhere) == window.date_of(instant)


@given(instants, st.sampled_from(ZONES))
def test_a_whole_day_is_always_open(instant: datetime, key: str) -> None:
    window = Window.parse(f"03:00-04:00 {key}").whole_day()

    assert str(window) == f"00:00-24:00 {key}"
    assert window.contains(instant)


# Cadence


@pytest.mark.parametrize(
    ("day", "on"),
    [
        (date(2026, 1, 4), True),
        (date(2026, 1, 10), True),
        (date(2026, 1, 11), False),
        (date(2026, 1, 3), False),
        # 2026 has 53 ISO weeks: 27 December lies in week 52, 10 January in week 1.
        (date(2026, 12, 20), True),
        (date(2026, 12, 27), False),
        (date(2027, 1, 3), True),
    ],
)
def test_every_second_week_from_the_anchor_is_on(day: date, on: bool) -> None:
    assert FORTNIGHTLY.is_on_week(day) is on


@given(st.integers(1, 60), dates, dates)
def test_on_weeks_are_whole_weeks_that_come_back_at_their_interval(
    weeks: int, anchor: date, day: date
) -> None:
    on = {anchor + timedelta(days=n) for n in range(7)}
    period = timedelta(weeks=weeks)
    moved = day
    while moved < anchor:
        moved += period
    while moved >= anchor + period:
        moved -= period

    assert Cadence(weeks, anchor).is_on_week(day) is (moved in on)


# Expression


@pytest.mark.parametrize(
    ("text", "first"),
    [
        # The table of examples in the EventBridge user guide.
        ("cron(0 10 * * ? *)", ["Mon 23 10:00", "Tue 24 10:00", "Wed 25 10:00"]),
        ("cron(15 12 * * ? *)", ["Mon 23 12:15", "Tue 24 12:15", "Wed 25 12:15"]),
        ("cron(0 18 ? * MON-FRI *)", ["Mon 23 18:00", "Tue 24 18:00", "Wed 25 18:00"]),
        ("cron(0 8 1 * ? *)", ["Tue 01 08:00", "Fri 01 08:00", "Mon 01 08:00"]),
        ("cron(0/15 * * * ? *)", ["Mon 23 00:15", "Mon 23 00:30", "Mon 23 00:45"]),
        ("cron(0/10 * ? * MON-FRI *)", ["Mon 23 00:10", "Mon 23 00:20", "Mon 23 00:30"]),
        ("cron(0/5 8-17 ? * MON-FRI *)", ["Mon 23 08:00", "Mon 23 08:05", "Mon 23 08:10"]),
        # Its text: "every tenth minute, starting from the first minute of the hour".
        ("cron(1/10 * * * ? *)", ["Mon 23 00:01", "Mon 23 00:11", "Mon 23 00:21"]),
        # Its commands for the CLI.
        ("cron(0 12 * * ? *)", ["Mon 23 12:00", "Tue 24 12:00", "Wed 25 12:00"]),
        ("cron(5,35 14 * * ? *)", ["Mon 23 14:05", "Mon 23 14:35", "Tue 24 14:05"]),
        ("cron(15 10 ? * 6L 2026-2027)", ["Fri 27 10:15", "Fri 25 10:15", "Fri 29 10:15"]),
        ("cron(15 10 ? * 6L 2019-2022)", []),
        # Its wildcards: "3#2 would be the second Tuesday", "3W the weekday closest to the third".
        ("cron(0 0 ? * 3#2 *)", ["Tue 08 00:00", "Tue 12 00:00", "Tue 09 00:00"]),
        ("cron(0 0 3W * ? *)", ["Thu 03 00:00", "Mon 04 00:00", "Wed 03 00:00"]),
        ("cron(0 0 ? * L *)", ["Sat 28 00:00", "Sat 05 00:00", "Sat 12 00:00"]),
        ("cron(0 0 L * ? *)", ["Mon 30 00:00", "Thu 31 00:00", "Sun 31 00:00"]),
        # The defaults of this app.
        ("cron(0 2 ? * SUN *)", ["Sun 29 02:00", "Sun 06 02:00", "Sun 13 02:00"]),
        ("cron(0 2 ? * 1 *)", ["Sun 29 02:00", "Sun 06 02:00", "Sun 13 02:00"]),
        ("cron(00 02 ? * sun *)", ["Sun 29 02:00", "Sun 06 02:00", "Sun 13 02:00"]),
        ("cron(59 23 31 12 ? *)", ["Thu 31 23:59", "Fri 31 23:59", "Sun 31 23:59"]),
        ("cron(0 0 29 2 ? *)", ["Tue 29 00:00", "Sun 29 00:00", "Fri 29 00:00"]),
        ("cron(0 0 30 2 ? *)", []),
        ("cron(* * * * ? 2025)", []),
        ("cron(59 23 23 11 ? 2026)", ["Mon 23 23:59"]),
        ("rate(14 days)", []),
    ],
)
def test_an_expression_fires_as_its_documentation_says(text: str, first: list[str]) -> None:
    expression = Expression.parse(text)
    fires = list(islice(expression.fires_after(utc("2026-11-23T00:00")), 3))

    assert [fire.strftime("%a %d %H:%M") for fire in fires] == first
    assert expression.next_after(utc("2026-11-23T00:00")) == next(iter(fires), None)
    assert str(expression) == text


def test_hours_may_pass_midnight_but_the_day_stays_the_date_itself() -> None:
    """The guide's own example, and note: from 12:00 am to 2:00 am it runs on Monday morning."""
    expression = Expression.parse("cron(0/30 20-2 ? * MON-FRI *)")

    fires = list(islice(expression.fires_after(utc("2026-11-27T02:00")), 16))

    friday = [utc("2026-11-27T02:30") + timedelta(hours=17.5, minutes=30 * n) for n in range(8)]
    monday = [utc("2026-11-30T00:00") + timedelta(minutes=30 * n) for n in range(6)]
    assert fires == [utc("2026-11-27T02:30"), *friday, *monday, utc("2026-11-30T20:00")]


def test_the_weekday_nearest_the_31st_skips_the_months_that_have_none() -> None:
    """Seen in the AWS console, https://github.com/winebarrel/cronplan/issues/106."""
    expression = Expression.parse("cron(5 10 31W * ? 2026)")

    fires = list(expression.fires_after(utc("2026-01-01T00:00")))

    assert [fire.strftime("%a %d %b") for fire in fires] == [
        "Fri 30 Jan",
        "Tue 31 Mar",
        "Fri 29 May",
        "Fri 31 Jul",
        "Mon 31 Aug",
        "Fri 30 Oct",
        "Thu 31 Dec",
    ]


def test_the_last_instant_of_all_years_is_the_last() -> None:
    expression = Expression.parse("cron(* * * * ? *)")
    last = utc("2199-12-31T23:59")

    assert expression.next_after(last - timedelta(seconds=1)) == last
    assert expression.next_after(last) is None


def test_an_instant_may_be_written_in_any_zone_and_the_answer_is_utc() -> None:
    after = datetime(2026, 11, 29, 0, 59, 59, 999_999, ZoneInfo("Europe/Amsterdam"))

    fire = Expression.parse("cron(0 0/12 29 * ? *)").next_after(after)
    earlier = Expression.parse("cron(0/5 23 * * ? *)").next_after(after - timedelta(minutes=10))

    assert (fire, earlier) == (utc("2026-11-29T00:00"), utc("2026-11-28T23:50"))
    assert fire is not None
    assert fire.tzinfo is UTC


@pytest.mark.parametrize(
    "text", [f"rate({each})" for each in ("1 minute", "1 hour", "1 day", "5 minutes", "99999 days")]
)
def test_a_rate_is_accepted_and_its_phase_not_guessed(text: str) -> None:
    expression = Expression.parse(text)

    assert str(expression) == text
    assert expression.is_rate
    assert expression.next_after(utc("2026-11-23T00:00")) is None
    assert next_run(expression, FORTNIGHTLY, Window.parse("00:00-24:00"), utc("2026-11-23")) is None


WRONG_RATES = (
    "rate(1 days)|rate(14 day)|rate(0 days)|rate(-1 days)|rate(01 day)|rate(1.5 days)|rate(2 weeks)|"
    "rate(days)|rate(14days)|rate(14  days)|rate(100000 days)|rate(14 days"
)
NO_EXPRESSIONS = "|0 2 ? * SUN *|cron(0 2 ? * SUN *|at(2026-11-23T00:00:00)|CRON(* * ?)"
# Python reads a long s as an S, and many a character as a space; EventBridge does not.
NOT_ASCII = (
    "cron(0 2 ? * \N{LATIN SMALL LETTER LONG S}UN *)|cron(0 2 ? * SUN\N{NO-BREAK SPACE}*)|"
    "cron(\N{ARABIC-INDIC DIGIT FIVE} 2 * * ? *)|cron(0 2 ? *\tSUN *)|cron(0 2 ? *\nSUN *)|"
    "cron(0 2 ? *\x1fSUN *)|cron(0 2 ? * SUN *)\n|rate(\N{ARABIC-INDIC DIGIT FIVE} days)|"
    "rate(14\N{NO-BREAK SPACE}days)"
)


@pytest.mark.parametrize("text", WRONG_RATES.split("|"))
def test_a_wrong_rate_is_refused(text: str) -> None:
    assert refusal(Expression.parse, text) == (
        f'"{text}" is not a rate; write a positive integer of at most five digits and its unit, '
        "singular after 1 and plural otherwise, e.g. rate(1 hour), rate(30 minutes), rate(14 days)"
    )


@pytest.mark.parametrize("text", NO_EXPRESSIONS.split("|"))
def test_what_is_neither_cron_nor_rate_is_refused(text: str) -> None:
    assert refusal(Expression.parse, text) == (
        f'"{text}" is not a schedule expression; write cron(…) or rate(…), e.g. cron(0 2 ? * SUN *)'
    )


@pytest.mark.parametrize("text", NOT_ASCII.split("|"))
def test_a_character_that_is_not_plain_ascii_is_refused(text: str) -> None:
    assert refusal(Expression.parse, text) == (
        f"{text!a} has a character that is no plain ASCII; separate the fields by spaces, "
        "e.g. cron(0 2 ? * SUN *)"
    )


def test_fields_may_be_several_spaces_apart() -> None:
    after = utc("2026-11-23T00:00")

    assert Expression.parse("cron(0  2 ?   * SUN *)").next_after(after) == utc("2026-11-29T02:00")


@pytest.mark.parametrize(
    ("text", "count"), [("cron()", 0), ("cron(0 2 * * SUN)", 5), ("cron(0 0 2 ? * SUN *)", 7)]
)
def test_a_cron_has_six_fields(text: str, count: int) -> None:
    assert refusal(Expression.parse, text) == (
        f'"{text}" has {count} fields; write six: '
        "cron(minutes hours day-of-month month day-of-week year)"
    )


@pytest.mark.parametrize(
    ("in_month", "in_week"), [("*", "*"), ("?", "?"), ("1", "SUN"), ("*", "1")]
)
def test_exactly_one_of_the_day_fields_is_a_question_mark(in_month: str, in_week: str) -> None:
    assert refusal(Expression.parse, f"cron(0 2 {in_month} * {in_week} *)") == (
        f'day-of-month "{in_month}" and day-of-week "{in_week}" do not go together; '
        'write "?" in exactly one of the two'
    )


COMMON = "a list a,b, a range a-b, a step a/n or *"
# Each field's wrong texts, in each of which the part after = is what is wrong, if it is not all.
WRONG_FIELDS = [
    (
        "{} 2 * * ? *",
        f"minutes 0-59, {COMMON}",
        "60 -1 ? L MON 0,61=61 0,= 5-61=61 *-5=* 5-*=* 1-2-3 /5 */ */0 */60 0/X 0/5/5 99999",
    ),
    ("0 {} * * ? *", f"hours 0-23, {COMMON}", "24 */24"),
    (
        "0 2 {} * ? *",
        f"day-of-month 1-31, {COMMON}; or, alone, ?, L, LW or nW",
        "0 32 32W=32 W 1W,15W=1W L,1=L 1-5W=5W L-3=L SUN",
    ),
    ("0 2 * {} ? *", f"month 1-12 or JAN-DEC, {COMMON}", "0 13 JANUARY"),
    (
        "0 2 ? * {} *",
        (
            "day-of-week 1-7 or SUN-SAT (1 is SUN), a list a,b, a range a-b or *; or, alone, ?, L, nL "
            "or n#1 to n#5"
        ),
        "0 8 JAN SUNDAY 8L=8 MON,6L=6L 8#1=8 2#0 2#6 3#1,6#3=3#1 */2 MON-FRI/2 2W",
    ),
    ("0 2 ? * SUN {}", f"year 1970-2199, {COMMON}, ascending", "1969 2200 26 2028-2026 ?"),
]


@pytest.mark.parametrize(
    ("template", "right", "wrong"),
    [(cron, right, each) for cron, right, texts in WRONG_FIELDS for each in texts.split()],
)
def test_a_wrong_field_is_named_with_its_value_and_what_is_right(
    template: str, right: str, wrong: str
) -> None:
    text, separator, part = wrong.partition("=")
    title, _, usage = right.partition(" ")
    assert refusal(Expression.parse, f"cron({template.format(text)})") == (
        f'{title} "{part if separator else text}" is not accepted by EventBridge; write {usage}'
    )


Part = tuple[str, Callable[[int], bool]]
Days = tuple[str, str, Callable[[date], bool]]


@st.composite
def parts(draw: st.DrawFn, low: int, high: int, names: str = "", *, steps: bool = True) -> Part:
    """A field's text, and what it means, said by counting round the clock."""
    size = high - low + 1
    first, last = draw(st.integers(low, high)), draw(st.integers(low, high))
    if low == 1970:
        first, last = min(first, last), max(first, last)
    step = draw(st.integers(1, min(high, size)))

    def written(n: int) -> str:
        name = names.split()[n - low] if names else f"{n:02}"
        return draw(st.sampled_from([str(n), name, name.lower()]))

    def ahead(n: int) -> int:
        return (n - first) % size

    kinds: list[Part] = [
        ("*", lambda _: True),
        (written(first), lambda n: n == first),
        (f"{written(first)}-{written(last)}", lambda n: ahead(n) <= ahead(last)),
        (f"{written(first)},{written(last)}", lambda n: n in (first, last)),
    ]
    if steps:
        kinds += [
            (f"*/{step}", lambda n: (n - low) % step == 0),
            (f"{written(first)}/{step}", lambda n: n >= first and (n - first) % step == 0),
            (
                f"{written(first)}-{written(last)}/{step}",
                lambda n: ahead(n) <= ahead(last) and ahead(n) % step == 0,
            ),
        ]
    return draw(st.sampled_from(kinds))


def month_of(day: date) -> list[date]:
    return [
        date(day.year, day.month, n + 1) for n in range(calendar.monthrange(day.year, day.month)[1])
    ]


@st.composite
def days(draw: st.DrawFn) -> Days:
    """The two day fields, and what they mean, said by searching the whole month."""
    if draw(st.booleans()):
        target = draw(st.integers(1, 31))
        text, holds = draw(parts(1, 31))

        def is_nearest(day: date) -> bool:
            month = month_of(day)
            working = [other for other in month if other.weekday() < 5]
            return target <= len(month) and day == min(
                working, key=lambda other: abs(other.day - target)
            )

        in_month: list[Days] = [
            (text, "?", lambda day: holds(day.day)),
            (f"{target}W", "?", is_nearest),
            ("L", "?", lambda day: day == month_of(day)[-1]),
            ("LW", "?", lambda day: day == [d for d in month_of(day) if d.weekday() < 5][-1]),
        ]
        return draw(st.sampled_from(in_month))
    names = "SUN MON TUE WED THU FRI SAT"
    number, ordinal = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    name = names.split()[number - 1]
    text, holds = draw(parts(1, 7, names, steps=False))

    def named(day: date) -> list[date]:
        return [d for d in month_of(day) if d.strftime("%a").upper() == name]

    in_week: list[Days] = [
        ("?", text, lambda day: holds(names.split().index(day.strftime("%a").upper()) + 1)),
        ("?", f"{number}L", lambda day: day == named(day)[-1]),
        ("?", f"{name}L", lambda day: day == named(day)[-1]),
        ("?", f"{name}#{ordinal}", lambda day: day in named(day)[ordinal - 1 : ordinal]),
        ("?", "L", lambda day: day.strftime("%a") == "Sat"),
    ]
    return draw(st.sampled_from(in_week))


@given(
    parts(0, 59),
    parts(0, 23),
    days(),
    parts(1, 12, "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"),
    parts(1970, 2199),
    instants,
)
def test_the_next_instant_is_the_first_that_a_walk_through_the_calendar_finds(
    minutes: Part, hours: Part, in_days: Days, months: Part, years: Part, after: datetime
) -> None:
    in_month, in_week, is_day = in_days
    text = f"cron({minutes[0]} {hours[0]} {in_month} {months[0]} {in_week} {years[0]})"
    walk = [after.date() + timedelta(days=n) for n in range(500)]

    found = Expression.parse(text).next_after(after)

    expected = next(
        (
            instant
            for day in walk
            if years[1](day.year) and months[1](day.month) and is_day(day)
            for hour in range(24)
            if hours[1](hour)
            for minute in range(60)
            if minutes[1](minute)
            and (instant := datetime.combine(day, time(hour, minute), UTC)) > after
        ),
        None,
    )
    if expected:
        assert found == expected
    else:
        assert found is None or found.date() > walk[-1]


# Expression, in a time zone


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("cron(0 4 ? * SUN *) Europe/Amsterdam", "cron(0 2,3 ? * SUN *)"),
        ("cron(0 4 ? * SUN *) America/New_York", "cron(0 8,9 ? * SUN *)"),
        # The day shifts with the hour, for one of the offsets or for both.
        ("cron(30 1 ? * 1 *) Europe/Amsterdam", "cron(30 0,23 ? * SUN,SAT *)"),
        ("cron(0 22 ? * SAT *) America/New_York", "cron(0 2,3 ? * SUN *)"),
        ("cron(15 0 ? * TUE-SAT *) Asia/Kolkata", "cron(45 18 ? * MON,TUE,WED,THU,FRI *)"),
        ("cron(0 4 ? * SUN *) Australia/Lord_Howe", "cron(0,30 17 ? * SAT *)"),
        # So may the month and the year.
        ("cron(0 4 * JAN ? 2027) Africa/Casablanca", "cron(0 3,4 ? * * *)"),
        ("cron(* * ? * * *) Europe/Amsterdam", "cron(* * ? * * *)"),
        ("cron(0 4 ? * SUN *)", "cron(0 4 ? * SUN *)"),
        ("cron(0 4 L * ? *) UTC", "cron(0 4 L * ? *)"),
        ("rate(7 days) UTC", "rate(7 days)"),
    ],
)
def test_the_rule_fires_in_utc_at_each_time_that_the_offsets_make(text: str, rule: str) -> None:
    expression = Expression.parse(text)

    assert str(expression.utc) == rule
    assert str(expression) == text.removesuffix(" UTC")


@pytest.mark.parametrize(
    "bare",
    [
        "rate(7 days)",
        *(f"cron(0 4 {each} * ? *)" for each in ("1", "L", "LW", "15W", "1-31")),
        *(f"cron(0 4 ? * {each} *)" for each in ("L", "SUNL", "SUN#1")),
    ],
)
def test_what_cannot_be_shifted_is_refused_together_with_a_zone(bare: str) -> None:
    assert refusal(Expression.parse, f"{bare} Europe/Amsterdam") == (
        f'"{bare}" cannot be in a time zone, because EventBridge fires in UTC, where the date may be '
        "another; write a cron with days of the week such as SUN or MON-FRI, or leave out "
        '"Europe/Amsterdam"'
    )


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("cron(0 4 ? * SUN *) Europe/Amsterdam", "2026-03-22T03:00", "2026-03-29T02:00"),
        ("cron(0 4 ? * SUN *) Europe/Amsterdam", "2026-10-18T02:00", "2026-10-25T03:00"),
        # 02:30 does not come on 29 March 2026, and comes twice on 25 October.
        ("cron(30 2 ? * SUN *) Europe/Amsterdam", "2026-03-29T00:00", "2026-03-29T01:30"),
        ("cron(30 2 ? * SUN *) Europe/Amsterdam", "2026-10-25T00:00", "2026-10-25T00:30"),
        ("cron(30 2 ? * SUN *) Europe/Amsterdam", "2026-10-25T00:30", "2026-11-01T01:30"),
        # So 02:30 and 03:30 are one time then.
        ("cron(30 2,3 ? * SUN *) Europe/Amsterdam", "2026-03-29T01:30", "2026-04-05T00:30"),
        # On Saturday 28 March 2026, Nuuk's clocks go from 23:00 to 00:00 of Sunday.
        ("cron(30 23 ? * SAT *) America/Nuuk", "2026-03-28T12:00", "2026-03-29T01:30"),
        ("cron(0 22 ? * * 2026) America/New_York", "2027-01-01T02:59", "2027-01-01T03:00"),
        ("cron(0 22 ? * * 2026) America/New_York", "2027-01-01T03:00", None),
        ("cron(* * ? * * 2025) America/New_York", "2026-01-04T00:00", None),
    ],
)
def test_a_time_in_a_zone_comes_once_whatever_its_clocks_do(
    text: str, after: str, expected: str | None
) -> None:
    found = Expression.parse(text).next_after(utc(after))

    assert found == (utc(expected) if expected else None)


CHANGING = (
    *("Europe/Amsterdam", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham"),
    # Changes at midnight, before midnight, by two hours, and for Ramadan; and no changes.
    *("Africa/Cairo", "America/Nuuk", "Antarctica/Troll", "Africa/Casablanca", "Asia/Kolkata"),
)


def due_by_brute_force(start: datetime, end: datetime, zone: ZoneInfo) -> dict[datetime, datetime]:
    """Watch the zone's clocks minute by minute: what they show when, and what they jump over."""
    minute, shown = timedelta(minutes=1), {}
    instant = start - timedelta(days=1)
    clocks = instant.astimezone(zone).replace(tzinfo=None)
    while instant < end:
        now = instant.astimezone(zone).replace(tzinfo=None)
        skipped = clocks
        while skipped < now:
            shown.setdefault(skipped, instant + (skipped - clocks))
            skipped += minute
        shown.setdefault(now, instant)
        instant, clocks = instant + minute, now + minute
    return {wall: instant for wall, instant in shown.items() if start <= instant < end}


@st.composite
def near_a_change(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone, and a time up to two days before its clocks change, or any."""
    key = draw(st.sampled_from(CHANGING))
    start = datetime(draw(st.integers(2026, 2040)), 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=n) for n in range(365)]
    changes = [
        day
        for day in days
        if day.astimezone(ZoneInfo(key)).utcoffset()
        != (day + timedelta(days=1)).astimezone(ZoneInfo(key)).utcoffset()
    ]
    day = draw(st.sampled_from(changes or days))
    return key, day - timedelta(minutes=draw(st.integers(0, 2 * 24 * 60)))


@given(
    parts(0, 59),
    parts(0, 23),
    parts(1, 7, "SUN MON TUE WED THU FRI SAT", steps=False),
    parts(1, 12),
    near_a_change(),
)
def test_times_in_a_zone_are_those_that_a_watch_of_its_clocks_finds(
    minutes: Part, hours: Part, weekdays: Part, months: Part, zone_and_start: tuple[str, datetime]
) -> None:
    key, start = zone_and_start
    end = start + timedelta(days=4)
    text = f"cron({minutes[0]} {hours[0]} ? {months[0]} {weekdays[0]} *) {key}"
    expected = {
        instant
        for wall, instant in due_by_brute_force(start, end, ZoneInfo(key)).items()
        if minutes[1](wall.minute)
        and hours[1](wall.hour)
        and weekdays[1](wall.isoweekday() % 7 + 1)
        and months[1](wall.month)
    }

    expression = Expression.parse(text)
    just_before = start - timedelta(minutes=1)
    found = list(takewhile(lambda fire: fire < end, expression.fires_after(just_before)))
    fired = list(takewhile(lambda fire: fire < end, expression.utc.fires_after(just_before)))

    assert found == sorted(expected)
    late = timedelta(seconds=59)  # nothing promises that an event's time is on the second
    assert [fire for fire in fired if expression.is_due(fire + late)] == found
    assert (
        len(str(expression.utc)) <= 256
    )  # https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html


# next_run


def test_a_schedule_that_is_never_inside_the_window_has_no_next_run() -> None:
    window = Window.parse("08:00-17:00 UTC")

    assert next_run(SUNDAYS_AT_FOUR, FORTNIGHTLY, window, utc("2026-11-23")) is None


def test_a_leap_day_is_found_years_before() -> None:
    leap_day = Expression.parse("cron(0 4 29 2 ? *)")
    always, weekly = Window.parse("00:00-24:00 UTC"), Cadence(1, date(2026, 1, 4))
    assert next_run(leap_day, weekly, always, utc("2024-03-01")) == utc("2028-02-29T04:00")


def test_the_search_ends_at_its_limit() -> None:
    window = Window.parse("00:00-24:00 UTC")
    yearly = Expression.parse("cron(0 4 1 1 ? 2050)")
    weekly = Cadence(1, date(2026, 1, 4))
    fire = utc("2050-01-01T04:00")

    assert next_run(yearly, weekly, window, fire - SEARCH_LIMIT) == fire
    assert next_run(yearly, weekly, window, fire - SEARCH_LIMIT - timedelta(seconds=1)) is None


@given(st.integers(1, 8), dates, windows(), instants, st.integers(-30, 60))
def test_the_next_run_is_the_first_firing_that_meets_every_condition(
    weeks: int, anchor: date, window: Window, after: datetime, held: int
) -> None:
    cadence = Cadence(weeks, anchor)
    expression = Expression.parse("cron(0/20 0-6,22 ? * SAT,SUN *)")
    until = after.date() + timedelta(days=held)

    run = next_run(expression, cadence, window, after, until)

    local = [
        (fire, fire.astimezone(window.zone))
        for fire in islice(expression.fires_after(after), 24 * 2 * 20)
    ]
    expected = [
        fire
        for fire, clock_there in local
        if (clock_there.date() - anchor).days % (7 * weeks) < 7
        and clock_there.date() >= until
        and window.contains(fire)
    ]
    if expected:
        assert run == expected[0]
    else:
        assert run is None or run > local[-1][0]


def test_a_hold_for_ever_ends_the_search_without_a_look_at_every_firing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dense schedule fires two million times within the limit."""
    looked_at: list[datetime] = []

    def date_of(window: Window, instant: datetime) -> date:
        looked_at.append(instant)
        return instant.date()

    monkeypatch.setattr(Window, "date_of", date_of)
    every_minute, always = Expression.parse("cron(* * * * ? *)"), Window.parse("00:00-24:00")
    for text in ("9999-12-31", "2032-01-01"):
        after = utc("2026-11-23T00:00")
        assert next_run(every_minute, FORTNIGHTLY, always, after, date.fromisoformat(text)) is None
    assert len(looked_at) < 3 * 24 * 60


# last_run


def test_a_schedule_that_has_not_been_due_has_no_last_run() -> None:
    window, now = Window.parse("00:00-07:00 UTC"), utc("2026-11-22T04:00")

    assert last_run(Expression.parse("rate(7 days)"), FORTNIGHTLY, window, now) is None
    assert last_run(Expression.parse("cron(0 4 1 1 ? *)"), FORTNIGHTLY, window, now) is None


@given(st.integers(1, 8), dates, windows(), instants)
def test_the_last_run_is_the_latest_firing_of_a_cycle_that_meets_every_condition(
    weeks: int, anchor: date, window: Window, before: datetime
) -> None:
    expression = Expression.parse("cron(0/20 0-6,22 ? * SAT,SUN *)")
    since = before - timedelta(weeks=weeks + 1)

    found = last_run(expression, Cadence(weeks, anchor), window, before)

    expected = [
        fire
        for fire in islice(expression.fires_after(since), 24 * 2 * (weeks + 2))
        if fire <= before
        and (fire.astimezone(window.zone).date() - anchor).days % (7 * weeks) < 7
        and window.contains(fire)
    ]
    assert found == (expected[-1] if expected else None)


# ever_runs


@pytest.mark.parametrize(
    ("text", "cadence", "window", "ever"),
    [
        ("cron(0 4 ? * SUN *)", FORTNIGHTLY, "00:00-07:00", True),
        ("cron(0 4 ? * SUN *)", FORTNIGHTLY, "08:00-17:00", False),
        # 04:00 UTC is never inside it in New York, and only in winter in Amsterdam.
        ("cron(0 4 ? * SUN *)", FORTNIGHTLY, "02:00-03:00 America/New_York", False),
        ("cron(0 4 ? * SUN *)", FORTNIGHTLY, "00:00-06:00 Europe/Amsterdam", True),
        ("cron(0 4 30 2 ? *)", FORTNIGHTLY, "00:00-24:00", False),
        # The years: past, to come soon, and long after the anchor.
        ("cron(0 4 ? * SUN 2025)", FORTNIGHTLY, "00:00-24:00", False),
        ("cron(0 4 ? * SUN 2027)", FORTNIGHTLY, "00:00-24:00", True),
        ("cron(0 4 ? * SUN 2040)", FORTNIGHTLY, "00:00-24:00", True),
        ("cron(0 4 ? * SUN 2027)", Cadence(2, date(1960, 1, 3)), "00:00-24:00", True),
        # The one firing lies in an off-week, or in an on-week, or is the anchor's first minute.
        ("cron(0 4 11 1 ? 2026)", FORTNIGHTLY, "00:00-24:00", False),
        ("cron(0 4 18 1 ? 2026)", FORTNIGHTLY, "00:00-24:00", True),
        ("cron(1 0 4 1 ? 2026)", FORTNIGHTLY, "00:00-24:00", True),
        ("cron(0 4 ? * SUN *)", Cadence(1, date.max), "00:00-24:00", False),
        ("cron(0 4 ? * SUN *)", Cadence(9999, date(2026, 1, 4)), "00:00-24:00", True),
        ("rate(7 days)", FORTNIGHTLY, "08:00-08:01", True),
    ],
)
def test_whether_it_ever_runs_does_not_depend_on_the_clock(
    text: str, cadence: Cadence, window: str, ever: bool
) -> None:
    assert ever_runs(Expression.parse(text), cadence, Window.parse(window)) is ever
