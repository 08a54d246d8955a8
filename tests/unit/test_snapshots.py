"""Which snapshot is the right one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.aws.rds import RdsSnapshots
from chalicelib.domain.snapshots import (
    Choice,
    Criteria,
    Rejection,
    Snapshot,
    SnapshotArn,
    choose,
    pin_rejection,
    rejection,
)
from tests.fakes import ACCEPTANCE, PRODUCTION, arn, snapshot

WANTED = Criteria(PRODUCTION, "aurora-postgresql", "15", "orders")
ANY_CLUSTER = WANTED._replace(cluster=None)
MIDNIGHT = datetime(2026, 1, 4, tzinfo=UTC)


def test_an_arn_is_read_by_its_parts() -> None:
    assert SnapshotArn.parse(arn("orders-1")) == SnapshotArn(
        arn("orders-1"), "eu-west-1", PRODUCTION, "orders-1"
    )


def test_an_automated_snapshots_arn_has_a_colon_in_its_name() -> None:
    assert SnapshotArn.parse(arn("rds:orders-2026-01-03-22-00")) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dummyvalue",
        "orders-1",
        arn("orders-1") + "\n",
        arn("orders 1"),
        arn("orders-1", "1111111111111"),
        arn("orders-1", "١١١١١١١١١١١١"),
        arn("orders-1").replace("cluster-snapshot", "snapshot"),
        arn("orders-1").replace(":rds:", ":ssm:"),
        f"x{arn('orders-1')}",
    ],
)
def test_any_other_text_is_no_cluster_snapshots_arn(text: str) -> None:
    assert SnapshotArn.parse(text) is None


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, None),
        (
            {"account": "111111111112"},
            Rejection("account", "account 111111111112, expected 111111111111"),
        ),
        ({"account": ""}, Rejection("account", "account , expected 111111111111")),
        ({"status": "creating"}, Rejection("status", "status creating, expected available")),
        (
            {"engine": "aurora-mysql"},
            Rejection("engine", "engine aurora-mysql, expected aurora-postgresql"),
        ),
        (
            {"engine_version": "16.1"},
            Rejection("version", "engine version 16.1, expected 15"),
        ),
        ({"cluster": "billing"}, Rejection("cluster", "cluster billing, expected orders")),
        ({"created": None}, Rejection("no-create-time", "no creation time yet")),
    ],
)
def test_a_snapshot_is_rejected_for_the_rule_it_breaks(
    facts: dict[str, str], expected: Rejection | None
) -> None:
    assert rejection(snapshot(**facts), WANTED) == expected


def test_only_the_first_broken_rule_is_reported() -> None:
    """Break the rules one by one from the last to the first: each hides those after it."""
    reasons = []
    broken = snapshot()
    for change in (
        {"created": None},
        {"cluster": "billing"},
        {"engine_version": "16.1"},
        {"engine": "docdb"},
        {"status": "copying"},
        {"account": "999999999999"},
    ):
        broken = broken._replace(**change)
        found = rejection(broken, WANTED)
        reasons.append(found.reason if found else None)
    assert reasons == ["no-create-time", "cluster", "version", "engine", "status", "account"]


@pytest.mark.parametrize(
    ("version", "wanted", "matches"),
    [
        ("15.4", "15", True),
        ("15.4", "15.4", True),
        ("15.40", "15.4", False),
        ("150.1", "15", False),
        ("15", "15.4", False),
        ("8.0.mysql_aurora.3.04.0", "8.0.mysql_aurora.3", True),
        ("8.0.mysql_aurora.3.04.0", "8.0.mysql_aurora.3.0", False),
        ("16.6", "16", True),
        ("16.6-limitless", "16", False),
        ("16.6-limitless", "16.6", False),
        ("16.6-limitless", "16.6-limitless", True),
        ("10.serverless_7", "10", True),
        ("10.serverless_7", "10.serverless_7", True),
        ("10.serverless_7", "10.7", False),
        ("10.7", "10.serverless_7", False),
        ("5.7.mysql_aurora.2.11.2", "5.7", True),
        ("", "15", False),
    ],
)
def test_versions_match_by_whole_dotted_parts(version: str, wanted: str, matches: bool) -> None:
    found = rejection(snapshot(engine_version=version), WANTED._replace(engine_version=wanted))
    assert (found is None) == matches


def test_an_own_snapshot_may_be_pinned_whatever_its_cluster() -> None:
    own = snapshot("before-the-test", ACCEPTANCE, cluster="acceptance-orders")
    assert pin_rejection(own, WANTED) is None
    assert rejection(own, WANTED) is not None


def test_an_own_snapshot_of_another_engine_may_not_be_pinned() -> None:
    own = snapshot("before-the-test", ACCEPTANCE, engine="docdb")
    assert pin_rejection(own, WANTED) == Rejection(
        "engine", "engine docdb, expected aurora-postgresql"
    )


def test_a_strangers_share_may_not_be_pinned() -> None:
    strange = snapshot("orders-1", "999999999999")
    assert pin_rejection(strange, WANTED) == Rejection(
        "account", "account 999999999999, expected 111111111111"
    )


def test_the_newest_eligible_snapshot_is_chosen_and_the_others_are_counted() -> None:
    newest = snapshot("newest", created=MIDNIGHT)
    listing = [
        snapshot("older", created=MIDNIGHT - timedelta(days=1)),
        newest,
        snapshot("later-but-wrong", created=MIDNIGHT + timedelta(days=1), engine="docdb"),
        snapshot("strange", "999999999999", created=MIDNIGHT + timedelta(days=2)),
        snapshot("strange-2", "999999999999", created=MIDNIGHT + timedelta(days=2)),
    ]
    assert choose(listing, [WANTED]) == (
        Choice(newest, frozenset({"orders"}), {"engine": 1, "account": 2}),
    )


def test_snapshots_of_several_clusters_are_ambiguous_without_a_source_cluster() -> None:
    listing = [snapshot("orders-1"), snapshot("billing-1", cluster="billing")]
    (open_choice,) = choose(listing, [ANY_CLUSTER])
    (closed_choice,) = choose(listing, [WANTED])
    assert open_choice.ambiguous
    assert not closed_choice.ambiguous


# --- any listing ----------------------------------------------------------------------------------

# Facts that break a rule.
BREAKING: dict[str, list[Any]] = {
    "account": ["111111111112", "011111111111", "11111111111", ""],
    "status": ["creating", "copying"],
    "engine": ["aurora-postgresq", "docdb"],
    "engine_version": ["15", "15.40", "150.1", "5.15", "15.4-limitless"],
    "cluster": ["order", "orders2"],
    "created": [None],
}


@st.composite
def shares(draw: st.DrawFn) -> Snapshot:
    """An eligible snapshot, of which sometimes one fact, and sometimes two, are broken."""
    facts = {
        "engine_version": draw(st.sampled_from(["15.4", "15.4.1"])),
        "created": MIDNIGHT + timedelta(days=draw(st.integers(0, 1))),
    }
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2]))):
        fact = draw(st.sampled_from(sorted(BREAKING)))
        facts[fact] = draw(st.sampled_from(BREAKING[fact]))
    return snapshot(draw(st.sampled_from(["a", "b", "B", "orders-1", "orders-10", "zz"])), **facts)


LISTINGS = st.lists(shares(), max_size=10)
WANTEDS = st.builds(
    Criteria,
    account=st.just(PRODUCTION),
    engine=st.just("aurora-postgresql"),
    engine_version=st.sampled_from(["15", "15.4"]),
    cluster=st.sampled_from([None, "orders"]),
)


def eligible_by_the_letter(each: Snapshot, wanted: Criteria) -> bool:
    """The rules again, in other words."""
    parts = wanted.engine_version.split(".")
    return (
        each.arn.split(":")[4] == wanted.account
        and each.status == "available"
        and each.engine == wanted.engine
        and each.engine_version.split(".")[: len(parts)] == parts
        and ("-" not in each.engine_version or each.engine_version == wanted.engine_version)
        and wanted.cluster in (None, each.cluster)
        and each.created is not None
    )


def test_the_newest_eligible_snapshots_drawn_here_are_often_tied() -> None:
    """Otherwise the properties below would say little about ties."""
    ties = []

    @settings(max_examples=200, derandomize=True, database=None)
    @given(LISTINGS, WANTEDS)
    def draw(listing: list[Snapshot], wanted: Criteria) -> None:
        eligible = {each for each in listing if eligible_by_the_letter(each, wanted)}
        newest = max((each.created for each in eligible if each.created), default=None)
        ties.append(len({each.arn for each in eligible if each.created == newest}) > 1)

    draw()
    assert sum(ties) > len(ties) / 4


@given(LISTINGS, WANTEDS)
def test_the_choice_is_the_greatest_of_the_eligible(
    listing: list[Snapshot], wanted: Criteria
) -> None:
    eligible = [each for each in listing if eligible_by_the_letter(each, wanted)]
    (choice,) = choose(listing, [wanted])
    expected = max(eligible, key=lambda each: (each.created, each.arn), default=None)
    assert (choice.newest and choice.newest.arn) == (expected and expected.arn)
    assert choice.clusters == {each.cluster for each in eligible}
    assert sum(choice.rejected.values()) == len(listing) - len(eligible)


@given(st.lists(shares(), unique_by=lambda each: each.arn), WANTEDS, st.randoms())
def test_the_order_of_the_listing_never_decides(
    listing: list[Snapshot], wanted: Criteria, random: Random
) -> None:
    shuffled = list(listing)
    random.shuffle(shuffled)
    assert choose(shuffled, [wanted]) == choose(listing, [wanted])


@given(LISTINGS, WANTEDS, WANTEDS)
def test_databases_do_not_disturb_each_other(
    listing: list[Snapshot], one: Criteria, other: Criteria
) -> None:
    assert choose(listing, [one, other]) == choose(listing, [one]) + choose(listing, [other])


# --- any paging -----------------------------------------------------------------------------------


class Pages:
    """An RDS client of which only the paginator of DescribeDBClusterSnapshots is there."""

    def __init__(self, pages: list[list[Snapshot]]) -> None:
        self.pages = pages

    def get_paginator(self, operation: str) -> "Pages":
        assert operation == "describe_db_cluster_snapshots"
        return self

    def paginate(self, SnapshotType: str, **options: Any) -> Iterator[dict[str, Any]]:  # noqa: N803
        assert SnapshotType == "shared"
        for page in self.pages:
            yield {"DBClusterSnapshots": [described(each) for each in page]}


def described(each: Snapshot) -> dict[str, Any]:
    """The snapshot as DescribeDBClusterSnapshots answers; what is not known is left out."""
    answer = {
        "DBClusterSnapshotIdentifier": each.arn,
        "DBClusterSnapshotArn": each.arn,
        "DBClusterIdentifier": each.cluster,
        "Engine": each.engine,
        "EngineVersion": each.engine_version,
        "Status": each.status,
        "SnapshotCreateTime": each.created,
        "SnapshotType": "shared",
        "StorageEncrypted": True,
    }
    return {name: value for name, value in answer.items() if value is not None}


@given(LISTINGS, st.lists(st.integers(0, 10), max_size=5), WANTEDS)
def test_the_pages_of_the_listing_never_decide(
    listing: list[Snapshot], cuts: list[int], wanted: Criteria
) -> None:
    ends = sorted(cuts)
    pages = [listing[start:end] for start, end in zip([0, *ends], [*ends, None], strict=True)]
    client: Any = Pages(pages)
    assert choose(RdsSnapshots(client).shared(), [wanted]) == choose(listing, [wanted])
