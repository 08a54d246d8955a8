"""db-update-latest-snapshot-id: the newest eligible share becomes `latest`."""

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.ledger import Note
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.update_latest import update
from tests.fakes import ACCEPTANCE, InMemoryAws, arn, snapshot
from tests.stage import CURRENT, LATEST, TWO
from tests.usecases.conftest import DOCUMENTS, Arrange, at, holding, listing, present, subjects

TWO_O_CLOCK = datetime(2026, 1, 4, 2, tzinfo=UTC)


def test_the_newest_eligible_share_becomes_latest(settings: Settings, aws: InMemoryAws) -> None:
    newest = snapshot("newest", created=TWO_O_CLOCK - timedelta(hours=1))
    aws.snapshots.all += [newest, snapshot("mysql", engine="aurora-mysql")]
    at(TWO_O_CLOCK)(aws)
    assert update(settings, aws, TWO_O_CLOCK).to_json() == {
        "outcome": "updated",
        "reason": None,
        "message": None,
        "databases": [
            {
                "name": "rds",
                "outcome": "updated",
                "latest": newest.arn,
                "current": arn("old"),
                "previous": arn("new"),
                "created": "2026-01-04T01:00:00+00:00",
                "age_hours": 1.0,
                "rejected": {"engine": 1},
            }
        ],
    }
    assert present(aws, LATEST).value == newest.arn
    assert present(aws, LATEST).note == Note(
        "update", "the schedule of 2026-01-04T02:00:00+00:00", "newest eligible share"
    )


def test_latest_is_not_written_again_if_it_is_right(settings: Settings, aws: InMemoryAws) -> None:
    result = update(settings, aws, TWO_O_CLOCK)
    assert (result.outcome, result.reason) == ("unchanged", None)
    assert len(aws.parameters.kept[LATEST]) == 1


@pytest.mark.parametrize(
    ("arrange", "latest"),
    [
        (lambda aws: aws.parameters.kept.pop(LATEST), "new"),
        (holding(LATEST, "dummyvalue"), "new"),
        (listing(snapshot("old")), "old"),
    ],
    ids=["missing", "placeholder", "the newest is gone"],
)
def test_latest_is_moved_from_whatever_it_holds(
    settings: Settings, aws: InMemoryAws, arrange: Arrange, latest: str
) -> None:
    arrange(aws)
    assert update(settings, aws, TWO_O_CLOCK).outcome == "updated"
    assert aws.values()[LATEST] == arn(latest)


def test_an_off_week_asks_aws_nothing(settings: Settings, aws: InMemoryAws) -> None:
    result = update(settings, aws, TWO_O_CLOCK + timedelta(days=7))
    assert (result.outcome, result.reason) == ("skipped", "off-week")
    assert ([each.name for each in result.databases], aws.calls) == (["rds"], [])


UNCHOSEN: list[tuple[Arrange, str, str]] = [
    (
        listing(snapshot("b", "999999999999"), snapshot("a", status="creating")),
        "no-eligible-snapshot",
        "rds: no shared snapshot is eligible; rejected: 1 for account, 1 for status",
    ),
    (
        listing(snapshot("own", ACCEPTANCE)),
        "no-eligible-snapshot",
        "rds: no shared snapshot is eligible; rejected: none",
    ),
    (
        listing(snapshot("new"), snapshot("x", cluster="billing", created=TWO_O_CLOCK)),
        "ambiguous-cluster",
        (
            "rds: eligible snapshots come from several clusters (billing, orders); set "
            "RDS_SOURCE_CLUSTER"
        ),
    ),
]


@pytest.mark.parametrize(("arrange", "reason", "message"), UNCHOSEN)
def test_a_refusal_says_why_and_writes_nothing(
    settings: Settings, aws: InMemoryAws, arrange: Arrange, reason: str, message: str
) -> None:
    arrange(aws)
    before = aws.values()
    result = update(settings, aws, TWO_O_CLOCK)
    assert (result.outcome, result.reason, result.message) == ("failed", reason, message)
    assert (result.databases[0].latest, aws.values()) == (arn("new"), before)
    assert subjects(aws) == [f"REFRESH FAILED: {reason} (rds)"]
    assert "the schedule of 2026-01-04 02:00 UTC" in aws.notifier.sent[0].body


@pytest.fixture
def two() -> Settings:
    return Settings.from_environment(TWO | {"RDS_SOURCE_CLUSTER": "orders"})


def test_databases_are_updated_from_one_listing(two: Settings, aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot("d", **DOCUMENTS))
    result = update(two, aws, TWO_O_CLOCK)
    assert [each.outcome for each in result.databases] == ["unchanged", "updated"]
    assert (result.outcome, aws.calls) == ("updated", ["shared", "get", "put"])


def test_a_failure_of_one_database_does_not_hide_behind_another(
    two: Settings, aws: InMemoryAws
) -> None:
    aws.parameters.put_by_hand(LATEST, arn("old"))
    result = update(two, aws, TWO_O_CLOCK)
    assert [each.outcome for each in result.databases] == ["updated", "failed"]
    assert (result.outcome, result.reason) == ("failed", "no-eligible-snapshot")
    assert (aws.values()[LATEST], aws.values()[CURRENT]) == (arn("new"), arn("old"))
