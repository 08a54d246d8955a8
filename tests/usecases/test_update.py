"""db-update-latest-snapshot-id: the newest eligible share becomes `latest`."""

from datetime import timedelta

import pytest

from chalicelib.domain.ledger import Note
from tests.fakes import ACCEPTANCE, arn, snapshot
from tests.stage import LATEST
from tests.usecases.names import NEW, OLD, TWO_O_CLOCK
from tests.usecases.night import Night, about_rds
from tests.usecases.states import Arrange, at, listing, without


def test_the_newest_eligible_share_becomes_latest_once(night: Night) -> None:
    night.offer("newest", created=TWO_O_CLOCK - timedelta(hours=1))
    night.offer("mysql", engine="aurora-mysql")
    at(TWO_O_CLOCK)(night)
    assert night.update().to_json() == about_rds(
        "updated",
        outcome="updated",
        latest=arn("newest"),
        current=OLD,
        previous=NEW,
        created="2026-01-04T01:00:00+00:00",
        age_hours=1.0,
        rejected={"engine": 1},
    )
    by = "the schedule of 2026-01-04 02:00 UTC"
    assert night.present(LATEST).value == arn("newest")
    assert night.present(LATEST).note == Note("update", by, "newest eligible share")
    night.aws.calls.clear()
    assert night.update().outcome == "unchanged"
    assert night.aws.calls == ["shared", "get"]  # what is right is not written again
    without(LATEST)(night)
    assert (night.update().outcome, night.values[LATEST]) == ("updated", arn("newest"))


NOT_ELIGIBLE = "rds: no shared snapshot is eligible; rejected:"
UNCHOSEN: list[tuple[Arrange, str, str]] = [
    (
        listing(snapshot("b", "999999999999"), snapshot("a", status="creating")),
        "no-eligible-snapshot",
        f"{NOT_ELIGIBLE} 1 for account, 1 for status",
    ),
    (listing(snapshot("own", ACCEPTANCE)), "no-eligible-snapshot", f"{NOT_ELIGIBLE} none"),
    (
        listing(snapshot("new"), snapshot("x", cluster="billing", created=TWO_O_CLOCK)),
        "ambiguous-cluster",
        "rds: eligible snapshots come from several clusters (billing, orders); set RDS_SOURCE_CLUSTER",
    ),
]


@pytest.mark.parametrize(("arrange", "reason", "message"), UNCHOSEN)
def test_a_refusal_says_why_and_writes_nothing(
    night: Night, arrange: Arrange, reason: str, message: str
) -> None:
    arrange(night)
    before = night.values
    result = night.update()
    assert (result.outcome, result.reason, result.message) == ("failed", reason, message)
    assert (result.databases[0].latest, night.values) == (NEW, before)
    assert night.subjects == [f"REFRESH FAILED: {reason} (rds)"]
    assert "the schedule of 2026-01-04 02:00 UTC" in night.aws.notifier.sent[0].body


def test_databases_have_one_listing_and_no_failure_hides_behind_another(two: Night) -> None:
    listing(snapshot("old"))(two)
    result = two.update()
    assert [each.outcome for each in result.databases] == ["updated", "failed"]
    assert (result.outcome, result.reason) == ("failed", "no-eligible-snapshot")
    assert two.aws.calls == ["shared", "get", "put", "_publish"]
