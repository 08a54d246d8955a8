"""PUT and DELETE /hold: scheduled promotion stands still until a day."""

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.deployment import Position
from chalicelib.domain.hold import Hold
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.promote import promote
from tests.fakes import STACK, InMemoryAws, arn
from tests.interruptions import refuse
from tests.stage import PIPELINE, PIPELINE_NAME, STAGE
from tests.usecases.conftest import (
    HOLD,
    KIM,
    SUNDAY,
    WITH_STACK,
    Api,
    Arrange,
    everything,
    holding,
    refused,
    running,
)

NEXT = "2026-01-18T04:00:00+00:00"


# --- PUT ------------------------------------------------------------------------------------------


def test_a_hold_is_written_with_its_reason_and_who_asked(ask: Api, aws: InMemoryAws) -> None:
    reason = 'Größe "数据" \\ مارس <b>🚀</b>'
    hold = {"until": "2026-01-22", "reason": reason, "by": KIM}
    assert ask("PUT", "/hold", {"until": "2026-01-22", "reason": reason}) == (
        200,
        {"hold": hold, "next_restore": "2026-02-01T04:00:00+00:00", "under_way": None},
    )
    (version,) = aws.parameters.kept[HOLD]
    assert (json.loads(version.value), version.note) == (hold, Note("hold", KIM, reason))
    assert ask("GET", "/status")[1]["hold"] == hold


@pytest.mark.parametrize(
    ("arrange", "under_way"),
    [
        (running(), None),
        (
            lambda aws: promote(Settings.from_environment(WITH_STACK), aws, SUNDAY),
            (
                "run run-2 is in progress since 2026-01-04 04:00 UTC, waiting for an approval in stage "
                f"Approve: it restores rds from {arn('new')}"
            ),
        ),
        (
            lambda aws: refuse(aws, "runs"),
            "whether a run is in progress is unknown: runs of it failed: AccessDeniedException: no",
        ),
        (
            holding(PIPELINE_NAME, "dummyvalue"),
            (
                f"whether a run is in progress is unknown: {PIPELINE_NAME} holds 'dummyvalue', not a "
                "pipeline's name"
            ),
        ),
    ],
    ids=["restores nothing", "restores", "denied", "unnamed"],
)
def test_a_hold_answers_which_run_under_way_restores_all_the_same(
    ask: Api, aws: InMemoryAws, arrange: Arrange, under_way: str | None
) -> None:
    aws.pipelines.waiting["run-2"] = Position("Approve", waits_for="an approval")
    arrange(aws)
    assert ask("PUT", "/hold", {"until": "2026-01-22"})[1]["under_way"] == under_way
    assert ask("DELETE", "/hold")[1]["under_way"] == under_way


def test_until_a_day_beyond_every_schedule_no_restore_is_foreseen_however_dense_it_is(
    aws: InMemoryAws,
) -> None:
    for schedule in ("cron(0 4 ? * SUN *)", "cron(* * * * ? *)"):
        settings = Settings.from_environment(WITH_STACK | {"RESTORE_SCHEDULE": schedule})
        status, answer = Api(settings, aws)("PUT", "/hold", {"until": "9999-12-31"})
        assert (status, answer["next_restore"]) == (200, None)


@pytest.mark.parametrize("day", ["2026-01-04", "2026-01-03", "0001-01-01"])
def test_a_day_that_has_come_is_refused_and_nothing_is_written(
    ask: Api, aws: InMemoryAws, day: str
) -> None:
    before = everything(aws)
    assert ask("PUT", "/hold", {"until": day}) == refused(
        f"until is {day}, which holds nothing: today is 2026-01-04; name a later day"
    )
    assert everything(aws) == before


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
    stage = WITH_STACK | {"MAINTENANCE_WINDOW": f"00:00-24:00 {zone}"}
    aws.time = datetime.fromisoformat(now)
    ask = Api(Settings.from_environment(stage), aws)
    assert ask("PUT", "/hold", {"until": today})[0] == 409
    tomorrow = datetime.fromisoformat(today).date() + timedelta(days=1)
    assert ask("PUT", "/hold", {"until": str(tomorrow)})[0] == 200
    assert ask("GET", "/status")[1]["hold"]["until"] == str(tomorrow)


# --- DELETE ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        '{"until": "2026-02-01", "reason": "", "by": "x"}',
        '{"until": "2025-02-01", "reason": "", "by": "x"}',
        "until thursday",
    ],
)
def test_a_hold_is_lifted_once(ask: Api, aws: InMemoryAws, value: str) -> None:
    aws.parameters.put_by_hand(HOLD, value)
    for _ in range(2):
        assert ask("DELETE", "/hold") == (
            200,
            {"hold": None, "next_restore": NEXT, "under_way": None},
        )
    version = aws.parameters.kept[HOLD][1]
    assert (version.value, version.note) == ("dummyvalue", Note("resume", KIM, ""))
    assert len(aws.parameters.kept[HOLD]) == 2


# --- both -----------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize(
    ("method", "body"), [("PUT", {"until": "2026-01-22"}), ("DELETE", None)]
)


@BOTH
def test_a_stage_without_the_parameter_is_told_which_setting_to_add(
    aws: InMemoryAws, method: str, body: Any
) -> None:
    settings = Settings.from_environment(STAGE | {"RDS_STACK_NAME": STACK})
    before = everything(aws)
    assert Api(settings, aws)(method, "/hold", body) == refused(
        "this stage has no parameter for a hold: set SSM_REFRESH_HOLD_NAME, and configure and deploy "
        "the stage again"
    )
    assert everything(aws) == before


def test_the_longest_reason_fits_the_parameter(ask: Api, aws: InMemoryAws) -> None:
    """Parameter Store takes 4 KB in a value."""
    assert ask("PUT", "/hold", {"until": "2026-01-22", "reason": "🚀" * 256})[0] == 200
    assert len(aws.values()[HOLD].encode()) <= 4_096
    assert Hold.read(aws.values()[HOLD]).reason == "🚀" * 256  # type: ignore[union-attr]
    assert aws.pipelines.pipelines[PIPELINE][-1].execution_id == "run-1"
