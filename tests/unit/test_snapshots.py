"""Which snapshot is the right one."""

from collections import Counter
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.snapshots import (
    Choice,
    Criteria,
    Rejection,
    Snapshot,
    SnapshotArn,
    choose,
    pin_rejection,
    rejection,
    version_matches,
)
from tests.fakes import ACCEPTANCE, PRODUCTION, arn, snapshot

WANTED = Criteria(PRODUCTION, "aurora-postgresql", "15", "orders")
MIDNIGHT = datetime(2026, 1, 4, tzinfo=UTC)


def test_any_other_text_is_no_cluster_snapshots_arn() -> None:
    wrong = ["", "orders-1", arn("orders-1\n"), arn("orders 1"), f"x{arn('orders-1')}"]
    wrong += [arn("orders-1", "1111111111111"), arn("orders-1", "١١١١١١١١١١١١")]
    wrong += [arn("orders-1").replace(*each) for each in (("cluster-", ""), (":rds:", ":ssm:"))]
    assert [text for text in wrong if SnapshotArn.parse(text)] == []


def test_only_the_first_broken_rule_is_reported() -> None:
    """Break the rules one by one from the last to the first: each hides those after it."""
    broken = snapshot()
    assert rejection(broken, WANTED) is None
    for change, reason, detail in (
        ({"created": None}, "no-create-time", "no creation time yet"),
        ({"cluster": "billing"}, "cluster", "cluster billing, expected orders"),
        ({"engine_version": "16.1"}, "version", "engine version 16.1, expected 15"),
        ({"engine": "docdb"}, "engine", "engine docdb, expected aurora-postgresql"),
        ({"status": "copying"}, "status", "status copying, expected available"),
        ({"account": ""}, "account", "account , expected 111111111111"),
    ):
        broken = broken._replace(**change)
        assert rejection(broken, WANTED) == Rejection(reason, detail)


def test_versions_match_by_whole_dotted_parts() -> None:
    assert version_matches("15.4", "15")
    assert version_matches("15.4", "15.4")
    assert version_matches("16.6-limitless", "16.6-limitless")
    assert not version_matches("15.40", "15.4")
    assert not version_matches("15", "15.4")
    assert not version_matches("16.6-limitless", "16.6")


def test_an_own_snapshot_may_be_pinned_whatever_its_cluster_but_no_strangers_share() -> None:
    own = snapshot("before-the-test", ACCEPTANCE, cluster="acceptance-orders")
    assert rejection(own, WANTED) is not None
    assert pin_rejection(own, WANTED) is None
    expected = Rejection("engine", "engine docdb, expected aurora-postgresql")
    assert pin_rejection(own._replace(engine="docdb"), WANTED) == expected
    stranger = Rejection("account", "account 999999999999, expected 111111111111")
    assert pin_rejection(snapshot("orders-1", "999999999999"), WANTED) == stranger


# --- any listing ----------------------------------------------------------------------------------

ELIGIBLE = [
    snapshot(name, created=MIDNIGHT + timedelta(days=day))
    for name in ("a", "B", "orders-1", "orders-10")
    for day in (0, 1)
]
BROKEN = [
    snapshot("zz", created=MIDNIGHT + timedelta(days=2), account="999999999999"),
    snapshot("zz", created=MIDNIGHT + timedelta(days=2), status="copying"),
    snapshot("zz", created=MIDNIGHT + timedelta(days=2), engine_version="16.1"),
    snapshot("zz", created=None),
]


@given(st.lists(st.sampled_from(ELIGIBLE + BROKEN)))
def test_the_newest_eligible_snapshot_is_chosen_in_any_listing(listing: list[Snapshot]) -> None:
    """A tie goes to the greater ARN, whatever the order."""
    eligible = [each for each in listing if each in ELIGIBLE]
    newest = max(eligible, key=lambda each: (each.created, each.arn), default=None)
    rejections = [rejection(each, WANTED) for each in listing]
    rejected = Counter(each.reason for each in rejections if each)
    choice = Choice(newest, {each.cluster for each in eligible}, rejected)
    other = WANTED._replace(engine_version="16")
    assert choose(listing, [WANTED, other]) == (choice, *choose(listing, [other]))
