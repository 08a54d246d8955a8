"""Copies under acceptance's own key: which are managed, which is the newest, which are expired."""

import re
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
from chalicelib.domain.snapshots import Criteria, OwnSnapshot, SnapshotArn
from tests.fakes import ACCEPTANCE, PRODUCTION, arn, snapshot

MIDNIGHT = datetime(2026, 1, 4, tzinfo=UTC)
WANTED = Criteria(PRODUCTION, "aurora-postgresql", "15")
POLICY = CopyPolicy(WANTED, "alias/acceptance", 3, "/acceptance/rds/latest-snapshot")
OLD_KEY = POLICY._replace(key="alias/old")
STRANGER = "999999999999"
WEEK = timedelta(weeks=1)


def own(
    night: int = 1,
    status: str = "available",
    *,
    made: CopyPolicy = POLICY,
    source: str | None = None,
    progress: int = 100,
    tags: dict[str, str | None] | None = None,
    **facts: Any,
) -> OwnSnapshot:
    """A copy of the share of that night, as RDS lists it: dated by its own making."""
    share = snapshot(f"orders-{night}", created=MIDNIGHT + timedelta(days=night))
    share = share._replace(arn=source or share.arn)
    made_later = {"status": status, "created": MIDNIGHT + timedelta(days=100)}
    copied = snapshot(made.name_for(share), ACCEPTANCE, **{**made_later, **facts})
    tagged = {name: text for name, text in (made.tags(share) | (tags or {})).items() if text}
    return OwnSnapshot(copied, tagged, progress, share.arn)


def name_of(share: str, made: CopyPolicy = POLICY) -> str:
    """The name of the copy of the share of a night, ``orders-1`` or another."""
    night = int(share.removeprefix("orders-"))
    return made.name(arn(share), MIDNIGHT + timedelta(days=night))


def copies(*made: OwnSnapshot) -> list[Copy]:
    return managed_copies(made, POLICY)


def nights(found: list[Copy]) -> list[str]:
    return [copy.source.identifier for copy in found]


# --- name and tags --------------------------------------------------------------------------------


def test_a_name_is_one_that_rds_takes_and_the_same_in_every_process() -> None:
    """So that a retry, or a poll on another day, finds the copy.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CopyDBClusterSnapshot.html
    """
    name = POLICY.name(arn("orders-1"), MIDNIGHT)
    assert name == "aurora-refresh-copy-7d5e91c2f7f87765fcfbca1aa8905501"
    assert POLICY.name(arn("orders-1"), MIDNIGHT.astimezone(timezone(timedelta(hours=9)))) == name
    # Otherwise every change of the stage would copy everything again.
    other = POLICY._replace(keep=1, criteria=WANTED._replace(engine_version="16"))
    assert other.name(arn("orders-1"), MIDNIGHT) == name


def test_another_snapshot_key_or_database_has_another_name() -> None:
    """Production may delete a snapshot, and share another one under its name."""
    other_key = POLICY._replace(key="alias/acceptance2")
    other_database = POLICY._replace(made_for="/acceptance/docs/latest")
    other_parts = POLICY._replace(made_for=f"{POLICY.made_for}\nalias", key="acceptance")
    policies = (POLICY, other_key, other_database, other_parts)
    names = {policy.name(arn("orders"), MIDNIGHT) for policy in policies}
    names |= {POLICY.name(arn("billing"), MIDNIGHT), POLICY.name(arn("orders"), MIDNIGHT + WEEK)}
    assert len(names) == 6


def test_the_tags_are_ones_that_rds_accepts() -> None:
    tags = POLICY.tags(snapshot("orders-1", created=MIDNIGHT))
    assert tags == {
        "aurora-refresh:made-for": "/acceptance/rds/latest-snapshot",
        "aurora-refresh:source": arn("orders-1"),
        "aurora-refresh:taken": "2026-01-04T00:00:00+00:00",
    }
    for text in (*tags, *tags.values()):
        assert re.fullmatch(r"[\w\s.:/=+@-]{1,256}", text)  # API_Tag.html


@given(created=st.builds(datetime.fromtimestamp, st.integers(0, 4 * 10**9), st.timezones()))
def test_the_time_of_the_data_survives_its_tag(created: datetime) -> None:
    tags = POLICY.tags(snapshot("orders-1", created=created))
    (copy,) = copies(own(1, created=None)._replace(tags=tags))
    # Python compares two times of one zone by their local clock, which is set back once a year.
    assert copy.snapshot.taken.timestamp() == created.timestamp()


# --- which are managed ----------------------------------------------------------------------------


def test_a_copy_is_read_from_its_tags() -> None:
    (copy,) = copies(own(1, "copying", progress=40))
    name, taken = name_of("orders-1"), MIDNIGHT + timedelta(days=1)
    source = SnapshotArn(arn("orders-1"), "eu-west-1", PRODUCTION, "orders-1")
    expected = snapshot(name, ACCEPTANCE, status="copying", created=taken)
    assert copy == Copy(expected, name, source, progress=40)


LATER = (MIDNIGHT + timedelta(days=100, seconds=1)).isoformat()
INSTANCE = "arn:aws:rds:eu-west-1:111111111111:snapshot:orders-1"


@pytest.mark.parametrize(
    ("lacking", "made"),
    [
        ("the name alone", own()._replace(tags={})),
        ("no made-for", own(tags={MADE_FOR: None})),
        ("no source", own(tags={SOURCE: None})),
        ("no time", own(tags={TAKEN: None})),
        ("the tags alone", own(arn=arn("before-the-upgrade", ACCEPTANCE))),
        ("a name that ends as a copy's", own(arn=arn("x-" + name_of("orders-1"), ACCEPTANCE))),
        ("a name in capitals", own(arn=arn(name_of("orders-1").upper(), ACCEPTANCE))),
        ("a name nearly a copy's", own(arn=arn("aurora-refresh-copies-1", ACCEPTANCE))),
        ("no ARN", own(arn="no ARN")),
        ("another database's", own(tags={MADE_FOR: "/acceptance/docs/latest"})),
        ("another parameter's: names know case", own(tags={MADE_FOR: POLICY.made_for.upper()})),
        ("a source without an account", own(tags={SOURCE: "orders-1"})),
        ("an instance's snapshot", own(tags={SOURCE: INSTANCE})),
        ("an unreadable time", own(tags={TAKEN: "yesterday"})),
        ("a time of no zone", own(tags={TAKEN: "2026-01-04T00:00:00"})),
        ("data newer than its copy", own(tags={TAKEN: LATER})),
        ("a copy of another one, as RDS says", own()._replace(source=arn("orders-1", STRANGER))),
    ],
)
def test_a_copy_that_lacks_anything_is_not_managed(lacking: str, made: OwnSnapshot) -> None:
    assert copies(own()) != []
    assert copies(made) == []


def test_a_copy_without_its_source_or_under_an_old_key_is_managed_all_the_same() -> None:
    """RDS may not say the source; and nobody else would ever delete a copy under an old key."""
    assert copies(own(1)._replace(source=None)) == copies(own(1))
    assert nights(copies(own(1, made=OLD_KEY))) == ["orders-1"]


@given(st.permutations([(1, "a"), (1, "b"), (1, "c"), (2, "a"), (3, "a")]))
def test_managed_copies_are_newest_data_first_and_a_tie_goes_to_the_greater_source(
    order: list[tuple[int, str]],
) -> None:
    """As with shares: otherwise the copy of the chosen share would never become latest."""
    found = copies(*(own(night, source=arn(name)) for night, name in order))
    taken = [(copy.snapshot.taken - MIDNIGHT).days for copy in found]
    assert list(zip(taken, nights(found), strict=True)) == sorted(order, reverse=True)


# --- which is eligible ----------------------------------------------------------------------------

STRANGERS = own(1, source=arn("orders-1", STRANGER))


@pytest.mark.parametrize(
    ("made", "reason", "detail"),
    [
        (own(1, made=OLD_KEY), "key", "a copy under another key than alias/acceptance"),
        # Its tags may have been copied with it, so its key is unknown.
        (own(1, arn=arn(f"{PREFIX}mine", ACCEPTANCE)), "key", "a copy under another key than"),
        (STRANGERS, "account", "account 999999999999, expected 111111111111"),
        (own(1, source=arn("orders-1", ACCEPTANCE)), "account", "account 222222222222, expected"),
        (own(1, "copying"), "status", "status copying, expected available"),
        (own(1, engine="docdb"), "engine", "engine docdb, expected aurora-postgresql"),
        (own(1, engine_version="150.1"), "version", "engine version 150.1, expected 15"),
    ],
)
def test_a_copy_is_rejected_by_the_rules_of_a_share_and_for_its_key(
    made: OwnSnapshot, reason: str, detail: str
) -> None:
    (copy,) = copies(made)
    found = copy_rejection(copy, POLICY)
    assert (found.reason, found.detail[: len(detail)]) == (reason, detail)
    assert newest_copy([copy], POLICY) is None


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


@pytest.mark.parametrize(
    ("made", "needed"),
    [
        ((), True),
        ((own(1),), True),
        ((own(2),), False),
        ((own(2, "copying"),), False),
        ((own(2, "failed"),), False),  # it is deleted first, and people are notified
        ((own(3),), False),
        ((own(3, "copying"),), False),
        ((own(3, "failed"),), True),
        ((own(2, made=OLD_KEY),), True),
        ((own(3, made=OLD_KEY),), True),
        # The criteria have changed since it was made, and it cannot become latest.
        ((own(3, cluster="billing"),), True),
        ((own(3, engine_version="14.9"),), True),
        ((own(3, source=arn("x", STRANGER)),), True),
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


# --- which are expired ----------------------------------------------------------------------------

STATES = st.dictionaries(
    st.integers(1, 12), st.sampled_from(["available", "copying", "failed", "deleting"])
)


@given(STATES, st.integers(1, 5), st.sets(st.integers(1, 12)))
def test_the_oldest_beyond_the_number_to_keep_are_expired_unless_a_parameter_names_them(
    states: dict[int, str], keep: int, named: set[int]
) -> None:
    made = [own(night, status) for night, status in states.items()]
    kept = [arn(name_of(f"orders-{night}"), ACCEPTANCE) for night in named]
    available = sorted((night for night in states if states[night] == "available"), reverse=True)
    going = [f"orders-{night}" for night in available[keep:] if night not in named]
    assert nights(expired(copies(*made), POLICY._replace(keep=keep), kept)) == going
