"""Production's snapshots: taken, shared once available, and deleted once expired.

Which snapshots are managed, shared and expired is decided in `domain/shares.py`: see its unit tests.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.domain.reasons import Reason
from chalicelib.notifications import SHARE_AGAIN, Notification
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases import share as usecase
from tests.fakes import ACCEPTANCE, DEFAULT_KEY, PRODUCTION, InMemoryAws, arn, snapshot
from tests.interruptions import meanwhile, raised

SATURDAY = datetime(2026, 1, 3, 22, tzinfo=UTC)
WEEK = timedelta(weeks=1)
OWN = DEFAULT_KEY.replace("default", "own")
SETTINGS = ProductionSettings.from_environment(
    {
        "SHARE_WITH_ACCOUNT": ACCEPTANCE,
        "CLUSTERS": "orders,billing",
        "SHARE_KMS_KEY_ID": "alias/shares",
        "SHARES_TO_KEEP": "2",
    }
)
POLICY = SETTINGS.policy("production")

Arrange = Callable[[InMemoryAws], object]


def company() -> InMemoryAws:
    """*orders* is not encrypted, *billing* is under a key of the company's own."""
    aws = InMemoryAws(SATURDAY, PRODUCTION)
    aws.clusters.add("orders")
    aws.clusters.add("billing", OWN)
    return aws


def third_saturday() -> InMemoryAws:
    """Two Saturdays' snapshots are shared, and the third's are available."""
    aws = company()
    for week in range(2):
        share(aws, week)
        aws.snapshots.settle()
        follow_shares(aws)
    share(aws, 2)
    aws.snapshots.settle()
    aws.calls.clear()
    return aws


aws, third = pytest.fixture(company), pytest.fixture(third_saturday)


def default_key(aws: InMemoryAws) -> None:
    aws.clusters.add("billing", DEFAULT_KEY)


def backed_up(aws: InMemoryAws) -> None:
    """*billing* is under the default key; RDS took two snapshots of it by itself, and is at a third."""
    default_key(aws)
    for number, hours, status in ((1, 42, "available"), (2, 18, "available"), (3, 0, "creating")):
        facts = {"created": SATURDAY - timedelta(hours=hours), "status": status}
        backup = snapshot(f"rds:billing-{number}", own=True, cluster="billing", **facts)
        aws.snapshots.all.append(backup)


def share(aws: InMemoryAws, week: int = 0, **changes: Any) -> Any:
    """Run that Saturday's schedule, and return its answer."""
    scheduled = SATURDAY + week * WEEK
    settings = SETTINGS._replace(**changes)
    return raised(usecase.share(settings, "production", aws, scheduled)).to_json()


def follow_shares(aws: InMemoryAws) -> Any:
    """Let the poll come by, and return its answer."""
    aws.time += timedelta(minutes=15)
    return raised(usecase.follow_shares(SETTINGS, "production", aws)).to_json()


def name(cluster: str, week: int = 0) -> str:
    return arn(POLICY.name(cluster, SATURDAY + week * WEEK))


def states(aws: InMemoryAws) -> dict[str, tuple[str, set[str]]]:
    """Return every manual snapshot's status, and with whom it is shared."""
    found = list(aws.snapshots.own())
    return {each.arn: (each.status, aws.snapshots.read_by.get(each.arn, set())) for each in found}


def subjects(aws: InMemoryAws) -> list[str]:
    return [each.subject.removeprefix("aurora-refresh: ") for each in aws.notifier.sent]


def answered(outcome: str, *clusters: Any, reason: str | None = None, message: Any = None) -> Any:
    return {"outcome": outcome, "reason": reason, "message": message, "clusters": [*clusters]}


def entry(cluster: str, outcome: str, **facts: Any) -> dict[str, Any]:
    return {"name": cluster, "outcome": outcome, "reason": None, "message": None, **facts}


def taken(cluster: str, outcome: str) -> dict[str, Any]:
    return entry(cluster, outcome, snapshot=name(cluster))


def polled(cluster: str, outcome: str, **facts: Any) -> dict[str, Any]:
    return entry(cluster, outcome, **{"shared": [], "under_way": [], "deleted": [], **facts})


# --- the schedule ---------------------------------------------------------------------------------


def test_a_snapshot_of_each_cluster_is_asked_for_once_and_nobody_waits(aws: InMemoryAws) -> None:
    """A later delivery is not refused what the first was given."""
    backed_up(aws)
    made = {name("orders"): ("creating", set()), name("billing"): ("copying", set())}
    for outcome in ("asked", "unchanged"):
        expected = answered(outcome, taken("orders", outcome), taken("billing", outcome))
        aws.calls.clear()
        assert share(aws) == expected
        assert aws.calls.count("own") == 1  # for all clusters
        assert states(aws) == made
        aws.clusters.busy.add("orders")  # as one is while it is being backed up
        aws.time += timedelta(days=2)  # by then the automated snapshot is too old
    assert subjects(aws) == []


def test_of_two_deliveries_at_once_one_asks_and_both_find_it(aws: InMemoryAws) -> None:
    meanwhile(
        aws, "before", "take", lambda: (share(aws), aws.clusters.busy.update(SETTINGS.clusters))
    )
    expected = answered("unchanged", taken("orders", "unchanged"), taken("billing", "unchanged"))
    assert share(aws) == expected
    assert set(states(aws)) == {name("orders"), name("billing")}


IDENTIFIER = POLICY.name("billing", SATURDAY)
MISSING = "there is no DB cluster billing in this account"
BUSY = "RDS refused to take a snapshot of billing: it is busy"
NO_BACKUP = "billing has no available automated snapshot to copy"
TAKEN = f"snapshot {IDENTIFIER} exists but lacks this application's tag"
NO_KEY = (
    "billing is encrypted under this account's default key aws/rds, which no other account can use, "
    "and SHARE_KMS_KEY_ID is not set: it has to be customer-managed"
)


def take_name(aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot(IDENTIFIER, own=True, cluster="theirs")]


@pytest.mark.parametrize(
    ("arrange", "key", "reason", "message"),
    [
        (lambda aws: aws.clusters.restored.pop("billing"), OWN, "cluster-missing", MISSING),
        (lambda aws: aws.clusters.busy.add("billing"), OWN, "cluster-busy", BUSY),
        (default_key, OWN, "no-automated-snapshot", NO_BACKUP),
        (take_name, OWN, "name-taken", TAKEN),
        # What is encrypted under a default key nobody else could read.
        (backed_up, None, "default-key", NO_KEY),
        (backed_up, DEFAULT_KEY, "default-key", NO_KEY.replace("not set", DEFAULT_KEY)),
        (backed_up, "default", "default-key", NO_KEY.replace("not set", "default")),
    ],
)
def test_what_only_people_can_resolve_is_refused_notified_and_stops_no_other_cluster(
    aws: InMemoryAws, arrange: Arrange, key: str | None, reason: str, message: str
) -> None:
    arrange(aws)
    before = set(states(aws))
    refused = {"reason": reason, "message": message}
    assert share(aws, key=key) == answered(
        "failed", taken("orders", "asked"), entry("billing", "failed", **refused), **refused
    )
    assert set(states(aws)) - before == {name("orders")}
    what, cause = f"db-share-snapshot: {message}.", "the schedule of 2026-01-03 22:00 UTC"
    steps = [Reason(reason).next_step, SHARE_AGAIN]
    facts = {"function": "db-share-snapshot", "outcome": "failed", "reason": reason}
    subject = f"aurora-refresh: SHARING FAILED: {reason} (billing)"
    body = f"What happened:\n  {what}\nCause:\n  {cause}"
    expected = Notification(subject, body, steps, facts | {"clusters": "billing"})
    assert aws.notifier.sent == [expected]


def test_without_a_default_key_a_snapshot_is_under_the_clusters_own(aws: InMemoryAws) -> None:
    aws.keys.arn = None
    assert [each["outcome"] for each in share(aws)["clusters"]] == ["asked", "asked"]


def test_snapshots_that_no_poll_shares_do_not_fill_the_quota(aws: InMemoryAws) -> None:
    for week, reason in enumerate([None, None, None, "share-failed"]):
        assert share(aws, week)["reason"] == reason
        aws.snapshots.settle()
    follow_shares(aws)
    assert share(aws, 4)["reason"] is None


def test_an_error_stops_no_other_cluster_and_hides_nothing(aws: InMemoryAws) -> None:
    aws.clusters.add("pay")
    aws.refused = [("take", "orders"), ("take", "pay")]
    with pytest.raises(AwsError, match="take of orders failed"):
        share(aws, clusters=("orders", "gone", "pay", "billing"))
    assert set(states(aws)) == {name("billing")}
    failures = ["cluster-missing (gone)", "take AccessDeniedException (orders,pay)"]
    assert subjects(aws) == [f"SHARING FAILED: {each}" for each in failures]
    assert "take of pay failed: AccessDeniedException: no." in aws.notifier.sent[1].body


# --- the poll -------------------------------------------------------------------------------------


def test_what_is_available_is_shared_once_and_what_is_under_way_waits(aws: InMemoryAws) -> None:
    """With acceptance as well, if somebody has shared it with another account."""
    share(aws)
    aws.snapshots.all[0] = aws.snapshots.all[0]._replace(status="available")
    aws.snapshots.share(POLICY.name("orders", SATURDAY), "333333333333")
    waits = polled("billing", "unchanged", under_way=[name("billing")])
    shared = polled("orders", "shared", shared=[name("orders")])
    assert follow_shares(aws) == answered("shared", shared, waits)
    assert states(aws) == {
        name("orders"): ("available", {ACCEPTANCE, "333333333333"}),
        name("billing"): ("creating", set()),
    }
    aws.calls.clear()
    assert follow_shares(aws) == answered("unchanged", polled("orders", "unchanged"), waits)
    assert aws.calls == ["own", "shared_with"]


def test_the_oldest_goes_once_its_successor_is_shared_and_no_stranger(third: InMemoryAws) -> None:
    names = ("nightly", f"aurora-refresh-share-{'0' * 32}")
    strangers = [snapshot(each, own=True) for each in names]
    third.snapshots.all += strangers
    for week in (0, 1):  # somebody has unshared two by hand, and one of them has expired
        third.snapshots.read_by[name("orders", week)].clear()
    (orders, billing) = follow_shares(third)["clusters"]
    assert sorted(orders["shared"]) == sorted([name("orders", 1), name("orders", 2)])
    assert (orders["deleted"], billing["deleted"]) == ([name("orders")], [name("billing")])
    expected = {name(cluster, week) for cluster in ("orders", "billing") for week in (1, 2)}
    shared = dict.fromkeys(expected, ("available", {ACCEPTANCE}))
    assert states(third) == shared | {each.arn: ("available", set()) for each in strangers}
    assert subjects(third) == []


def test_one_that_failed_is_notified_once_deleted_and_can_be_asked_again(aws: InMemoryAws) -> None:
    share(aws)
    aws.snapshots.settle("failed")
    message = f"orders: RDS could not create {name('orders')}"
    refused = {"reason": "share-failed", "message": message}
    assert share(aws)["reason"] == "share-failed"  # until the poll has deleted it
    aws.notifier.sent.clear()
    sent: list[str] = []
    meanwhile(aws, "before", "delete", lambda: sent.extend(subjects(aws)))
    answer = follow_shares(aws)
    assert answer["clusters"][0] == polled("orders", "failed", deleted=[name("orders")]) | refused
    assert answer | {"clusters": []} == answered("failed", **refused)
    assert states(aws) == {}
    follow_shares(aws)
    assert subjects(aws) == sent == ["SHARING FAILED: share-failed (orders,billing)"]
    assert share(aws)["outcome"] == "asked"


def test_what_cannot_be_shared_or_deleted_stops_no_other(third: InMemoryAws) -> None:
    """RDS's model has only what is available deleted: it may refuse what failed."""
    for week in (3, 4):
        share(third, week, keep=9)
    third.snapshots.settle("failed")
    stuck = POLICY.name("billing", SATURDAY + 4 * WEEK)
    newest = POLICY.name("orders", SATURDAY + 2 * WEEK)
    third.refused = [("delete", stuck), ("share", newest)]
    errors = usecase.follow_shares(SETTINGS, "production", third).errors
    reports = [str(each) for each in errors]
    assert reports == [
        f"{each} failed: AccessDeniedException: no"
        for each in (f"share of {newest}", f"delete of {stuck}")
    ]
    assert name("billing", 3) not in states(third)
    assert states(third)[arn(stuck)] == ("failed", set())
    assert {name("billing"), name("orders")} & set(states(third)) == {name("orders")}
    assert subjects(third) == ["SHARING FAILED: share-failed (billing)"]
