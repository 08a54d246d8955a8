"""Copies under acceptance's own key: which are managed, which is the newest, which are expired."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.copies import (
    PREFIX,
    SOURCE,
    Copy,
    CopyPolicy,
    copy_rejection,
    expired,
    managed_copies,
    needs_copy,
    newest_copy,
    pending_copy,
)
from chalicelib.domain.ownership import MADE_FOR, TAKEN
from chalicelib.domain.snapshots import Criteria, OwnSnapshot, Rejection, SnapshotArn
from tests.fakes import ACCEPTANCE, PRODUCTION, arn, snapshot

MIDNIGHT = datetime(2026, 1, 4, tzinfo=UTC)
WANTED = Criteria(PRODUCTION, "aurora-postgresql", "15")
POLICY = CopyPolicy(WANTED, "alias/acceptance", 3, "/acceptance/rds/latest-snapshot")
OLD_KEY = POLICY._replace(key="alias/old")

# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html
AWS_NAME = re.compile("[A-Za-z](-?[A-Za-z0-9])*")


def own(
    night: int = 1,
    status: str = "available",
    *,
    made: CopyPolicy = POLICY,
    source: str | None = None,
    progress: int = 100,
    **facts: Any,
) -> OwnSnapshot:
    """A copy of the share of that night, as RDS lists it: dated by its own making."""
    share = snapshot(f"orders-{night}", created=MIDNIGHT + timedelta(days=night))
    share = share._replace(arn=source or share.arn)
    copied = snapshot(
        made.name_for(share),
        ACCEPTANCE,
        **{"status": status, "created": MIDNIGHT + timedelta(days=100), **facts},
    )
    return OwnSnapshot(copied, made.tags(share), progress, share.arn)


def name_of(share: str, made: CopyPolicy = POLICY) -> str:
    """The name of the copy of the share of a night, ``orders-1`` or another."""
    night = int(share.removeprefix("orders-"))
    return made.name(arn(share), MIDNIGHT + timedelta(days=night))


def copies(*made: OwnSnapshot) -> list[Copy]:
    return managed_copies(made, POLICY)


def nights(found: list[Copy]) -> list[str]:
    return [copy.source.identifier for copy in found]


# --- the name -------------------------------------------------------------------------------------

ARNS = st.one_of(
    st.from_regex(
        r"arn:aws[a-z-]{0,10}:rds:[a-z0-9-]{1,20}:[0-9]{12}:cluster-snapshot:"
        r"[A-Za-z][A-Za-z0-9:-]{0,80}",
        fullmatch=True,
    ),
    st.text(),
)


@given(source=ARNS, made_for=st.text(), key=st.text())
def test_every_name_is_one_that_rds_accepts(source: str, made_for: str, key: str) -> None:
    name = CopyPolicy(WANTED, key, 3, made_for).name(source, MIDNIGHT)
    assert len(name) <= 63
    assert AWS_NAME.fullmatch(name)
    assert name == name.lower()  # as RDS stores it: what is asked for is found again
    assert name.startswith(PREFIX)


def test_a_name_is_the_same_in_every_process() -> None:
    """So that a retry, or a poll on another day, finds the copy."""
    name = POLICY.name("arn:aws:rds:eu-west-1:111111111111:cluster-snapshot:orders-1", MIDNIGHT)
    assert name == "aurora-refresh-copy-7d5e91c2f7f87765fcfbca1aa8905501"
    elsewhere = MIDNIGHT.astimezone(timezone(timedelta(hours=9)))
    assert POLICY.name(arn("orders-1"), elsewhere) == name


@given(sources=st.lists(ARNS, min_size=2, max_size=2, unique=True))
def test_two_sources_have_two_names(sources: list[str]) -> None:
    assert POLICY.name(sources[0], MIDNIGHT) != POLICY.name(sources[1], MIDNIGHT)


def test_a_new_snapshot_of_the_same_name_is_copied_to_another_name() -> None:
    """Otherwise a snapshot that production always shares under one name would be copied only once."""
    later = MIDNIGHT + timedelta(weeks=2)
    assert POLICY.name(arn("orders"), MIDNIGHT) != POLICY.name(arn("orders"), later)


@pytest.mark.parametrize(
    "other",
    [
        POLICY._replace(key="alias/acceptance2"),
        POLICY._replace(made_for="/acceptance/docs/latest"),
        # The parts of a name are separated.
        POLICY._replace(made_for=f"{POLICY.made_for}\nalias", key="acceptance"),
    ],
)
def test_another_key_or_database_has_another_name(other: CopyPolicy) -> None:
    assert name_of("orders-1", other) != name_of("orders-1")


def test_the_number_to_keep_and_the_criteria_change_no_name() -> None:
    """Otherwise every change of the stage would copy everything again."""
    other = POLICY._replace(keep=1, criteria=WANTED._replace(engine_version="16"))
    assert name_of("orders-1", other) == name_of("orders-1")


# --- which are managed -------------------------------------------------------------------------------


def test_a_copy_is_read_from_its_tags() -> None:
    (copy,) = copies(own(1, "copying", progress=40))
    identifier = name_of("orders-1")
    source = SnapshotArn.parse(arn("orders-1"))
    assert source is not None
    assert copy == Copy(
        snapshot=snapshot(
            identifier, ACCEPTANCE, status="copying", created=MIDNIGHT + timedelta(days=1)
        ),
        identifier=identifier,
        source=source,
        progress=40,
    )


def test_the_tags_are_ones_that_rds_accepts() -> None:
    share = snapshot("orders-1", created=MIDNIGHT)
    assert POLICY.tags(share) == {
        "aurora-refresh:made-for": "/acceptance/rds/latest-snapshot",
        "aurora-refresh:source": arn("orders-1"),
        "aurora-refresh:taken": "2026-01-04T00:00:00+00:00",
    }
    for text in (text for tag in POLICY.tags(share).items() for text in tag):
        assert re.fullmatch(r"[\w\s.:/=+@-]{1,256}", text)  # API_Tag.html


@given(created=st.builds(datetime.fromtimestamp, st.integers(0, 4 * 10**9), st.timezones()))
def test_the_time_of_the_data_survives_its_tag(created: datetime) -> None:
    tags = POLICY.tags(snapshot("orders-1", created=created))
    (copy,) = copies(own(1, created=None)._replace(tags=tags))
    # Python compares two times of one zone by their local clock, which is set back once a year.
    assert copy.snapshot.created is not None
    assert copy.snapshot.created.timestamp() == created.timestamp()


def without(tag: str) -> Callable[[OwnSnapshot], OwnSnapshot]:
    return lambda each: each._replace(
        tags={name: value for name, value in each.tags.items() if name != tag}
    )


def tagged(tag: str, value: str) -> Callable[[OwnSnapshot], OwnSnapshot]:
    return lambda each: each._replace(tags={**each.tags, tag: value})


def named(name: str) -> Callable[[OwnSnapshot], OwnSnapshot]:
    return lambda each: each._replace(
        snapshot=each.snapshot._replace(arn=arn(name, ACCEPTANCE), status="available")
    )


@pytest.mark.parametrize(
    "changed",
    [
        lambda each: each._replace(tags={}),
        without(MADE_FOR),
        without(SOURCE),
        without(TAKEN),
        named("before-the-upgrade"),
        named("x-" + name_of("orders-1")),
        named("aurora-refresh-copies-1"),
        lambda each: each._replace(snapshot=each.snapshot._replace(arn="no ARN")),
        tagged(MADE_FOR, "/acceptance/docs/latest"),
        tagged(MADE_FOR, POLICY.made_for.upper()),
        tagged(SOURCE, "orders-1"),
        tagged(SOURCE, "arn:aws:rds:eu-west-1:111111111111:snapshot:orders-1"),
        tagged(TAKEN, "yesterday"),
        tagged(TAKEN, ""),
        tagged(TAKEN, "2026-01-04"),
        tagged(TAKEN, "2026-01-04T00:00:00"),
        tagged(TAKEN, (MIDNIGHT + timedelta(days=100, seconds=1)).isoformat()),
        lambda each: each._replace(source=arn("orders-1", "999999999999")),
    ],
    ids=[
        "the name alone",
        "no made-for",
        "no source",
        "no time",
        "the tags alone",
        "a name that ends as a copy's",
        "a name that begins nearly as a copy's",
        "no ARN",
        "another database's",
        "another parameter's: their names know case",
        "a source without an account",
        "an instance's snapshot",
        "an unreadable time",
        "an empty time",
        "a day",
        "a time of no zone",
        "data newer than its copy",
        "a copy of another snapshot, as RDS says",
    ],
)
def test_a_copy_that_lacks_anything_is_not_managed(
    changed: Callable[[OwnSnapshot], OwnSnapshot],
) -> None:
    assert copies(own(1)) != []
    assert copies(changed(own(1))) == []


def test_the_tag_names_the_source_if_rds_does_not() -> None:
    assert copies(own(1)._replace(source=None)) == copies(own(1))


def test_a_copy_under_an_old_key_is_still_managed() -> None:
    """Otherwise nobody would ever delete it."""
    assert nights(copies(own(1, made=OLD_KEY))) == ["orders-1"]


@given(st.permutations(range(1, 7)))
def test_managed_copies_are_newest_data_first_in_any_listing(order: list[int]) -> None:
    found = copies(*(own(night) for night in order))
    assert nights(found) == [f"orders-{night}" for night in range(6, 0, -1)]


@given(st.permutations("bca"))
def test_a_tie_goes_to_the_greater_source(order: list[str]) -> None:
    """As with shares: otherwise the copy of the chosen share would never become latest."""
    found = copies(*(own(1, source=arn(name)) for name in order))
    assert nights(found) == ["c", "b", "a"]


# --- which is eligible ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "reason", "detail"),
    [
        (own(1), None, None),
        (own(1, made=OLD_KEY), "key", "a copy under another key than alias/acceptance"),
        (
            own(1, source=arn("orders-1", "999999999999")),
            "account",
            "account 999999999999, expected 111111111111",
        ),
        (
            own(1, source=arn("orders-1", ACCEPTANCE)),
            "account",
            "account 222222222222, expected 111111111111",
        ),
        (own(1, "copying"), "status", "status copying, expected available"),
        (own(1, "failed"), "status", "status failed, expected available"),
        (own(1, engine="docdb"), "engine", "engine docdb, expected aurora-postgresql"),
        (own(1, engine_version="150.1"), "version", "engine version 150.1, expected 15"),
    ],
)
def test_a_copy_is_rejected_by_the_rules_of_a_share_and_for_its_key(
    made: OwnSnapshot, reason: str | None, detail: str | None
) -> None:
    (copy,) = copies(made)
    expected = None if reason is None or detail is None else Rejection(reason, detail)
    assert copy_rejection(copy, POLICY) == expected
    assert newest_copy([copy], POLICY) == (None if reason else copy.snapshot)


def test_a_renamed_copy_is_rejected() -> None:
    """Its tags may have been copied with it, so its key is unknown."""
    (copy,) = copies(named(f"{PREFIX}mine")(own(1)))
    broken = copy_rejection(copy, POLICY)
    assert broken is not None
    assert broken.reason == "key"


@pytest.mark.parametrize(
    ("made", "newest", "pending"),
    [
        ((), None, None),
        ((own(1),), "orders-1", None),
        ((own(1), own(2)), "orders-2", None),
        ((own(1, "copying"),), None, "orders-1"),
        ((own(1, "creating"),), None, "orders-1"),
        ((own(1), own(2, "copying")), "orders-1", "orders-2"),
        ((own(1), own(2, "copying"), own(3, "copying")), "orders-1", "orders-3"),
        # Older than an available one: nobody waits for it.
        ((own(1, "copying"), own(2)), "orders-2", None),
        # One that failed or is being deleted does not hide one in progress.
        ((own(1, "copying"), own(2, "failed")), None, "orders-1"),
        ((own(1, "copying"), own(2, "deleting")), None, "orders-1"),
        ((own(1), own(2, "failed")), "orders-1", None),
        ((own(1), own(2, "deleting")), "orders-1", None),
        # Under an old key, or not eligible any more: it will never be promoted.
        ((own(1), own(2, made=OLD_KEY)), "orders-1", None),
        ((own(1), own(2, "copying", made=OLD_KEY)), "orders-1", None),
        ((own(1), own(2, "copying", engine="docdb")), "orders-1", None),
        ((own(1, "copying"), own(2, made=OLD_KEY)), None, "orders-1"),
    ],
)
def test_the_newest_copy_and_the_one_to_wait_for(
    made: tuple[OwnSnapshot, ...], newest: str | None, pending: str | None
) -> None:
    found = copies(*made)
    chosen = newest_copy(found, POLICY)
    assert (chosen and chosen.arn) == (newest and arn(name_of(newest), ACCEPTANCE))
    awaited = pending_copy(found, POLICY)
    assert (awaited and awaited.source.identifier) == pending


# --- which share is copied ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "needed"),
    [
        ((), True),
        ((own(1),), True),
        ((own(2),), False),
        ((own(2, "copying"),), False),
        ((own(2, "failed"),), False),  # it is deleted first, and people are notified
        ((own(2, "deleting"),), False),
        ((own(3),), False),
        ((own(3, "copying"),), False),
        ((own(3, "failed"),), True),
        ((own(3, "deleting"),), True),
        ((own(2, made=OLD_KEY),), True),
        ((own(3, made=OLD_KEY),), True),
        # The criteria have changed since it was made, and it cannot become latest.
        ((own(3, cluster="billing"),), True),
        ((own(3, engine_version="14.9"),), True),
        ((own(3, source=arn("x", "999999999999")),), True),
        # A tie goes to the greater ARN, as among shares.
        ((own(2, source=arn("a")),), True),
        ((own(2, source=arn("z")),), False),
    ],
)
def test_a_share_is_copied_once_and_only_if_it_is_newer(
    made: tuple[OwnSnapshot, ...], *, needed: bool
) -> None:
    policy = POLICY._replace(criteria=WANTED._replace(cluster="orders"))
    share = snapshot("orders-2", created=MIDNIGHT + timedelta(days=2))
    assert needs_copy(share, copies(*made), policy) is needed


# --- which are expired ------------------------------------------------------------------------------


def expired_nights(made: list[OwnSnapshot], keep: int, kept: tuple[str, ...] = ()) -> list[str]:
    arns = [arn(name_of(name), ACCEPTANCE) for name in kept]
    return nights(expired(copies(*made), POLICY._replace(keep=keep), arns))


def test_the_oldest_beyond_the_number_to_keep_are_expired() -> None:
    made = [own(night) for night in (4, 1, 3, 2)]
    assert expired_nights(made, keep=4) == []
    assert expired_nights(made, keep=3) == ["orders-1"]
    assert expired_nights(made, keep=1) == ["orders-3", "orders-2", "orders-1"]


NIGHTS = st.lists(
    st.tuples(st.integers(1, 12), st.sampled_from(["available", "copying", "failed", "deleting"])),
    unique_by=lambda each: each[0],
)


@given(nights_made=NIGHTS, keep=st.integers(1, 5), kept=st.sets(st.integers(1, 12)))
def test_the_newest_copies_and_those_in_use_never_expire(
    nights_made: list[tuple[int, str]], keep: int, kept: set[int]
) -> None:
    made = [own(night, status) for night, status in nights_made]
    going = expired_nights(made, keep, tuple(f"orders-{night}" for night in kept))
    available = {f"orders-{night}" for night, status in nights_made if status == "available"}
    assert set(going) <= available - {f"orders-{night}" for night in kept}
    newest = sorted(available, key=lambda name: int(name[7:]), reverse=True)[:keep]
    assert set(going).isdisjoint(newest)
    assert len(available - set(going) - set(newest)) <= len(kept)
