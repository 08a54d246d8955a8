"""db-follow-pipeline: a successful run proves its version good, a failed one is taken back."""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError, VersionLimitError
from chalicelib.domain.ledger import Note, Run
from chalicelib.domain.results import Result
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.follow import Ended, follow
from chalicelib.usecases.promote import promote
from tests.fakes import InMemoryAws, arn, snapshot
from tests.interruptions import Killed, kill
from tests.stage import CURRENT, LATEST, PIPELINE, PIPELINE_NAME, TWO
from tests.usecases.conftest import SUNDAY

STATES = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Stopped": "STOPPED"} | {
    "Cancelled": "CANCELED",
    "Superseded": "SUPERSEDED",
}


def good_version(aws: InMemoryAws) -> int | None:
    return next((entry.version for entry in aws.parameters.kept[CURRENT] if entry.good), None)


def subjects(aws: InMemoryAws) -> list[str]:
    return [notice.subject for notice in aws.notifier.sent]


def ends(aws: InMemoryAws, status: str, execution_id: str | None = None) -> Ended:
    """Half an hour later the run ends so; the event that tells it."""
    aws.time += timedelta(minutes=30)
    runs = aws.pipelines.pipelines[PIPELINE]
    name = execution_id or runs[-1].execution_id
    aws.pipelines.pipelines[PIPELINE] = [
        run._replace(status=status, updated=aws.time) if run.execution_id == name else run
        for run in runs
    ]
    return Ended(PIPELINE, name, STATES[status])


@pytest.fixture
def promoted(settings: Settings, aws: InMemoryAws) -> InMemoryAws:
    """*current* was proven good before; tonight's promotion has started its run."""
    aws.parameters.mark_good(CURRENT, 1)
    assert promote(settings, aws, SUNDAY).outcome == "started"
    aws.calls.clear()
    aws.notifier.sent.clear()
    return aws


# --- success --------------------------------------------------------------------------------------


def test_a_successful_run_proves_the_version_good_and_people_hear(
    settings: Settings, promoted: InMemoryAws
) -> None:
    answer = follow(settings, promoted, ends(promoted, "Succeeded"))
    assert answer.to_json() == {
        "outcome": "succeeded",
        "reason": None,
        "message": "run run-2 of pipeline acceptance-main succeeded after 30.0 minutes",
        "databases": [
            {
                "name": "rds",
                "current": arn("new"),
                "version": 2,
                "by": "the schedule of 2026-01-04T04:00:00+00:00",
                "why": "newest eligible share",
                "age_hours": 6.5,
                "duration_minutes": 30.0,
                "since": arn("new"),
            }
        ],
        "execution_id": "run-2",
    }
    assert good_version(promoted) == 2
    assert subjects(promoted) == ["aurora-refresh: refreshed in 30 min, data 6 h old (rds)"]


def test_following_makes_few_calls(settings: Settings, promoted: InMemoryAws) -> None:
    follow(settings, promoted, ends(promoted, "Succeeded"))
    assert promoted.calls == ["get", "runs", "history", "find", "_publish", "mark_good"]


def test_the_event_delivered_again_changes_nothing_and_tells_nobody(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ended = ends(promoted, "Succeeded")
    follow(settings, promoted, ended)
    before = promoted.parameters.kept[CURRENT]
    answer = follow(settings, promoted, ended)
    assert (answer.outcome, answer.databases) == ("succeeded", ())
    assert promoted.parameters.kept[CURRENT] == before
    assert len(promoted.notifier.sent) == 1


def test_data_whose_snapshot_is_gone_has_no_age(settings: Settings, promoted: InMemoryAws) -> None:
    promoted.snapshots.all = []
    answer = follow(settings, promoted, ends(promoted, "Succeeded"))
    assert "age_hours" not in answer.databases[0]
    assert subjects(promoted) == ["aurora-refresh: refreshed in 30 min (rds)"]


def test_an_older_run_that_is_heard_of_later_does_not_move_good_back(
    settings: Settings, promoted: InMemoryAws
) -> None:
    follow(settings, promoted, ends(promoted, "Succeeded"))
    promoted.notifier.sent.clear()
    follow(settings, promoted, Ended(PIPELINE, "run-0", "SUCCEEDED"))
    assert good_version(promoted) == 2
    assert promoted.notifier.sent == []


def test_an_ordinary_deployment_of_what_is_good_is_no_news(
    settings: Settings, promoted: InMemoryAws
) -> None:
    """A revert holds what was good: its version becomes good, and nobody is told."""
    follow(settings, promoted, ends(promoted, "Failed"))
    promoted.notifier.sent.clear()
    promoted.time += timedelta(hours=8)
    promoted.pipelines.start(PIPELINE, "noon")
    follow(settings, promoted, ends(promoted, "Succeeded"))
    assert good_version(promoted) == 3
    assert promoted.notifier.sent == []


def test_what_was_there_before_this_application_becomes_good_quietly(
    settings: Settings, aws: InMemoryAws
) -> None:
    kept = aws.parameters.kept[CURRENT]
    kept[0] = kept[0]._replace(note=None)
    aws.pipelines.start(PIPELINE, "noon")
    follow(settings, aws, ends(aws, "Succeeded"))
    assert good_version(aws) == 1
    assert aws.notifier.sent == []


def test_a_value_set_by_somebody_else_is_news(settings: Settings, promoted: InMemoryAws) -> None:
    kept = promoted.parameters.kept[CURRENT]
    kept.append(kept[-1]._replace(version=3, value="arn:by-hand", note=None))
    answer = follow(settings, promoted, ends(promoted, "Succeeded"))
    assert (answer.databases[0]["by"], answer.databases[0]["why"]) == ("unknown", "unknown")
    assert len(promoted.notifier.sent) == 1


def test_a_run_that_carried_nothing_of_the_ledger_proves_nothing(
    settings: Settings, promoted: InMemoryAws
) -> None:
    long_ago = SUNDAY - timedelta(days=9)
    promoted.pipelines.pipelines[PIPELINE].insert(0, Run("r", "Succeeded", long_ago, long_ago))
    follow(settings, promoted, Ended(PIPELINE, "r", "SUCCEEDED"))
    assert good_version(promoted) == 1


# --- failure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["Failed", "Stopped", "Cancelled"])
def test_a_run_that_did_not_succeed_is_taken_back_and_people_hear(
    settings: Settings, promoted: InMemoryAws, status: str
) -> None:
    answer = follow(settings, promoted, ends(promoted, status))
    assert answer.to_json() == {
        "outcome": "failed",
        "reason": "run-failed",
        "message": f"run run-2 of pipeline acceptance-main ended as {status}",
        "databases": [
            {
                "name": "rds",
                "previous": arn("new"),
                "current": arn("old"),
                "by": "the schedule of 2026-01-04T04:00:00+00:00",
                "why": "newest eligible share",
            }
        ],
        "execution_id": "run-2",
    }
    present = promoted.parameters.kept[CURRENT][-1]
    assert (present.version, present.value) == (3, arn("old"))
    assert present.note == Note(
        "revert",
        "db-follow-pipeline",
        f"run run-2 of pipeline acceptance-main ended as {status}",
    )
    assert subjects(promoted) == [
        "aurora-refresh: REFRESH FAILED: pipeline run failed, taken back (rds)"
    ]


def test_a_failure_delivered_again_changes_nothing_and_is_told_again(
    settings: Settings, promoted: InMemoryAws
) -> None:
    """It cannot be known whether the first delivery lived long enough to tell."""
    ended = ends(promoted, "Failed")
    first = follow(settings, promoted, ended)
    assert follow(settings, promoted, ended) == first
    assert len(promoted.parameters.kept[CURRENT]) == 3
    assert [notice.subject for notice in promoted.notifier.sent] == 2 * [
        "aurora-refresh: REFRESH FAILED: pipeline run failed, taken back (rds)"
    ]


@pytest.mark.parametrize("status", ["Succeeded", "Failed"])
def test_a_follow_up_that_aws_cuts_short_is_told_once_and_raised(
    settings: Settings, promoted: InMemoryAws, status: str
) -> None:
    def fail(when: str, operation: str) -> None:
        if operation in ("put", "mark_good"):
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    ended = ends(promoted, status)
    promoted.interrupt = fail
    with pytest.raises(AwsError):
        follow(settings, promoted, ended)
    assert len(promoted.notifier.sent) == 1


def test_without_good_the_value_before_comes_back(settings: Settings, aws: InMemoryAws) -> None:
    promote(settings, aws, SUNDAY)
    follow(settings, aws, ends(aws, "Failed"))
    assert aws.values()[CURRENT] == arn("old")


def test_without_anything_before_current_stays_and_people_hear(
    settings: Settings, aws: InMemoryAws
) -> None:
    del aws.parameters.kept[CURRENT]
    promote(settings, aws, SUNDAY)
    follow(settings, aws, ends(aws, "Failed"))
    assert aws.values()[CURRENT] == arn("new")
    assert subjects(aws) == [
        "aurora-refresh: REFRESH FAILED: pipeline run failed, current stays (rds)"
    ]


def test_a_pin_that_waits_for_a_run_stays_and_people_hear(
    settings: Settings, promoted: InMemoryAws
) -> None:
    promoted.pipelines.finish(PIPELINE)
    promoted.time += timedelta(hours=8)
    promoted.parameters.put(CURRENT, arn("pinned"), Note("pin", "kim", "try it"))
    promoted.pipelines.start(PIPELINE, "noon")
    follow(settings, promoted, ends(promoted, "Failed"))
    assert promoted.values()[CURRENT] == arn("pinned")
    assert subjects(promoted) == [
        "aurora-refresh: REFRESH FAILED: pipeline run failed, current stays (rds)"
    ]


def test_a_pin_with_deploy_is_taken_back(settings: Settings, promoted: InMemoryAws) -> None:
    """To what the promotion's run has proven, although the event of that is still to come."""
    promoted.pipelines.finish(PIPELINE)
    promoted.time += timedelta(hours=8)
    promoted.parameters.put(CURRENT, arn("pinned"), Note("pin", "kim", "try it", "t"))
    promoted.pipelines.start(PIPELINE, "t")
    follow(settings, promoted, ends(promoted, "Failed"))
    assert promoted.values()[CURRENT] == arn("new")


def test_an_ordinary_deployment_that_failed_is_not_our_news(
    settings: Settings, promoted: InMemoryAws
) -> None:
    follow(settings, promoted, ends(promoted, "Succeeded"))
    promoted.notifier.sent.clear()
    promoted.time += timedelta(hours=8)
    promoted.pipelines.start(PIPELINE, "noon")
    answer = follow(settings, promoted, ends(promoted, "Failed"))
    assert (answer.outcome, answer.reason) == ("failed", None)
    assert promoted.values()[CURRENT] == arn("new")
    assert promoted.notifier.sent == []


def test_an_ordinary_deployment_that_fails_on_what_was_put_back_is_not_our_news(
    settings: Settings, promoted: InMemoryAws
) -> None:
    follow(settings, promoted, ends(promoted, "Failed"))
    promoted.notifier.sent.clear()
    promoted.time += timedelta(hours=8)
    promoted.pipelines.start(PIPELINE, "noon")
    follow(settings, promoted, ends(promoted, "Failed"))
    assert promoted.values()[CURRENT] == arn("old")
    assert promoted.notifier.sent == []


def test_a_failed_run_whose_version_was_moved_on_since_takes_nothing_back(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ended = ends(promoted, "Failed")
    promoted.parameters.put(CURRENT, arn("pinned"), Note("pin", "kim", "try it"))
    follow(settings, promoted, ended)
    assert promoted.values()[CURRENT] == arn("pinned")


def test_what_a_run_has_proven_is_not_taken_back_before_its_event_has_come(
    settings: Settings, promoted: InMemoryAws
) -> None:
    """Events come out of order: the runs' own record says that it succeeded."""
    succeeded = ends(promoted, "Succeeded")
    promoted.time += timedelta(hours=8)
    promoted.pipelines.start(PIPELINE, "noon")
    follow(settings, promoted, ends(promoted, "Failed"))
    assert promoted.values()[CURRENT] == arn("new")
    follow(settings, promoted, succeeded)
    assert good_version(promoted) == 2


def test_an_age_that_cannot_be_looked_up_fails_nothing(
    settings: Settings, promoted: InMemoryAws
) -> None:
    def fail(when: str, operation: str) -> None:
        if operation == "find":
            raise AwsError(operation, "it", "ThrottlingException", "Rate exceeded")

    ended = ends(promoted, "Succeeded")
    promoted.interrupt = fail
    assert "age_hours" not in follow(settings, promoted, ended).databases[0]
    assert good_version(promoted) == 2


def test_a_revert_that_was_killed_before_it_told_is_told_even_after_a_pin(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ended = ends(promoted, "Failed")
    kill(promoted, "before", "_publish")
    with pytest.raises(Killed):
        follow(settings, promoted, ended)
    promoted.interrupt = lambda when, operation: None
    promoted.parameters.put(CURRENT, arn("pinned"), Note("pin", "kim", "now"))
    follow(settings, promoted, ended)
    assert promoted.values()[CURRENT] == arn("pinned")
    (notice,) = promoted.notifier.sent
    assert f"went back to {arn('old')} from {arn('new')}" in notice.body


def test_a_success_whose_value_was_moved_since_says_so(
    settings: Settings, promoted: InMemoryAws
) -> None:
    """A failed run that is resumed and succeeds: its value had been taken back meanwhile."""
    follow(settings, promoted, ends(promoted, "Failed"))
    promoted.notifier.sent.clear()
    follow(settings, promoted, ends(promoted, "Succeeded"))
    (notice,) = promoted.notifier.sent
    assert f"current was moved to {arn('old')} since: the next run restores it" in notice.body


def test_people_who_cannot_be_told_change_nothing(
    settings: Settings, promoted: InMemoryAws
) -> None:
    def fail(when: str, operation: str) -> None:
        if operation == "_publish":
            raise AwsError("Publish", "topic", "NotFound", "no topic")

    promoted.interrupt = fail
    assert follow(settings, promoted, ends(promoted, "Failed")).outcome == "failed"
    assert promoted.values()[CURRENT] == arn("old")


@pytest.mark.parametrize("status", ["Succeeded", "Failed"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "operation", ["get", "runs", "history", "find", "_publish", "mark_good", "put"]
)
def test_a_follow_up_killed_at_any_call_and_run_again_ends_as_one_that_was_not(
    settings: Settings, promoted: InMemoryAws, status: str, when: str, operation: str
) -> None:
    ended = ends(promoted, status)

    kill(promoted, when, operation)
    try:
        follow(settings, promoted, ended)
    except Killed:
        promoted.interrupt = lambda when, operation: None
        follow(settings, promoted, ended)
    assert promoted.values()[CURRENT] == arn("new" if status == "Succeeded" else "old")
    assert good_version(promoted) == (2 if status == "Succeeded" else 1)
    assert 1 <= len(promoted.notifier.sent) <= 2


# --- what is not ours -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "reason", "calls"),
    [
        (Ended("somebody-elses", "run-2", "FAILED"), "other-pipeline", ["get"]),
        (Ended(PIPELINE, "run-2", "SUPERSEDED"), "not-final", []),
        (Ended(PIPELINE, "run-2", "STARTED"), "not-final", []),
        (Ended(PIPELINE, "long-ago", "FAILED"), "unknown-run", ["get", "runs"]),
    ],
)
def test_what_is_not_ours_is_ignored(
    settings: Settings, promoted: InMemoryAws, ended: Ended, reason: str, calls: list[str]
) -> None:
    answer = follow(settings, promoted, ended)
    assert (answer.outcome, answer.reason) == ("ignored", reason)
    assert promoted.calls == calls
    assert promoted.notifier.sent == []


def test_a_superseded_run_is_left_to_the_newer_one(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ended = ends(promoted, "Superseded")._replace(state="FAILED")
    assert follow(settings, promoted, ended).reason == "not-final"
    assert promoted.values()[CURRENT] == arn("new")


def test_without_the_pipelines_name_every_pipeline_is_a_strangers(
    settings: Settings, promoted: InMemoryAws
) -> None:
    ended = ends(promoted, "Failed")
    del promoted.parameters.kept[PIPELINE_NAME]
    assert follow(settings, promoted, ended).reason == "other-pipeline"


def test_a_record_that_lags_behind_its_event_is_looked_at_again(
    settings: Settings, promoted: InMemoryAws
) -> None:
    """Raised, so that Lambda's retries come back when the record has caught up."""
    with pytest.raises(AwsError, match="run run-2 failed: InProgress: it has not ended yet"):
        follow(settings, promoted, Ended(PIPELINE, "run-2", "FAILED"))
    assert promoted.values()[CURRENT] == arn("new")
    assert subjects(promoted) == [
        "aurora-refresh: REFRESH FAILED: ListPipelineExecutions InProgress (rds)"
    ]


# --- several databases ----------------------------------------------------------------------------


@pytest.fixture
def two_promoted(aws: InMemoryAws) -> tuple[Settings, InMemoryAws]:
    settings = Settings.from_environment(TWO)
    documents: dict[str, Any] = {"engine": "docdb", "engine_version": "5.0.0", "cluster": "docs"}
    aws.snapshots.all += [snapshot("d-new", **documents), snapshot("d-old", **documents)]
    by_hand = Note("by hand", "setup", "")
    aws.parameters.put("/acceptance/docs/latest", arn("d-new"), by_hand)
    aws.time -= timedelta(hours=9)
    aws.parameters.put("/acceptance/docs/current", arn("d-old"), by_hand)
    aws.time += timedelta(hours=9)
    assert promote(settings, aws, SUNDAY).outcome == "started"
    return settings, aws


def test_every_database_of_a_failed_run_is_taken_back(
    two_promoted: tuple[Settings, InMemoryAws],
) -> None:
    settings, aws = two_promoted
    answer: Result = follow(settings, aws, ends(aws, "Failed"))
    assert [entry["current"] for entry in answer.databases] == [arn("old"), arn("d-old")]
    assert aws.values()["/acceptance/docs/current"] == arn("d-old")
    assert aws.values()[CURRENT] == arn("old")
    assert len(aws.notifier.sent) == 1


def test_every_database_of_a_successful_run_is_good(
    two_promoted: tuple[Settings, InMemoryAws],
) -> None:
    settings, aws = two_promoted
    follow(settings, aws, ends(aws, "Succeeded"))
    for name in (CURRENT, "/acceptance/docs/current"):
        assert aws.parameters.kept[name][-1].good
    assert subjects(aws) == ["aurora-refresh: refreshed in 30 min, data 6 h old (rds,docs)"]


# --- the hundred versions that Parameter Store keeps ----------------------------------------------


def test_the_label_never_blocks_the_ledger(settings: Settings, promoted: InMemoryAws) -> None:
    """The good version is the oldest of a hundred: its label moves to one that holds the same."""
    for number in range(3, 101):
        value = arn("old") if number == 50 else arn(f"pinned-{number}")
        promoted.parameters.put(CURRENT, value, Note("pin", "kim", "x"))
    promoted.pipelines.finish(PIPELINE)
    promoted.time += timedelta(days=14)
    promoted.snapshots.all.append(snapshot("newer", created=promoted.time))
    promoted.parameters.put(LATEST, arn("newer"), Note("x", "x", "x"))
    assert promote(settings, promoted, SUNDAY + timedelta(days=14)).outcome == "started"
    assert promoted.values()[CURRENT] == arn("newer")
    assert good_version(promoted) == 50


def test_somebody_elses_label_is_not_touched(settings: Settings, aws: InMemoryAws) -> None:
    def labelled(when: str, operation: str) -> None:
        if operation == "put":
            raise VersionLimitError("PutParameter", CURRENT, "ParameterMaxVersion…", "labelled")

    aws.interrupt = labelled
    with pytest.raises(VersionLimitError):
        promote(settings, aws, SUNDAY)
    assert {"mark_good", "unmark_good"}.isdisjoint(aws.calls)


def test_a_label_that_can_go_nowhere_is_given_up(settings: Settings, promoted: InMemoryAws) -> None:
    for number in range(3, 101):
        promoted.parameters.put(CURRENT, arn(f"pinned-{number}"), Note("pin", "kim", "x"))
    promoted.pipelines.finish(PIPELINE)
    promoted.time += timedelta(days=14)
    promoted.snapshots.all.append(snapshot("newer", created=promoted.time))
    promoted.parameters.put(LATEST, arn("newer"), Note("x", "x", "x"))
    assert promote(settings, promoted, SUNDAY + timedelta(days=14)).outcome == "started"
    assert good_version(promoted) is None
