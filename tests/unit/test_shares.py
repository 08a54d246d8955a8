"""Which of production's snapshots are managed, and which automated one is copied.

Which are expired is decided as with copies: see test_copies.py.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import Refused
from chalicelib.domain.ownership import MADE_FOR
from chalicelib.domain.shares import SharePolicy, managed_shares, newest_automated
from chalicelib.domain.snapshots import Snapshot
from tests.fakes import ACCEPTANCE, arn, snapshot

SATURDAY = datetime(2026, 1, 3, 22, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TOKYO = timezone(timedelta(hours=9))
POLICY = SharePolicy("production", ACCEPTANCE, "alias/shares", 3)
OTHER = POLICY._replace(account="333333333333")
DAILY = POLICY._replace(stage="daily")


def own(
    week: int = 0,
    status: str = "available",
    *,
    made: SharePolicy = POLICY,
    tags: Mapping[str, str] | None = None,
    **facts: Any,
) -> Snapshot:
    """What was asked for in that week, as RDS lists it."""
    scheduled = SATURDAY + timedelta(weeks=week)
    name = made.name(facts.get("cluster", "orders"), scheduled)
    taken = snapshot(name, **{"own": True, "status": status, "created": scheduled, **facts})
    return taken._replace(tags={**made.tags, **(tags or {})}, progress=100)


def shares(*made: Snapshot) -> list[Snapshot]:
    return managed_shares(made, "orders", POLICY)


def test_one_schedule_of_one_cluster_has_one_name() -> None:
    name = "aurora-refresh-share-3096b7975ec5720b3cdd488cac90c405"
    assert POLICY.name("orders", SATURDAY) == name
    names = {policy.name("orders", SATURDAY) for policy in (POLICY, OTHER, DAILY)}
    names |= {POLICY.name("billing", SATURDAY), POLICY.name("orders", SATURDAY + MINUTE)}
    assert len(names) == 5


# --- which are managed ----------------------------------------------------------------------------


@given(st.permutations([1, 2, 3, 4]))
def test_the_newest_comes_first(order: list[int]) -> None:
    made = {n: own(n) for n in order} | {4: own(4, "creating", created=None)}
    assert shares(*(made[n] for n in order)) == [made[n] for n in (4, 3, 2, 1)]


def test_neither_the_name_nor_the_tags_alone_make_a_snapshot_managed() -> None:
    of_others = [own(made=OTHER), own(made=DAILY), own(cluster="billing")]
    by_first_edition = own(tags={MADE_FOR: ACCEPTANCE})
    assert shares(*of_others, by_first_edition, own(arn=arn("nightly"))) == []
    assert shares(own()._replace(tags={})) == []


def test_an_automated_snapshot_of_a_day_and_a_half_is_copied_and_no_older_one() -> None:
    newest = snapshot("rds:orders-2", created=(SATURDAY - timedelta(hours=36)).astimezone(TOKYO))
    found = [snapshot("rds:orders-1", created=SATURDAY - timedelta(hours=60)), newest]
    assert newest_automated("orders", found, SATURDAY) == newest
    with pytest.raises(Refused) as caught:
        newest_automated("orders", found, SATURDAY + timedelta(seconds=1))
    assert caught.value.reason == "automated-stale"
    assert str(caught.value).startswith(
        f"the newest automated snapshot of orders, {newest.arn}, was taken at 2026-01-02 10:00 UTC, "
        "more than 36 hours ago"
    )
