"""Production's snapshots: taken, shared once available, and deleted once expired."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.reasons import Reason
from chalicelib.domain.shares import Cluster, SharePolicy
from chalicelib.notifications import Notification
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases import share as usecase
from tests.fakes import ACCEPTANCE, MANUAL_SNAPSHOTS, PRODUCTION, InMemoryAws, arn, snapshot
from tests.interruptions import meanwhile, refuse

SATURDAY = datetime(2026, 1, 3, 22, tzinfo=UTC)
POLL = timedelta(minutes=15)
WEEK = timedelta(weeks=1)
SETTINGS = ProductionSettings.from_environment(
    {
        "SHARE_WITH_ACCOUNT": ACCEPTANCE,
        "CLUSTERS": "orders,billing",
        "SHARE_KMS_KEY_ID": "alias/shares",
        "SHARES_TO_KEEP": "2",
    }
)
STAGE = "production"
POLICY = SETTINGS.policy(STAGE)
KEYLESS = SETTINGS._replace(key=None)
CAUSE = "the schedule of 2026-01-03 22:00 UTC"


@pytest.fixture
def aws() -> InMemoryAws:
    """*orders* is not encrypted, *billing* is under a key of the company's own."""
    aws = InMemoryAws(SATURDAY, PRODUCTION)
    aws.clusters.all = {
        "orders": Cluster("orders", None),
        "billing": Cluster("billing", "key/own"),
    }
    aws.keys.default.add("key/default")
    return aws


@pytest.fixture
def default(aws: InMemoryAws) -> InMemoryAws:
    """*billing* is under the default key; RDS took two snapshots of it by itself, and is at a third."""
    aws.clusters.all["billing"] = Cluster("billing", "key/default")
    facts = {"own": True, "cluster": "billing"}
    aws.snapshots.all = [
        snapshot("rds:billing-1", created=SATURDAY - timedelta(hours=42), **facts),
        snapshot("rds:billing-2", created=SATURDAY - timedelta(hours=18), **facts),
        snapshot("rds:billing-3", status="creating", created=SATURDAY, **facts),
        snapshot("rds:orders-9", **facts | {"cluster": "orders"}),
    ]
    return aws


@pytest.fixture
def third(aws: InMemoryAws) -> InMemoryAws:
    """Two Saturdays' snapshots are shared, and the third's are available."""
    for week in range(2):
        a_saturday(aws, SATURDAY + week * WEEK)
    share(SETTINGS, aws, SATURDAY + 2 * WEEK)
    aws.snapshots.settle()
    aws.calls.clear()
    return aws


def share(
    settings: ProductionSettings, aws: InMemoryAws, scheduled: datetime, stage: str = STAGE
) -> dict[str, Any]:
    return usecase.share(settings, stage, aws, scheduled).to_json()


def follow_shares(
    settings: ProductionSettings, aws: InMemoryAws, scheduled: datetime, stage: str = STAGE
) -> dict[str, Any]:
    return usecase.follow_shares(settings, stage, aws, scheduled).to_json()


def name(cluster: str, scheduled: datetime = SATURDAY, policy: SharePolicy = POLICY) -> str:
    return arn(policy.name(cluster, scheduled))


def states(aws: InMemoryAws) -> dict[str, tuple[str, set[str]]]:
    """Every manual snapshot: its status, and with whom it is shared."""
    return {
        each.snapshot.arn: (
            each.snapshot.status,
            aws.snapshots.read_by.get(each.snapshot.arn, set()),
        )
        for each in aws.snapshots.own()
    }


def told(aws: InMemoryAws) -> list[str]:
    return [notice.subject for notice in aws.notifier.sent]


def a_saturday(
    aws: InMemoryAws,
    scheduled: datetime,
    settings: ProductionSettings = SETTINGS,
    stage: str = STAGE,
) -> None:
    """Take snapshots, make them available, and share them."""
    aws.time = scheduled
    share(settings, aws, scheduled, stage)
    aws.snapshots.settle()
    aws.time += POLL
    follow_shares(settings, aws, aws.time, stage)


def entry(cluster: str, outcome: str, **facts: Any) -> dict[str, Any]:
    return {"name": cluster, "outcome": outcome, "reason": None, "message": None, **facts}


def polled(cluster: str, outcome: str, **facts: Any) -> dict[str, Any]:
    return entry(cluster, outcome, **{"shared": [], "under_way": [], "deleted": [], **facts})


# --- the schedule ---------------------------------------------------------------------------------


def test_a_snapshot_of_each_cluster_is_asked_for_once_and_nobody_waits(aws: InMemoryAws) -> None:
    for outcome in ("asked", "unchanged"):
        assert share(SETTINGS, aws, SATURDAY) == {
            "outcome": outcome,
            "reason": None,
            "message": None,
            "clusters": [
                entry("orders", outcome, snapshot=name("orders")),
                entry("billing", outcome, snapshot=name("billing")),
            ],
        }
        assert states(aws) == {
            name("orders"): ("creating", set()),
            name("billing"): ("creating", set()),
        }
        aws.time += timedelta(hours=3)
    assert told(aws) == []


def test_a_second_delivery_is_not_refused_what_the_first_was_given(default: InMemoryAws) -> None:
    share(SETTINGS, default, SATURDAY)
    before = states(default)
    default.clusters.busy.add("orders")  # as one is while it is being backed up
    default.time += timedelta(days=2)  # by then the automated snapshot is too old
    answer = share(SETTINGS, default, SATURDAY)
    assert [each["outcome"] for each in answer["clusters"]] == ["unchanged", "unchanged"]
    assert states(default) == before


def test_of_two_deliveries_at_once_one_asks_and_both_find_it(aws: InMemoryAws) -> None:
    meanwhile(aws, "before", "take", lambda: share(SETTINGS, aws, SATURDAY))
    answer = share(SETTINGS, aws, SATURDAY)
    assert answer["clusters"] == [
        entry("orders", "unchanged", snapshot=name("orders")),
        entry("billing", "unchanged", snapshot=name("billing")),
    ]
    assert set(states(aws)) == {name("orders"), name("billing")}


def test_under_the_default_key_the_newest_automated_snapshot_is_copied(
    default: InMemoryAws,
) -> None:
    answer = share(SETTINGS, default, SATURDAY)
    assert answer["clusters"][1] == entry("billing", "asked", snapshot=name("billing"))
    (copy,) = [each for each in default.snapshots.own() if each.snapshot.arn == name("billing")]
    assert (copy.snapshot.status, copy.snapshot.cluster) == ("copying", "billing")
    assert copy.tags["aurora-refresh:taken"] == "2026-01-03T04:00:00+00:00"


def test_a_copy_is_not_made_twice_though_a_newer_automated_snapshot_has_come(
    default: InMemoryAws,
) -> None:
    share(SETTINGS, default, SATURDAY)
    before = states(default)
    default.snapshots.settle()  # the third automated one, too
    answer = share(SETTINGS, default, SATURDAY)
    assert answer["clusters"][1] == entry("billing", "unchanged", snapshot=name("billing"))
    assert set(states(default)) == set(before)


def test_the_same_automated_snapshot_is_not_copied_again(default: InMemoryAws) -> None:
    default.snapshots.all = default.snapshots.all[:2]  # none has come since
    a_saturday(default, SATURDAY)
    sunday = SATURDAY + timedelta(hours=12)
    answer = share(SETTINGS, default, sunday)
    assert answer["clusters"][1] == entry("billing", "unchanged", snapshot=name("billing"))
    assert set(states(default)) == {name("orders"), name("orders", sunday), name("billing")}


def test_the_default_key_without_another_is_refused_and_stops_no_other_cluster(
    default: InMemoryAws,
) -> None:
    answer = share(KEYLESS, default, SATURDAY)
    message = (
        "billing is encrypted under this account's default key aws/rds, which no other account can "
        "use, and SHARE_KMS_KEY_ID is not set"
    )
    refused = {"outcome": "failed", "reason": "default-key", "message": message}
    assert answer == {
        **refused,
        "clusters": [
            entry("orders", "asked", snapshot=name("orders")),
            {"name": "billing", **refused},
        ],
    }
    assert set(states(default)) == {name("orders")}
    assert default.notifier.sent == [
        Notification(
            "aurora-refresh: SHARING FAILED: default-key (billing)",
            "What happened:\n"
            f"  db-share-snapshot: {message}.\n"
            "Cause:\n"
            f"  {CAUSE}\n"
            "What to do:\n"
            "  Set SHARE_KMS_KEY_ID to a customer-managed key that acceptance may use, and deploy.\n"
            "  Then run db-share-snapshot again: chalice invoke, with the event of its schedule.",
            {
                "function": "db-share-snapshot",
                "outcome": "failed",
                "reason": "default-key",
                "clusters": "billing",
            },
        )
    ]


def test_a_key_that_aws_manages_is_refused_for_a_copy_by_its_setting_and_value(
    default: InMemoryAws,
) -> None:
    answer = share(SETTINGS._replace(key="key/default"), default, SATURDAY)
    message = (
        "SHARE_KMS_KEY_ID is key/default, a key that AWS manages, so no other account could use a "
        "copy of billing under it"
    )
    refused = {"outcome": "failed", "reason": "default-key", "message": message}
    assert answer["clusters"] == [
        entry("orders", "asked", snapshot=name("orders")),
        {"name": "billing", **refused},
    ]
    assert set(states(default)) == {name("orders")}


def test_the_key_is_looked_at_only_where_a_copy_is_to_be_made(aws: InMemoryAws) -> None:
    answer = share(SETTINGS._replace(key="key/default"), aws, SATURDAY)
    assert answer["outcome"] == "asked"
    assert aws.calls.count("is_aws_managed") == 1  # of billing's own key


def no_cluster(aws: InMemoryAws) -> None:
    del aws.clusters.all["billing"]


def stopped(aws: InMemoryAws) -> None:
    aws.clusters.busy.add("billing")


def no_automated(aws: InMemoryAws) -> None:
    aws.clusters.all["billing"] = Cluster("billing", "key/default")


def old_automated(aws: InMemoryAws) -> None:
    no_automated(aws)
    taken = SATURDAY - timedelta(hours=37)
    aws.snapshots.all = [
        snapshot("rds:billing-1", own=True, cluster="billing", created=taken),
    ]


def full(aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot(f"n{each}", own=True) for each in range(MANUAL_SNAPSHOTS - 1)]


def denied(aws: InMemoryAws) -> None:
    no_automated(aws)
    aws.snapshots.all = [snapshot("rds:billing-1", own=True, cluster="billing")]
    aws.snapshots.denied.add("alias/shares")


def taken_name(aws: InMemoryAws) -> None:
    aws.snapshots.all = [snapshot(POLICY.name("billing", SATURDAY), own=True)]


@pytest.mark.parametrize(
    ("arrange", "reason"),
    [
        (no_cluster, "cluster-missing"),
        (stopped, "cluster-busy"),
        (no_automated, "no-automated-snapshot"),
        (old_automated, "automated-stale"),
        (full, "snapshot-quota"),
        (denied, "copy-key-denied"),
        (taken_name, "name-taken"),
    ],
)
def test_what_only_people_can_mend_is_refused_told_and_stops_no_other_cluster(
    aws: InMemoryAws, arrange: Callable[[InMemoryAws], None], reason: str
) -> None:
    arrange(aws)
    before = set(states(aws))
    answer = share(SETTINGS, aws, SATURDAY)
    assert (answer["outcome"], answer["reason"]) == ("failed", reason)
    assert [each["outcome"] for each in answer["clusters"]] == ["asked", "failed"]
    assert set(states(aws)) - before == {name("orders")}
    assert told(aws) == [f"aurora-refresh: SHARING FAILED: {reason} (billing)"]


@pytest.mark.parametrize("reason", ["copy-quota", "copy-key-denied", "snapshot-gone"])
def test_what_refuses_a_copy_is_told_with_what_to_do_here(
    default: InMemoryAws, reason: str
) -> None:
    def interrupt(when: str, operation: str) -> None:
        if operation == "copy":
            raise Refused(Reason(reason), "RDS refused to copy it")

    default.interrupt = interrupt
    assert share(SETTINGS, default, SATURDAY)["reason"] == reason
    (notice,) = default.notifier.sent
    assert Reason(reason).next_step in notice.body


def test_an_error_stops_no_other_cluster_and_hides_neither_error_nor_refusal(
    aws: InMemoryAws,
) -> None:
    settings = SETTINGS._replace(clusters=("orders", "gone", "pay", "billing"))
    aws.clusters.all["pay"] = Cluster("pay", None)
    take = aws.snapshots.take

    def fussy(cluster: str, *rest: Any) -> Any:
        if cluster in ("orders", "pay"):
            raise AwsError("CreateDBClusterSnapshot", cluster, "Throttling", "not now")
        return take(cluster, *rest)

    aws.snapshots.take = fussy  # type: ignore[method-assign]
    with pytest.raises(AwsError, match="CreateDBClusterSnapshot of orders failed"):
        share(settings, aws, SATURDAY)
    assert set(states(aws)) == {name("billing")}
    assert told(aws) == [
        "aurora-refresh: SHARING FAILED: cluster-missing (gone)",
        "aurora-refresh: SHARING FAILED: CreateDBClusterSnapshot Throttling (orders,pay)",
    ]
    body = aws.notifier.sent[1].body
    assert "CreateDBClusterSnapshot of pay failed: Throttling: not now." in body


# --- the poll -------------------------------------------------------------------------------------


def test_what_is_available_is_shared_and_what_is_under_way_waits(aws: InMemoryAws) -> None:
    """With acceptance as well, if somebody has shared it with another account."""
    share(SETTINGS, aws, SATURDAY)
    aws.snapshots.all = [
        each._replace(status="available") if each.cluster == "orders" else each
        for each in aws.snapshots.all
    ]
    aws.snapshots.share(POLICY.name("orders", SATURDAY), "333333333333")
    answer = follow_shares(SETTINGS, aws, SATURDAY + POLL)
    assert answer == {
        "outcome": "shared",
        "reason": None,
        "message": None,
        "clusters": [
            polled("orders", "shared", shared=[name("orders")]),
            polled("billing", "unchanged", under_way=[name("billing")]),
        ],
    }
    assert states(aws) == {
        name("orders"): ("available", {ACCEPTANCE, "333333333333"}),
        name("billing"): ("creating", set()),
    }


def test_what_is_shared_is_not_shared_again(aws: InMemoryAws) -> None:
    a_saturday(aws, SATURDAY)
    aws.calls.clear()
    answer = follow_shares(SETTINGS, aws, SATURDAY + 2 * POLL)
    assert answer == {
        "outcome": "unchanged",
        "reason": None,
        "message": None,
        "clusters": [polled("orders", "unchanged"), polled("billing", "unchanged")],
    }
    assert aws.calls == ["own", "shared_with", "shared_with"]


def test_the_oldest_goes_once_its_successor_is_shared(aws: InMemoryAws) -> None:
    weeks = [SATURDAY + week * WEEK for week in range(3)]
    a_saturday(aws, weeks[0])
    a_saturday(aws, weeks[1])
    assert len(states(aws)) == 4
    aws.time = weeks[2]
    share(SETTINGS, aws, weeks[2])
    follow_shares(SETTINGS, aws, weeks[2] + POLL)
    assert len(states(aws)) == 6, "its successor is not available yet"
    aws.snapshots.settle()
    answer = follow_shares(SETTINGS, aws, weeks[2] + 2 * POLL)
    assert [each["deleted"] for each in answer["clusters"]] == [
        [name("orders", weeks[0])],
        [name("billing", weeks[0])],
    ]
    assert states(aws) == {
        name(cluster, week): ("available", {ACCEPTANCE})
        for cluster in ("orders", "billing")
        for week in weeks[1:]
    }
    assert told(aws) == []


def test_an_oldest_one_that_somebody_has_unshared_goes_as_well(third: InMemoryAws) -> None:
    third.snapshots.unshare(POLICY.name("orders", SATURDAY), ACCEPTANCE)
    third.calls.clear()
    follow_shares(SETTINGS, third, SATURDAY + 2 * WEEK + POLL)
    assert third.calls.count("unshare") == 1
    assert name("orders") not in states(third)


def test_a_successor_that_cannot_be_shared_costs_no_older_one(third: InMemoryAws) -> None:
    before = states(third)
    refuse(third, "share", code="Throttling")
    with pytest.raises(AwsError, match="share of it failed"):
        follow_shares(SETTINGS, third, SATURDAY + 2 * WEEK + POLL)
    assert states(third) == before


def test_nothing_that_is_not_ours_is_shared_or_deleted(aws: InMemoryAws) -> None:
    tags = POLICY.tags(SATURDAY - 9 * WEEK)
    strangers = {
        "nightly": tags,  # the tags without the name
        f"aurora-refresh-share-{'0' * 32}": {},  # the name without the tags
        f"aurora-refresh-share-{'1' * 32}": tags | {"aurora-refresh:made-for": "333333333333"},
        f"aurora-refresh-copy-{'2' * 32}": tags,  # a copy of the refresh's own
    }
    aws.snapshots.all = [snapshot(each, own=True) for each in strangers]
    other = f"aurora-refresh-share-{'3' * 32}"  # of a cluster that this stage does not share
    aws.snapshots.all.append(snapshot(other, own=True, cluster="hr"))
    aws.snapshots.tags = {arn(each): found for each, found in (strangers | {other: tags}).items()}
    before = states(aws)
    for week in range(4):
        a_saturday(aws, SATURDAY + week * WEEK)
    after = states(aws)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 4


def test_what_is_taken_back_by_hand_is_shared_again_unless_it_is_deleted(aws: InMemoryAws) -> None:
    a_saturday(aws, SATURDAY)
    aws.snapshots.unshare(POLICY.name("orders", SATURDAY), ACCEPTANCE)
    aws.snapshots.delete(POLICY.name("billing", SATURDAY))
    answer = follow_shares(SETTINGS, aws, SATURDAY + 2 * POLL)
    assert answer["clusters"] == [
        polled("orders", "shared", shared=[name("orders")]),
        polled("billing", "unchanged"),
    ]
    assert states(aws) == {name("orders"): ("available", {ACCEPTANCE})}


def test_one_that_failed_is_told_of_once_deleted_and_can_be_asked_for_again(
    aws: InMemoryAws,
) -> None:
    share(SETTINGS, aws, SATURDAY)
    aws.snapshots.settle("failed")
    answer = follow_shares(SETTINGS, aws, SATURDAY + POLL)
    message = f"orders: RDS could not make {name('orders')}"
    assert answer["clusters"][0] == polled("orders", "failed", deleted=[name("orders")]) | {
        "reason": "share-failed",
        "message": message,
    }
    assert (answer["outcome"], answer["reason"], answer["message"]) == (
        "failed",
        "share-failed",
        message,
    )
    assert states(aws) == {}
    follow_shares(SETTINGS, aws, SATURDAY + 2 * POLL)
    assert told(aws) == ["aurora-refresh: SHARING FAILED: share-failed (orders,billing)"]
    assert share(SETTINGS, aws, SATURDAY)["outcome"] == "asked"


def failing_to_share_once(aws: InMemoryAws) -> None:
    """Let the first share fail, and no later one."""
    first = [AwsError("ModifyDBClusterSnapshotAttribute", "orders", "Throttling", "not now")]

    def interrupt(when: str, operation: str) -> None:
        if operation == "share" and first:
            raise first.pop()

    aws.interrupt = interrupt


def refusing_to_delete(aws: InMemoryAws, *arns: str) -> None:
    """RDS's model has only what is available deleted: it may refuse what failed."""
    delete = aws.snapshots.delete

    def fussy(identifier: str) -> None:
        if arn(identifier) in arns:
            state = "InvalidDBClusterSnapshotStateFault"
            raise AwsError("DeleteDBClusterSnapshot", identifier, state, "not available")
        delete(identifier)

    aws.snapshots.delete = fussy  # type: ignore[method-assign]


def failed_in(aws: InMemoryAws, cluster: str, scheduled: datetime) -> str:
    """One more snapshot of the cluster, which failed; its ARN."""
    identifier = POLICY.name(cluster, scheduled)
    aws.snapshots.all.append(snapshot(identifier, own=True, cluster=cluster, status="failed"))
    aws.snapshots.tags[arn(identifier)] = POLICY.tags(scheduled)
    return arn(identifier)


def test_one_that_cannot_be_deleted_keeps_no_other_from_going(third: InMemoryAws) -> None:
    aws, weeks = third, [SATURDAY + week * WEEK for week in range(4)]
    stuck = failed_in(aws, "orders", weeks[3])
    gone = failed_in(aws, "billing", weeks[3])
    oldest = name("orders", weeks[0])
    refusing_to_delete(aws, oldest, stuck)
    with pytest.raises(AwsError, match=r"^DeleteDBClusterSnapshot of ") as caught:
        follow_shares(SETTINGS, aws, weeks[2] + POLL)
    refused = [str(caught.value), *caught.value.__notes__]
    assert [line.split()[2] for line in refused] == [
        each.rpartition(":")[2] for each in (oldest, stuck)
    ]
    assert gone not in states(aws)
    assert states(aws) == {
        oldest: ("available", set()),
        stuck: ("failed", set()),
        **{
            name(cluster, week): ("available", {ACCEPTANCE})
            for cluster in ("orders", "billing")
            for week in weeks[1:3]
        },
    }
    assert told(aws) == ["aurora-refresh: SHARING FAILED: share-failed (orders,billing)"]


def test_one_cluster_s_error_is_not_hidden_by_what_cannot_be_deleted_of_another(
    aws: InMemoryAws,
) -> None:
    share(SETTINGS, aws, SATURDAY)
    aws.snapshots.settle()
    failed = [failed_in(aws, "billing", SATURDAY + week * WEEK) for week in (1, 2)]
    refusing_to_delete(aws, *failed)
    failing_to_share_once(aws)
    with pytest.raises(AwsError, match="ModifyDBClusterSnapshotAttribute of orders") as caught:
        follow_shares(SETTINGS, aws, SATURDAY + POLL)
    assert [note.split(":")[0] for note in caught.value.__notes__] == [
        f"DeleteDBClusterSnapshot of {each.rpartition(':')[2]} failed" for each in reversed(failed)
    ]


def test_people_are_told_before_anything_is_deleted_and_the_oldest_goes_once_unshared(
    aws: InMemoryAws,
) -> None:
    settings = SETTINGS._replace(clusters=("orders",))
    for week in range(2):
        a_saturday(aws, SATURDAY + week * WEEK, settings)
    share(settings, aws, SATURDAY + 2 * WEEK)
    aws.snapshots.settle()
    failed_in(aws, "orders", SATURDAY + 3 * WEEK)
    aws.calls.clear()
    follow_shares(settings, aws, SATURDAY + 2 * WEEK + POLL)
    assert aws.calls == [
        "own",
        *("shared_with", "share", "shared_with"),
        "_publish",
        *("shared_with", "unshare", "delete"),
        "delete",
    ]


# --- both ends ------------------------------------------------------------------------------------
