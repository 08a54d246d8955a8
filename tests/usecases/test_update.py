"""db-update-latest-snapshot-id: the newest eligible share becomes *latest*."""

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.update_latest import update
from tests.fakes import InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, TWO

SUNDAY = datetime(2026, 1, 4, 2, tzinfo=UTC)


def test_the_newest_eligible_share_becomes_latest(settings: Settings, aws: InMemoryAws) -> None:
    newest = snapshot("newest", created=SUNDAY - timedelta(hours=1))
    aws.snapshots.all += [newest, snapshot("mysql", engine="aurora-mysql")]
    aws.time = SUNDAY

    answer = update(settings, aws, SUNDAY)

    assert answer.to_json() == {
        "outcome": "updated",
        "reason": None,
        "message": None,
        "databases": [
            {
                "name": "rds",
                "outcome": "updated",
                "reason": None,
                "message": None,
                "latest": newest.arn,
                "current": arn("old"),
                "previous": arn("new"),
                "created": "2026-01-04T01:00:00+00:00",
                "age_hours": 1.0,
                "rejected": {"engine": 1},
            }
        ],
    }
    assert aws.values()[LATEST] == newest.arn
    assert aws.parameters.kept[LATEST][-1].note == Note(
        "update", "the schedule of 2026-01-04T02:00:00+00:00", "newest eligible share"
    )


def test_latest_is_not_written_again_when_it_is_right(settings: Settings, aws: InMemoryAws) -> None:
    answer = update(settings, aws, SUNDAY)
    assert (answer.outcome, answer.reason) == ("unchanged", None)
    assert [entry.version for entry in aws.parameters.kept[LATEST]] == [1]


def test_a_latest_that_does_not_exist_is_created(settings: Settings, aws: InMemoryAws) -> None:
    del aws.parameters.kept[LATEST]
    answer = update(settings, aws, SUNDAY)
    assert answer.outcome == "updated"
    assert answer.databases[0]["previous"] is None
    assert aws.values()[LATEST] == arn("new")


def test_an_older_share_becomes_latest_when_the_newest_is_gone(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.snapshots.all = [snapshot("old")]
    assert update(settings, aws, SUNDAY).outcome == "updated"
    assert aws.values()[LATEST] == arn("old")


def test_an_off_week_asks_aws_nothing(settings: Settings, aws: InMemoryAws) -> None:
    answer = update(settings, aws, SUNDAY + timedelta(days=7))
    assert (answer.outcome, answer.reason) == ("skipped", "off-week")
    assert [database["name"] for database in answer.databases] == ["rds"]
    assert aws.calls == []


def test_no_eligible_share_fails_and_writes_nothing(settings: Settings, aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot("a", status="creating"), snapshot("b", "999999999999")]
    before = aws.values()
    answer = update(settings, aws, SUNDAY)
    assert (answer.outcome, answer.reason, answer.message) == (
        "failed",
        "no-eligible-snapshot",
        "rds: no shared snapshot is eligible; rejected: 1 for status, 1 for account",
    )
    assert answer.databases[0]["latest"] == arn("new")
    assert aws.values() == before
    (notice,) = aws.notifier.sent
    assert notice.subject == "aurora-refresh: REFRESH FAILED: no-eligible-snapshot (rds)"
    assert "the schedule of 2026-01-04 02:00 UTC" in notice.body


def test_nothing_shared_at_all_says_so(settings: Settings, aws: InMemoryAws) -> None:
    aws.snapshots.all = []
    assert update(settings, aws, SUNDAY).message == (
        "rds: no shared snapshot is eligible; rejected: none"
    )


def test_several_clusters_fail_and_write_nothing(settings: Settings, aws: InMemoryAws) -> None:
    """The newest snapshot of the wrong database must never win."""
    aws.snapshots.all.append(snapshot("billing", cluster="billing", created=SUNDAY))
    before = aws.values()
    answer = update(settings, aws, SUNDAY)
    assert (answer.outcome, answer.reason, answer.message) == (
        "failed",
        "ambiguous-cluster",
        (
            "rds: eligible snapshots come from several clusters (billing, orders); "
            "set RDS_SOURCE_CLUSTER"
        ),
    )
    assert aws.values() == before


@pytest.fixture
def two() -> Settings:
    return Settings.from_environment(TWO | {"RDS_SOURCE_CLUSTER": "orders"})


def test_databases_are_updated_from_one_listing(two: Settings, aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot("d", engine="docdb", engine_version="5.0.0", cluster="d"))
    answer = update(two, aws, SUNDAY)
    assert [entry["outcome"] for entry in answer.databases] == ["unchanged", "updated"]
    assert answer.outcome == "updated"
    assert aws.calls == ["shared", "get", "put"]
    assert aws.notifier.sent == []


def test_a_failure_of_one_database_does_not_hide_behind_another(
    two: Settings, aws: InMemoryAws
) -> None:
    aws.parameters.put(LATEST, arn("old"), Note("x", "x", "x"))
    answer = update(two, aws, SUNDAY)
    assert [entry["outcome"] for entry in answer.databases] == ["updated", "failed"]
    assert (answer.outcome, answer.reason) == ("failed", "no-eligible-snapshot")
    assert aws.values()[LATEST] == arn("new")
    assert aws.values()[CURRENT] == arn("old")


def test_what_aws_did_not_do_is_raised(settings: Settings, aws: InMemoryAws) -> None:
    def throttled(when: str, operation: str) -> None:
        raise AwsError(operation, "the shared snapshots", "Throttling", "Rate exceeded")

    aws.interrupt = throttled
    with pytest.raises(AwsError, match="shared of the shared snapshots failed: Throttling"):
        update(settings, aws, SUNDAY)
