"""Copies under acceptance's own key: which are managed, which is the newest, which are expired."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.copies import PREFIX, SOURCE, TAKEN, CopyPolicy, ManagedCopies
from chalicelib.domain.ownership import MADE_FOR, expired
from chalicelib.domain.snapshots import Criteria, Rejection, Snapshot
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
    tags: dict[str, str | None] | None = None,
    **facts: Any,
) -> Snapshot:
    """A copy of the share of that night, as RDS lists it: dated by its own making."""
    share = snapshot(f"orders-{night}", created=MIDNIGHT + timedelta(days=night))
    share = share._replace(arn=source or share.arn)
    made_later = {"status": status, "created": MIDNIGHT + timedelta(days=100)}
    copied = snapshot(made.name(share.arn, share.taken), ACCEPTANCE, **{**made_later, **facts})
    tagged = {name: text for name, text in (made.tags(share) | (tags or {})).items() if text}
    return copied._replace(tags=tagged, progress=100, source=share.arn)


def name_of(night: int) -> str:
    """The name of the copy of the share of that night."""
    return POLICY.name(arn(f"orders-{night}"), MIDNIGHT + timedelta(days=night))


def copies(*made: Snapshot) -> ManagedCopies:
    return ManagedCopies(made, POLICY)


def nights(found: list[Snapshot]) -> list[str]:
    return [str(copy.source).rpartition(":")[2] for copy in found]


# --- name and tags --------------------------------------------------------------------------------


def test_a_name_is_the_same_in_every_process_zone_and_after_any_other_change_of_the_stage() -> None:
    """So that a retry, or a poll on another day, finds the copy."""
    changed = POLICY._replace(keep=1, criteria=WANTED._replace(engine_version="16"))
    for policy, hours in ((POLICY, 0), (POLICY, 9), (changed, 0)):
        taken = MIDNIGHT.astimezone(timezone(timedelta(hours=hours)))
        name = policy.name(arn("orders-1"), taken)
        assert name == "aurora-refresh-copy-7d5e91c2f7f87765fcfbca1aa8905501"


def test_another_snapshot_key_or_database_has_another_name() -> None:
    """Production may delete a snapshot, and share another one under its name."""
    policies = [
        POLICY,
        POLICY._replace(key="alias/acceptance2"),
        POLICY._replace(made_for="/acceptance/docs/latest"),
        POLICY._replace(made_for=f"{POLICY.made_for}\nalias", key="acceptance"),
    ]
    names = {policy.name(arn("orders"), MIDNIGHT) for policy in policies}
    names |= {POLICY.name(arn("billing"), MIDNIGHT), POLICY.name(arn("orders"), MIDNIGHT + WEEK)}
    assert len(names) == 6


# --- which are managed ----------------------------------------------------------------------------


def test_a_copy_is_read_from_its_tags() -> None:
    made = own(1, "copying", created=None)._replace(progress=40)
    taken = MIDNIGHT + timedelta(days=1)
    assert copies(made) == [made._replace(account=PRODUCTION, created=taken)]


LATER = (MIDNIGHT + timedelta(days=100, seconds=1)).isoformat()


def test_a_copy_that_lacks_anything_is_not_managed() -> None:
    wrong = [
        own(tags={MADE_FOR: None}),
        own(tags={SOURCE: None}),
        own(tags={TAKEN: None}),
        own(arn=arn("x-" + name_of(1), ACCEPTANCE)),
        own(arn="no ARN"),
        own(tags={MADE_FOR: POLICY.made_for.upper()}),
        own(tags={TAKEN: "2026-01-04T00:00:00"}),  # in which zone?
        own(tags={TAKEN: "0001-01-01T00:00:00+12:00"}),  # before the first year in UTC
        own(tags={TAKEN: LATER}),  # no data is newer than its copy
        own()._replace(source=arn("orders-1", STRANGER)),  # as RDS says
    ]
    assert copies(*wrong) == []


def test_a_copy_without_its_source_or_under_an_old_key_is_managed_all_the_same() -> None:
    """RDS may not say the source; and nobody else would ever delete a copy under an old key."""
    assert copies(own(1)._replace(source=None)) == copies(own(1))
    assert nights(copies(own(1, made=OLD_KEY))) == ["orders-1"]


def test_a_copy_may_bear_its_source_s_time_in_other_digits() -> None:
    taken = MIDNIGHT + timedelta(days=1)
    assert copies(own(created=taken - timedelta(milliseconds=999))) == copies(own(created=taken))


@given(st.permutations([(1, "a"), (1, "b"), (1, "c"), (2, "a"), (3, "a")]))
def test_managed_copies_are_newest_data_first_and_a_tie_goes_to_the_greater_source(
    order: list[tuple[int, str]],
) -> None:
    """As with shares: otherwise the copy of the chosen share would never become latest."""
    found = copies(*(own(night, source=arn(name)) for night, name in order))
    taken = [(copy.taken - MIDNIGHT).days for copy in found]
    assert list(zip(taken, nights(found), strict=True)) == sorted(order, reverse=True)


# --- which is eligible ----------------------------------------------------------------------------


def test_a_copy_is_rejected_by_the_rules_of_a_share_and_for_its_key() -> None:
    def rejected(made: Snapshot) -> Rejection | None:
        (copy,) = copies(made)
        return POLICY.rejection(copy)

    other_key = Rejection("key", "a copy under another key than alias/acceptance")
    assert rejected(own(made=OLD_KEY)) == other_key
    # Its tags may have been copied with it, so its key is unknown.
    assert rejected(own(arn=arn(f"{PREFIX}mine", ACCEPTANCE))) == other_key
    stranger = Rejection("account", "account 999999999999, expected 111111111111")
    assert rejected(own(source=arn("x", STRANGER))) == stranger


STATUSES = st.sampled_from(["available", "copying", "creating", "failed", "deleting"])
# Under an old key, or made before the criteria changed: it will never be promoted.
USELESS: list[dict[str, Any]] = [{"made": OLD_KEY}, {"engine_version": "14.9"}]


@given(st.dictionaries(st.integers(1, 5), st.tuples(STATUSES, st.sampled_from([{}, {}, *USELESS]))))
def test_the_newest_copy_the_one_to_wait_for_and_the_share_to_copy(
    made: dict[int, tuple[str, dict[str, Any]]],
) -> None:
    found = copies(*(own(night, status, **facts) for night, (status, facts) in made.items()))
    useful = {night: status for night, (status, facts) in made.items() if not facts}
    available = [night for night in useful if useful[night] == "available"]
    coming = [night for night in useful if useful[night] in ("copying", "creating")]
    newest, last = max(available, default=0), max(coming, default=0)

    chosen, awaited = found.newest(), found.pending()
    assert (chosen and chosen.arn) == (arn(name_of(newest), ACCEPTANCE) if newest else None)
    assert (awaited and awaited.identifier) == (name_of(last) if last > newest else None)
    # A share is copied once, even if that failed, and only if it is newer.
    has_copy = 3 in made and "made" not in made[3][1]
    share = snapshot("orders-3", created=MIDNIGHT + timedelta(days=3))
    assert found.needs_copy_of(share) is (not has_copy and max(newest, last) < 3)


def test_of_shares_of_the_same_time_the_one_with_the_greater_arn_is_copied() -> None:
    share = snapshot("orders-1", created=MIDNIGHT + timedelta(days=1))
    assert copies(own(1, source=arn("a"))).needs_copy_of(share)
    assert not copies(own(1, source=arn("z"))).needs_copy_of(share)


# --- which are expired ----------------------------------------------------------------------------

STATES = st.dictionaries(
    st.integers(1, 12), st.sampled_from(["available", "copying", "failed", "deleting"])
)


@given(STATES, st.integers(1, 5), st.sets(st.integers(1, 12)))
def test_the_oldest_beyond_the_number_to_keep_are_expired_unless_a_parameter_names_them(
    states: dict[int, str], keep: int, named: set[int]
) -> None:
    made = [own(night, status) for night, status in states.items()]
    kept = [arn(name_of(night), ACCEPTANCE) for night in named]
    available = sorted((night for night in states if states[night] == "available"), reverse=True)
    going = [f"orders-{night}" for night in available[keep:] if night not in named]
    assert nights(expired(copies(*made), keep, kept)) == going
