"""PUT and DELETE /hold: scheduled promotion stands still until a day."""

import json

import pytest

from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from tests.stage import PIPELINE_NAME, STAGE
from tests.usecases.names import HOLD, IN_PROGRESS, KIM, NEW, SUNDAY, WAITING
from tests.usecases.night import Night, documented, refused
from tests.usecases.states import Arrange, denied, in_turn, waits_for_approval, without

UNTIL = {"until": "2026-01-22"}
RESTORING = f"{WAITING}: it restores rds from {NEW}"
MAY = ": if it has yet to read current, it restores this snapshot"
UNKNOWN = "cannot determine whether a run is in progress: "


def test_a_hold_is_written_with_its_reason_and_who_asked(night: Night) -> None:
    answer = documented("hold")
    hold, reason = answer["hold"], answer["hold"]["reason"]
    assert night.ask("PUT", "/hold", UNTIL | {"reason": reason}) == (200, answer)
    (version,) = night.aws.parameters.kept[HOLD]
    assert (json.loads(version.value), version.note) == (hold, Note("hold", KIM, reason))
    assert night.ask("PUT", "/hold", {"until": "2026-01-06"})[1]["replaced"] == hold
    assert (
        night.ask("PUT", "/hold", UNTIL | {"reason": reason})[1]["replaced"]["until"]
        == "2026-01-06"
    )
    found = night.status()
    assert (found["hold"], found["schedule"]["next_restore"]) == (hold, answer["next_restore"])


@pytest.mark.parametrize(
    ("arrange", "held", "pinned"),
    [
        (Night.push, None, f"{IN_PROGRESS}{MAY}"),
        (in_turn(waits_for_approval, Night.promote), RESTORING, f"{WAITING}{MAY}"),
        (denied("runs"), *[f"{UNKNOWN}runs of it failed: AccessDeniedException: no"] * 2),
        (without(PIPELINE_NAME), *[f"{UNKNOWN}parameter not found: {PIPELINE_NAME}"] * 2),
    ],
    ids=["a push", "a promotion", "denied", "unnamed"],
)
def test_a_run_under_way_is_named_if_it_restores_despite_a_hold_and_always_beside_a_pin(
    night: Night, arrange: Arrange, held: str | None, pinned: str
) -> None:
    arrange(night)
    assert night.ask("PUT", "/hold", UNTIL)[1]["under_way"] == held
    assert night.ask("DELETE", "/hold")[1]["under_way"] == held
    assert night.ask("PUT", "/snapshots/current", {"snapshot": "new"})[1]["under_way"] == pinned


def test_a_hold_is_set_although_nothing_can_be_read(night: Night) -> None:
    denied("get")(night)
    assert night.ask("PUT", "/hold", UNTIL)[1]["replaced"] is None
    assert HOLD in night.values


def test_a_day_that_has_come_in_the_windows_zone_is_refused(night: Night) -> None:
    """In Auckland the fifth has begun."""
    night.configure(MAINTENANCE_WINDOW="00:00-24:00 Pacific/Auckland")
    night.aws.time = SUNDAY.replace(hour=12)
    assert night.ask("PUT", "/hold", {"until": "2026-01-05"}) == refused(
        "until is 2026-01-05, which is not in the future: today is 2026-01-05; name a later day"
    )
    assert night.ask("PUT", "/hold", {"until": "2026-01-06"})[0] == 200
    assert night.status()["hold"]["until"] == "2026-01-06"


def test_a_hold_is_lifted_once_and_where_there_is_none_nothing_is_written(night: Night) -> None:
    assert night.ask("DELETE", "/hold") == (200, documented("resume"))
    assert HOLD not in night.values
    night.set(HOLD, "until thursday")
    for _ in range(2):
        assert night.ask("DELETE", "/hold") == (200, documented("resume"))
    _, lifted = night.aws.parameters.kept[HOLD]
    assert (lifted.value, lifted.note) == ("dummyvalue", Note("resume", KIM, ""))


def test_a_stage_without_the_parameter_learns_which_setting_to_add(night: Night) -> None:
    night.settings = Settings.from_environment(STAGE)
    expected = refused(
        "this stage has no parameter for a hold: set SSM_REFRESH_HOLD_NAME, and configure and deploy "
        "the stage again"
    )
    assert night.ask("PUT", "/hold", UNTIL) == night.ask("DELETE", "/hold") == expected
