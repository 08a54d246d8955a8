"""PUT and DELETE /hold: scheduled promotion stands still until a day."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.domain.hold import Hold
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.promote import promote
from tests.fakes import InMemoryAws, snapshot
from tests.interruptions import lose, refuse
from tests.stage import STAGE
from tests.usecases.conftest import (
    BY_HAND,
    HOLD,
    KIM,
    READING,
    SUNDAY,
    Api,
    at,
    everything,
    hold_until,
)

NEXT = "2026-01-18T04:00:00+00:00"


def told(status: int, answer: Any) -> tuple[int, str, str]:
    return status, answer["Code"], answer["Message"]


# --- PUT ------------------------------------------------------------------------------------------


def test_a_hold_is_written_with_its_reason_and_who_asked(ask: Api, aws: InMemoryAws) -> None:
    assert ask("PUT", "/hold", {"until": "2026-01-22", "reason": "release test"}) == (
        200,
        {
            "hold": {"until": "2026-01-22", "reason": "release test", "by": KIM},
            "next_restore": "2026-02-01T04:00:00+00:00",
        },
    )
    (entry,) = aws.parameters.kept[HOLD]
    assert json.loads(entry.value) == {"until": "2026-01-22", "reason": "release test", "by": KIM}
    assert entry.note == Note("hold", KIM, "release test")
    assert ask("GET", "/status")[1]["hold"] == json.loads(entry.value)


def test_a_hold_needs_no_reason(ask: Api, aws: InMemoryAws) -> None:
    _, answer = ask("PUT", "/hold", {"until": "2026-01-22"})
    assert answer["hold"] == {"until": "2026-01-22", "reason": "", "by": KIM}


def test_a_hold_stops_the_schedule_until_its_day(
    ask: Api, holdable: Settings, aws: InMemoryAws
) -> None:
    ask("PUT", "/hold", {"until": "2026-01-18", "reason": "release test"})
    aws.snapshots.all = [snapshot("new", created=SUNDAY + timedelta(days=13))]
    assert promote(holdable, aws, SUNDAY).reason == "on-hold"
    aws.time = SUNDAY + timedelta(days=14)
    assert promote(holdable, aws, aws.time).outcome == "started"


@pytest.mark.parametrize("deploy", [True, False])
def test_a_hold_hinders_no_pin(ask: Api, aws: InMemoryAws, deploy: bool) -> None:
    ask("PUT", "/hold", {"until": "2026-01-22"})
    assert ask("PUT", "/snapshots/current", {"snapshot": "new", "deploy": deploy})[0] == 200


def test_a_hold_is_replaced_by_a_later_and_by_a_shorter_one(ask: Api, aws: InMemoryAws) -> None:
    for day in ("2026-01-22", "2026-02-22", "2026-01-05"):
        assert ask("PUT", "/hold", {"until": day})[0] == 200
    assert [Hold.read(entry.value) for entry in aws.parameters.kept[HOLD]] == [
        Hold(datetime.fromisoformat(day).date(), "", KIM)
        for day in ("2026-01-22", "2026-02-22", "2026-01-05")
    ]


@pytest.mark.parametrize("value", ["until thursday", "{}", "dummyvalue"])
def test_a_hold_overwrites_what_cannot_be_read(ask: Api, aws: InMemoryAws, value: str) -> None:
    aws.parameters.put(HOLD, value, BY_HAND)
    assert ask("PUT", "/hold", {"until": "2026-01-22"})[0] == 200
    assert ask("GET", "/status")[1]["hold"] == {"until": "2026-01-22", "reason": "", "by": KIM}


def test_until_a_day_beyond_every_schedule_no_restore_is_foreseen(
    ask: Api, aws: InMemoryAws
) -> None:
    status, answer = ask("PUT", "/hold", {"until": "9999-12-31"})
    assert (status, answer["next_restore"]) == (200, None)


@pytest.mark.parametrize("day", ["2026-01-04", "2026-01-03", "1999-12-31", "0001-01-01"])
def test_a_day_that_has_come_is_refused_and_nothing_is_written(
    ask: Api, aws: InMemoryAws, day: str
) -> None:
    before = everything(aws)
    assert told(*ask("PUT", "/hold", {"until": day})) == (
        409,
        "ConflictError",
        f"until is {day}, which holds nothing: today is 2026-01-04; name a later day",
    )
    assert everything(aws) == before


@pytest.mark.parametrize(
    "day",
    [
        "2026-02-30",
        "2026-13-01",
        "2026-00-10",
        "0000-01-01",
        "2026-W01-7",
        "2026-004",
        "20260122",
        "2026-1-22",
        "2026-01-22T00:00:00Z",
        "tomorrow",
        "",
        " 2026-01-22",
        "2026-01-22\n",
        "２０２６-01-22",
        "-2026-01-22",
    ],
)
def test_what_is_no_date_is_malformed(ask: Api, aws: InMemoryAws, day: str) -> None:
    assert told(*ask("PUT", "/hold", {"until": day})) == (
        400,
        "BadRequestError",
        f"until is {json.dumps(day)}: a date such as 2026-01-22 is wanted",
    )
    assert aws.calls == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "until is missing: a date such as 2026-01-22 is wanted"),
        ({"until": None}, "until is null: a string is wanted"),
        ({"until": 20260122}, "until is 20260122: a string is wanted"),
        ({"until": ["2026-01-22"]}, "until is an array: a string is wanted"),
        (
            {"until": "2026-01-22", "by": "the boss"},
            'unknown field "by"; known: until, reason',
        ),
        (
            {"until": "2026-01-22", "database": "rds"},
            'unknown field "database"; known: until, reason',
        ),
    ],
)
def test_a_malformed_hold_is_named(
    ask: Api, aws: InMemoryAws, body: dict[str, Any], message: str
) -> None:
    assert told(*ask("PUT", "/hold", body)) == (400, "BadRequestError", message)
    assert aws.calls == []


@pytest.mark.parametrize(
    ("zone", "now", "today"),
    [
        ("Pacific/Auckland", "2026-01-04T12:00:00+00:00", "2026-01-05"),
        ("America/Los_Angeles", "2026-01-05T07:00:00+00:00", "2026-01-04"),
        ("UTC", "2026-01-04T23:59:59+00:00", "2026-01-04"),
    ],
)
def test_today_is_that_of_the_windows_zone(
    aws: InMemoryAws, zone: str, now: str, today: str
) -> None:
    settings = Settings.from_environment(
        STAGE | {"MAINTENANCE_WINDOW": f"00:00-24:00 {zone}", "SSM_REFRESH_HOLD_NAME": HOLD}
    )
    aws.time = datetime.fromisoformat(now)
    ask = Api(settings, aws)
    assert ask("PUT", "/hold", {"until": today})[0] == 409
    tomorrow = datetime.fromisoformat(today).date() + timedelta(days=1)
    assert ask("PUT", "/hold", {"until": str(tomorrow)})[0] == 200
    assert ask("GET", "/status")[1]["hold"]["until"] == str(tomorrow)


def test_until_counts_in_the_windows_zone(aws: InMemoryAws) -> None:
    """At 23:30 UTC on Saturday the 17th it is the 18th in Amsterdam, and the hold is over."""
    settings = Settings.from_environment(
        STAGE
        | {"MAINTENANCE_WINDOW": "00:00-07:00 Europe/Amsterdam", "SSM_REFRESH_HOLD_NAME": HOLD}
        | {"RESTORE_SCHEDULE": "cron(30 23 ? * SAT *)"}
    )
    _, answer = Api(settings, aws)("PUT", "/hold", {"until": "2026-01-18"})
    assert answer["next_restore"] == "2026-01-17T23:30:00+00:00"


# --- DELETE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", ["2026-02-01", "2025-02-01"])
def test_a_hold_is_lifted(ask: Api, aws: InMemoryAws, until: str) -> None:
    hold_until(until)(aws)
    assert ask("DELETE", "/hold") == (200, {"hold": None, "next_restore": NEXT})
    assert aws.parameters.kept[HOLD][-1].value == "dummyvalue"
    assert aws.parameters.kept[HOLD][-1].note == Note("resume", KIM, "")
    assert ask("GET", "/status")[1]["hold"] is None


def test_a_hold_that_cannot_be_read_is_lifted_too(ask: Api, aws: InMemoryAws) -> None:
    aws.parameters.put(HOLD, "until thursday", BY_HAND)
    assert ask("DELETE", "/hold")[0] == 200
    assert aws.values()[HOLD] == "dummyvalue"


@pytest.mark.parametrize("value", [None, "dummyvalue"])
def test_without_a_hold_nothing_is_written(ask: Api, aws: InMemoryAws, value: str | None) -> None:
    if value:
        aws.parameters.put(HOLD, value, BY_HAND)
    before = everything(aws)
    assert ask("DELETE", "/hold") == (200, {"hold": None, "next_restore": NEXT})
    assert everything(aws) == before


def test_lifting_twice_writes_once(ask: Api, aws: InMemoryAws) -> None:
    hold_until("2026-02-01")(aws)
    ask("DELETE", "/hold")
    ask("DELETE", "/hold")
    assert len(aws.parameters.kept[HOLD]) == 2


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"until": "2026-01-22"}', 'unknown field "until"; known: none'),
        (b'{"reason": "go on"}', 'unknown field "reason"; known: none'),
        (b"[]", "the body is not a JSON object"),
        (b"now", "the body is not JSON"),
        (b" ", "the body is not JSON"),
    ],
)
def test_a_body_that_asks_for_more_lifts_nothing(
    ask: Api, aws: InMemoryAws, raw: bytes, message: str
) -> None:
    hold_until("2026-02-01")(aws)
    before = everything(aws)
    assert told(*ask.raw("DELETE", "/hold", raw)) == (400, "BadRequestError", message)
    assert everything(aws) == before


# --- what hinders both ----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "body"), [("PUT", {"until": "2026-01-22"}), ("DELETE", None)])
def test_a_stage_without_the_parameter_is_told_which_setting_to_add(
    settings: Settings, aws: InMemoryAws, method: str, body: Any
) -> None:
    before = everything(aws)
    assert told(*Api(settings, aws)(method, "/hold", body)) == (
        409,
        "ConflictError",
        (
            "this stage has no parameter for a hold: set SSM_REFRESH_HOLD_NAME to the name of one, "
            "let the functions' policies read and write it, and deploy"
        ),
    )
    assert everything(aws) == before


@pytest.mark.parametrize("operation", ["get", "put"])
@pytest.mark.parametrize(("method", "body"), [("PUT", {"until": "2026-01-22"}), ("DELETE", None)])
def test_what_aws_did_not_do_is_told(
    ask: Api, aws: InMemoryAws, method: str, body: Any, operation: str
) -> None:
    hold_until("2026-02-01")(aws)
    before = everything(aws)
    refuse(aws, operation)
    if (method, operation) == ("PUT", "get"):
        assert ask(method, "/hold", body)[0] == 200  # which reads nothing
        return
    assert told(*ask(method, "/hold", body)) == (
        500,
        "ChaliceViewError",
        f"{operation} of it failed: AccessDeniedException: no",
    )
    assert everything(aws) == before


def test_a_hold_whose_answer_was_lost_can_be_asked_for_again(ask: Api, aws: InMemoryAws) -> None:
    lose(aws, "after", "put")
    assert ask("PUT", "/hold", {"until": "2026-01-22"})[0] == 500
    aws.interrupt = lambda when, operation: None
    assert ask("PUT", "/hold", {"until": "2026-01-22"})[0] == 200
    assert Hold.read(aws.values()[HOLD]) == Hold(datetime(2026, 1, 22, tzinfo=UTC).date(), "", KIM)


# --- where it is shown ----------------------------------------------------------------------------


def test_an_expired_hold_is_shown_nowhere(ask: Api, aws: InMemoryAws) -> None:
    hold_until("2026-01-04")(aws)
    _, status = ask("GET", "/status")
    assert (status["hold"], status["schedule"]["next_restore"], status["problems"]) == (
        None,
        NEXT,
        [],
    )
    _, answer = ask("POST", "/refresh", {"dry_run": True})
    assert answer["steps"][2] == {"step": "hold", "verdict": "passed", "detail": None}


def test_a_hold_expires_by_itself_at_midnight(ask: Api, aws: InMemoryAws) -> None:
    ask("PUT", "/hold", {"until": "2026-01-05"})
    at(datetime(2026, 1, 4, 23, 59, 59, tzinfo=UTC))(aws)
    assert ask("GET", "/status")[1]["hold"] is not None
    at(datetime(2026, 1, 5, tzinfo=UTC))(aws)
    assert ask("GET", "/status")[1]["hold"] is None


def test_a_dry_run_tells_of_the_hold_and_by_whom(ask: Api, aws: InMemoryAws) -> None:
    ask("PUT", "/hold", {"until": "2026-01-22", "reason": "release test"})
    aws.calls.clear()
    _, answer = ask("POST", "/refresh", {"dry_run": True})
    assert answer["reason"] == "on-hold"
    assert answer["message"] == f"on hold until 2026-01-22 by {KIM}: release test"
    assert set(aws.calls) <= READING


def test_a_reason_in_any_script_comes_back_as_written(ask: Api, aws: InMemoryAws) -> None:
    reason = 'Größe "数据" \\ مارس <b>🚀</b>'
    ask("PUT", "/hold", {"until": "2026-01-22", "reason": reason})
    assert ask("GET", "/status")[1]["hold"]["reason"] == reason


def test_the_longest_reason_fits_the_parameter(ask: Api, aws: InMemoryAws) -> None:
    """Parameter Store takes 4 KB in a value, and 1,024 characters in a Description."""
    assert ask("PUT", "/hold", {"until": "2026-01-22", "reason": "🚀" * 256})[0] == 200
    assert len(aws.values()[HOLD].encode()) <= 4_096


def test_a_hold_that_aws_refuses_is_no_hold(holdable: Settings, aws: InMemoryAws) -> None:
    refuse(aws, "put")
    assert Api(holdable, aws)("PUT", "/hold", {"until": "2026-01-22"})[0] == 500
    with pytest.raises(AwsError):
        promote(holdable, aws, SUNDAY)  # which comes as far as its own put
