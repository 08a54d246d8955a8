"""Which of production's snapshots are managed, shared and expired."""

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import Refused
from chalicelib.domain.ownership import MADE_FOR, TAKEN, Owned
from chalicelib.domain.shares import (
    PREFIX,
    SharePolicy,
    find_by_data,
    kept_and_expired,
    managed_shares,
    newest_automated,
)
from chalicelib.domain.snapshots import OwnSnapshot
from tests.fakes import ACCEPTANCE, PRODUCTION, arn, snapshot

SATURDAY = datetime(2026, 1, 3, 22, tzinfo=UTC)
POLICY = SharePolicy("production", ACCEPTANCE, "alias/shares", 3)
OTHER = POLICY._replace(account="333333333333")
DAILY = POLICY._replace(stage="daily")

# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBClusterSnapshot.html
AWS_NAME = re.compile("[A-Za-z](-?[A-Za-z0-9])*")


def own(
    week: int = 0, status: str = "available", *, made: SharePolicy = POLICY, **facts: Any
) -> OwnSnapshot:
    """What was asked for in that week, as RDS lists it: dated by its own making."""
    scheduled = SATURDAY + timedelta(weeks=week)
    cluster = facts.get("cluster", "orders")
    taken = snapshot(
        made.name(cluster, scheduled),
        **{"own": True, "status": status, "created": SATURDAY + timedelta(weeks=99), **facts},
    )
    return OwnSnapshot(taken, made.tags(scheduled), 100)


def shares(*made: OwnSnapshot) -> list[Owned]:
    return managed_shares(made, "orders", POLICY)


def weeks(found: list[Owned]) -> list[int]:
    return [(share.taken - SATURDAY).days // 7 for share in found]


# --- names ----------------------------------------------------------------------------------------


@given(
    st.from_regex("[a-z](-?[a-z0-9]){0,62}", fullmatch=True),
    st.datetimes(timezones=st.just(UTC)),
)
def test_a_name_is_as_rds_takes_it(cluster: str, scheduled: datetime) -> None:
    name = POLICY.name(cluster, scheduled)
    assert AWS_NAME.fullmatch(name)
    assert len(name) <= 63
    assert name.startswith(PREFIX)


def test_one_schedule_of_one_cluster_has_one_name_in_any_zone() -> None:
    elsewhere = SATURDAY.astimezone(timezone(timedelta(hours=9)))
    assert POLICY.name("orders", elsewhere) == POLICY.name("orders", SATURDAY)


def test_another_cluster_time_account_or_stage_has_another_name() -> None:
    names = {
        POLICY.name("orders", SATURDAY),
        POLICY.name("billing", SATURDAY),
        POLICY.name("orders", SATURDAY + timedelta(minutes=1)),
        OTHER.name("orders", SATURDAY),
        DAILY.name("orders", SATURDAY),
    }
    assert len(names) == 5


# --- which are managed----------------------------------------------------------------------------


def test_managed_shares_are_newest_first_and_dated_by_their_data() -> None:
    found = shares(own(1), own(3, "creating"), own(2, "failed"))
    assert found == [
        Owned(
            each.snapshot,
            POLICY.name("orders", SATURDAY + timedelta(weeks=week)),
            SATURDAY + timedelta(weeks=week),
        )
        for week, each in ((3, own(3, "creating")), (2, own(2, "failed")), (1, own(1)))
    ]


@pytest.mark.parametrize("later", [0, 1])
def test_of_two_with_the_same_data_the_one_made_later_is_the_newer(later: int) -> None:
    made = [SATURDAY + timedelta(weeks=99 + (each == later)) for each in (0, 1)]
    one, two = own(1, created=made[0]), own(2, created=made[1])
    both = [one, two._replace(tags=one.tags)]
    expected = [both[later].snapshot, both[1 - later].snapshot]
    assert [share.snapshot for share in shares(*both)] == expected
    assert [share.snapshot for share in shares(*reversed(both))] == expected


def test_one_without_a_creation_time_is_dated_by_its_data() -> None:
    assert weeks(shares(own(1), own(2, "creating", created=None))) == [2, 1]


@pytest.mark.parametrize(
    ("status", "found"), [("available", True), ("copying", True), ("failed", False)]
)
def test_the_same_data_is_found_unless_its_snapshot_failed(status: str, *, found: bool) -> None:
    made = shares(own(1, status), own(2))
    same = find_by_data(SATURDAY + timedelta(weeks=1), made)
    assert same == (made[1] if found else None)
    assert find_by_data(SATURDAY, made) is None


def test_a_tie_goes_to_the_greater_name_in_any_order() -> None:
    one, two = own(1), own(2)
    two = two._replace(tags=one.tags)
    assert shares(one, two) == shares(two, one)
    names = [share.identifier for share in shares(one, two)]
    assert names == sorted(names, reverse=True)
    assert len(names) == 2


def renamed(name: str) -> OwnSnapshot:
    return own()._replace(snapshot=own().snapshot._replace(arn=arn(name)))


@pytest.mark.parametrize(
    "stranger",
    [
        own(made=OTHER),
        own(made=DAILY),
        own(cluster="billing"),
        renamed("nightly"),
        renamed(f"x-{PREFIX}1"),
        renamed(PREFIX.upper() + "1"),
        own()._replace(snapshot=own().snapshot._replace(arn="no ARN")),
        own()._replace(tags={}),
        own()._replace(tags={MADE_FOR: POLICY.made_for}),
        own()._replace(tags=own().tags | {MADE_FOR: ACCEPTANCE}),  # by the first edition
        own()._replace(tags={TAKEN: SATURDAY.isoformat()}),
        own()._replace(tags=own().tags | {MADE_FOR: PRODUCTION}),
        own()._replace(tags=own().tags | {TAKEN: "last week"}),
        own()._replace(tags=own().tags | {TAKEN: "2026-01-03T22:00:00"}),
    ],
)
def test_neither_the_name_nor_the_tags_alone_make_a_snapshot_managed(stranger: OwnSnapshot) -> None:
    assert shares(stranger) == []


# --- which are shared, and which expire -----------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20),
            st.sampled_from(["available", "creating", "copying", "failed", "deleting"]),
        ),
        unique_by=lambda each: each[0],
    ),
    st.integers(1, 5),
    st.randoms(),
)
def test_the_newest_available_ones_are_shared_and_the_others_expire(
    states: list[tuple[int, str]], keep: int, order: Any
) -> None:
    order.shuffle(states)
    found = shares(*(own(week, status) for week, status in states))
    policy = POLICY._replace(keep=keep)
    available = sorted((week for week, status in states if status == "available"), reverse=True)
    to_share, expired = kept_and_expired(found, policy)
    assert weeks(to_share) == available[:keep]
    assert weeks(expired) == available[keep:]


# --- the default key ------------------------------------------------------------------------------


def test_an_automated_snapshot_of_a_day_and_a_half_is_copied_and_no_older_one() -> None:
    tokyo = timezone(timedelta(hours=9))
    newest = snapshot("rds:orders-2", created=(SATURDAY - timedelta(hours=36)).astimezone(tokyo))
    found = [snapshot("rds:orders-1", created=SATURDAY - timedelta(hours=60)), newest]
    assert newest_automated("orders", found, SATURDAY) == newest
    with pytest.raises(Refused) as caught:
        newest_automated("orders", found, SATURDAY + timedelta(seconds=1))
    assert caught.value.reason == "automated-stale"
    assert str(caught.value) == (
        f"the newest automated snapshot of orders, {newest.arn}, is from 2026-01-02 10:00 UTC, "
        "more than 36 hours ago: acceptance would take its copy for newer data"
    )
