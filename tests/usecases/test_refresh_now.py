"""POST /refresh: what the schedule would do now, because a person asks for it."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.ledger import Note
from chalicelib.domain.results import Result
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from tests.fakes import InMemoryAws, arn
from tests.interruptions import Killed, calm, kill
from tests.stage import PIPELINE
from tests.usecases.conftest import (
    BUSY,
    KIM,
    READING,
    SCHEDULE,
    SUNDAY,
    Api,
    Arrange,
    ends,
    everything,
    hold_until,
    polls,
    present,
    refused,
    running,
    started,
)
from tests.usecases.test_promote import REFUSALS

STEPS = ("week", "window", "hold", "parameters", "snapshot", "new", "idle", "put", "start")
NOON = SUNDAY.replace(hour=12)


def now(settings: Settings, aws: InMemoryAws, actor: str = KIM) -> Result:
    request = RefreshRequest.by_person(actor, "we need it", outside_window=False)
    return refresh_now(settings, aws, request)


def verdicts(answer: Any) -> list[str]:
    assert [step["step"] for step in answer["steps"]] == list(STEPS)
    return [step["verdict"] for step in answer["steps"]]


def up_to(step: str) -> list[str]:
    """Return the verdicts if one step is refused and those after it are not reached."""
    index = STEPS.index(step)
    return ["passed"] * index + ["refused"] + ["not reached"] * (len(STEPS) - index - 1)


def test_a_refresh_promotes_latest_in_any_week_and_says_who_asked_and_why(
    ask: Api, aws: InMemoryAws
) -> None:
    aws.time = SUNDAY + timedelta(days=7)
    status, answer = ask("POST", "/refresh", {"reason": "release"})
    assert (status, answer["outcome"], answer["dry_run"]) == (200, "started", False)
    assert answer["execution_id"] == "run-2"
    assert verdicts(answer) == ["passed"] * 7 + ["done"] * 2
    assert answer["steps"][0]["detail"] == "not checked: a person asks"
    assert present(aws).note == Note("refresh", KIM, "release", present(aws).token)
    assert aws.pipelines.start(PIPELINE, str(present(aws).token)) == "run-2"


def test_outside_the_window_it_must_be_asked_for(ask: Api, aws: InMemoryAws) -> None:
    aws.time = NOON
    answer = ask("POST", "/refresh", {"outside_window": True})[1]
    assert answer["outcome"] == "started"
    assert answer["steps"][1]["detail"] == "not checked: 00:00-07:00 UTC"


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    ("arrange", "step", "outcome", "reason", "message"),
    [*REFUSALS, (running(), "idle", "failed", None, BUSY)],
)
def test_a_refusal_names_its_step_and_changes_nothing(
    ask: Api,
    aws: InMemoryAws,
    arrange: Arrange,
    step: str,
    outcome: str,
    reason: str | None,
    message: str,
    dry_run: bool,
) -> None:
    arrange(aws)
    before = everything(aws)
    aws.calls.clear()
    status, answer = ask("POST", "/refresh", {"dry_run": dry_run})
    assert everything(aws) == before
    assert set(aws.calls) <= READING
    if step == "idle" and not dry_run:
        assert (status, answer) == refused(BUSY)
        return
    assert (status, answer["outcome"], answer["reason"]) == (200, outcome, reason)
    assert ("execution_id" in answer, "secret" in str(answer)) == (False, False)
    found = next(each for each in answer["steps"] if each["verdict"] == "refused")
    assert (found["step"], found["detail"], answer["message"]) == (step, message, message)
    expected = up_to(step)
    if dry_run and step in ("window", "hold"):  # the other conditions are looked at all the same
        expected = ["refused" if each == step else "passed" for each in STEPS[:7]]
        expected += ["not reached"] * 2
    assert verdicts(answer) == expected


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(ask: Api, aws: InMemoryAws) -> None:
    before = everything(aws)
    status, answer = ask("POST", "/refresh", {"dry_run": True, "reason": "just asking"})
    assert (status, answer["outcome"], answer["dry_run"]) == (200, "started", True)
    assert verdicts(answer) == ["passed"] * 7 + ["would do"] * 2
    assert answer["databases"] == [
        {
            "name": "rds",
            "latest": arn("new"),
            "current": arn("new"),
            "previous": arn("old"),
            "created": "2026-01-03T22:00:00+00:00",
            "age_hours": 6.0,
        }
    ]
    assert "execution_id" not in answer
    assert everything(aws) == before


def test_a_dry_run_looks_at_everything_and_answers_with_the_first_refusal(
    ask: Api, aws: InMemoryAws
) -> None:
    aws.time = NOON
    hold_until("2026-01-22")(aws)
    running()(aws)
    _, answer = ask("POST", "/refresh", {"dry_run": True})
    assert (answer["outcome"], answer["reason"]) == ("skipped", "outside-window")
    assert verdicts(answer) == [
        *("passed", "refused", "refused", "passed", "passed", "passed", "refused"),
        *("not reached", "not reached"),
    ]
    aws.snapshots.all.clear()
    _, answer = ask("POST", "/refresh", {"dry_run": True, "outside_window": True})
    assert (answer["reason"], verdicts(answer)[2:6]) == (
        "on-hold",
        ["refused", "passed", "refused", "not reached"],
    )


def test_a_refresh_while_its_run_is_in_progress_starts_no_other_and_afterwards_finds_nothing_new(
    ask: Api, settings: Settings, aws: InMemoryAws
) -> None:
    now(settings, aws)
    assert ask("POST", "/refresh", {})[0] == 409
    ends(aws)
    polls(settings, aws)
    assert ask("POST", "/refresh", {"outside_window": True})[1]["reason"] == "nothing-new"
    assert started(aws) == ["run-2"]


def test_a_refresh_waits_for_a_killed_order_of_somebody_else(
    settings: Settings, aws: InMemoryAws
) -> None:
    kill(aws, "before", "start")
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    calm(aws)
    assert Api(settings, aws)("POST", "/refresh", {}) == refused(
        f"a run of acceptance-main that {SCHEDULE} ordered at 2026-01-04 04:00 UTC may be about to "
        "start; try again in some minutes"
    )
    assert promote(settings, aws, SUNDAY).execution_id == "run-2"


def test_all_databases_are_refreshed_by_one_run_and_none_is_named(
    two: Settings, documents: InMemoryAws
) -> None:
    ask = Api(two, documents)
    assert ask("POST", "/refresh", {"database": "rds"})[0] == 400
    assert ask("POST", "/refresh?database=rds", {})[0] == 400
    result = now(two, documents)
    assert [each.current for each in result.databases] == [arn("new"), arn("docs-new")]
    assert started(documents) == ["run-3"]
