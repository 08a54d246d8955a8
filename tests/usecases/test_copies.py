"""Copies under the stage's own key: started by the update, finished by the poll, then promoted."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.copies import SOURCE, CopyPolicy
from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import GOOD, Note
from chalicelib.domain.ownership import MADE_FOR
from chalicelib.domain.results import CopyProgress, Result
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.pin import PinRequest, pin
from chalicelib.usecases.poll import poll
from chalicelib.usecases.promote import RefreshRequest, promote, refresh_now
from chalicelib.usecases.status import status
from chalicelib.usecases.update_latest import follow_copies, update
from tests.fakes import ACCEPTANCE, COPIES_UNDER_WAY, InMemoryAws, arn, snapshot
from tests.interruptions import calm, meanwhile, refuse
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST, STAGE
from tests.usecases.conftest import (
    DOCUMENTS,
    SUNDAY,
    TWO_IN_ONE_STACK,
    WITH_STACK,
    ends,
    everything,
    polls,
    present,
    quiet_sunday,
    subjects,
)

KEY = "alias/acceptance"
COPIED = WITH_STACK | {"RDS_COPY_KMS_KEY_ID": KEY}
BOTH_COPIED = TWO_IN_ONE_STACK | {"RDS_COPY_KMS_KEY_ID": KEY, "DOCS_COPY_KMS_KEY_ID": KEY}
TWO_O_CLOCK = SUNDAY.replace(hour=2)
SETTINGS = Settings.from_environment(COPIED)
DAYS = {"a": 10, "b": 9, "c": 8, "d": 7, "e": 6, "f": 20, "broken": 1, "older": 5}


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@pytest.fixture
def aws() -> InMemoryAws:
    return first_night()


def first_night() -> InMemoryAws:
    """As on a quiet Sunday, but nothing has been copied yet."""
    aws = quiet_sunday()
    aws.parameters.kept[LATEST] = []
    aws.parameters.put_by_hand(LATEST, "dummyvalue")
    return aws


def policy_of(settings: Settings, index: int = 0) -> CopyPolicy:
    policy = settings.databases[index].copy_policy
    assert policy is not None
    return policy


def share_of(name: str) -> Any:
    """Return production's snapshot of that name, which may be one of DAYS."""
    facts = {"created": SUNDAY - timedelta(days=DAYS[name])} if name in DAYS else {}
    return snapshot(name, **facts)


def copy_of(name: str, settings: Settings = SETTINGS) -> str:
    """Return the ARN of the copy of production's snapshot of that name."""
    return arn(policy_of(settings).name_for(share_of(name)), ACCEPTANCE)


def add_copy(aws: InMemoryAws, name: str, status: str = "available", **facts: Any) -> str:
    """Add a copy that was made today of a share that is gone; return its ARN."""
    made, share = copy_of(name), share_of(name)
    made_today = {"own": True, "account": ACCEPTANCE, "created": aws.time, "status": status}
    aws.snapshots.all.append(share._replace(arn=made, **made_today | facts))
    aws.snapshots.tags[made] = policy_of(SETTINGS).tags(share)
    return made


def copied(aws: InMemoryAws) -> list[str]:
    return sorted(each.arn for each in aws.snapshots.all if each.own)


def decision(result: Result) -> tuple[str, str | None, str | None]:
    return result.outcome, result.reason, result.message


# --- a good night ---------------------------------------------------------------------------------


def test_the_first_night_starts_a_copy_waits_for_nothing_and_latest_stays(
    settings: Settings, aws: InMemoryAws
) -> None:
    result = update(settings, aws, TWO_O_CLOCK)
    copy = {"arn": copy_of("new"), "source": arn("new"), "status": "copying", "progress": 0}
    assert result.to_json() == {
        "outcome": "unchanged",
        "reason": None,
        "message": None,
        "databases": [
            {
                "name": "rds",
                "outcome": "unchanged",
                "latest": None,
                "current": arn("old"),
                "previous": None,
                "rejected": {},
                "copy": copy,
            }
        ],
    }
    assert aws.calls == ["shared", "get", "own", "copy"]
    assert (aws.values()[LATEST], subjects(aws)) == ("dummyvalue", [])
    assert aws.snapshots.tags[copy_of("new")] == {
        "aurora-refresh:made-for": LATEST,
        "aurora-refresh:source": arn("new"),
        "aurora-refresh:taken": "2026-01-03T22:00:00+00:00",
    }
    for again in (update(settings, aws, TWO_O_CLOCK), follow_copies(settings, aws)):
        assert again.databases[0].copy == CopyProgress(*copy.values())._replace(progress=40)
    assert copied(aws) == [copy_of("new")]


def test_the_poll_records_the_copy_once_it_is_available_with_the_age_of_its_data(
    settings: Settings, aws: InMemoryAws
) -> None:
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    assert poll(settings, aws).to_json() == {
        "outcome": "updated",
        "reason": None,
        "message": None,
        "databases": [
            {
                "name": "rds",
                "outcome": "updated",
                "latest": copy_of("new"),
                "current": arn("old"),
                "previous": None,
                "created": "2026-01-03T22:00:00+00:00",
                "age_hours": 6.0,
                "deleted": [],
            }
        ],
    }
    assert present(aws, LATEST).value == copy_of("new")
    assert present(aws, LATEST).note == Note("update", "db-reconcile", "newest eligible copy")
    before = everything(aws)
    aws.calls.clear()
    assert follow_copies(settings, aws).outcome == "unchanged"
    assert (aws.calls, everything(aws)) == (["get", "own", "history"], before)


@pytest.mark.parametrize("keeps_date", [False, True])
def test_a_copy_that_is_available_at_once_is_recorded_by_the_update_that_starts_it(
    settings: Settings, aws: InMemoryAws, keeps_date: bool
) -> None:
    """Its data is as old as the share's, whatever RDS dates the copy by."""
    aws.snapshots.at_once, aws.snapshots.keeps_date = True, keeps_date
    (entry,) = update(settings, aws, TWO_O_CLOCK).databases
    assert (entry.latest, entry.age_hours, entry.copy) == (copy_of("new"), 6.0, None)
    assert promote(settings, aws, SUNDAY).outcome == "started"
    assert aws.values()[CURRENT] == copy_of("new")


def test_a_copy_is_promoted_without_its_source_and_is_as_old_as_its_data(
    settings: Settings, aws: InMemoryAws
) -> None:
    older = add_copy(aws, "older")
    aws.snapshots.all = [each for each in aws.snapshots.all if each.own]
    poll(settings, aws)
    (entry,) = promote(settings, aws, SUNDAY).databases
    assert (entry.latest, entry.current, entry.age_hours) == (older, older, 120.0)
    ends(aws, minutes=60)
    polls(settings, aws)
    assert subjects(aws) == ["refreshed in 60 min, data 121 h old (rds)"]
    (shown,) = status(settings, aws)["databases"]
    assert (shown["deployed"], shown["created"]) == (older, "2025-12-30T04:00:00+00:00")
    request = PinRequest("latest", "kim", "", deploy=False)
    assert pin(settings, aws, settings.databases[0], request).current == older


def test_two_updates_at_once_make_one_copy(settings: Settings, aws: InMemoryAws) -> None:
    """Both saw none; RDS makes one of a name, and the second finds that it is ours."""
    meanwhile(aws, "before", "copy", lambda: update(settings, aws, TWO_O_CLOCK))
    assert decision(update(settings, aws, TWO_O_CLOCK)) == ("unchanged", None, None)
    assert (copied(aws), subjects(aws)) == ([copy_of("new")], [])


# --- while it is copied ---------------------------------------------------------------------------


@pytest.mark.parametrize("latest", ["dummyvalue", "an older copy", "the share itself"])
def test_nobody_promotes_while_a_newer_copy_is_made(
    settings: Settings, aws: InMemoryAws, latest: str
) -> None:
    values = {"an older copy": add_copy(aws, "older"), "the share itself": arn("new")}
    update(settings, aws, TWO_O_CLOCK)
    aws.parameters.put_by_hand(LATEST, values.get(latest, latest))
    expected = ("failed", "copy-pending", f"the copy of {arn('new')} is copying, 40 % done")
    assert decision(promote(settings, aws, SUNDAY)) == expected
    assert subjects(aws) == ["REFRESH FAILED: copy-pending (rds)"]
    request = RefreshRequest.by_person("kim", "now", outside_window=False)
    for dry_run in (True, False):
        assert decision(refresh_now(settings, aws, request, dry_run=dry_run)) == expected
    assert aws.values()[CURRENT] == arn("old")
    problem = status(settings, aws)["problems"][-1]
    assert problem.startswith(f"rds: latest would not be promoted: {expected[2]}. ")


@pytest.mark.parametrize("latest", ["an older copy", "the share itself"])
def test_the_newest_copy_is_promoted_although_no_poll_has_recorded_it(
    settings: Settings, aws: InMemoryAws, latest: str
) -> None:
    value = add_copy(aws, "older") if latest == "an older copy" else arn("new")
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    aws.parameters.put_by_hand(LATEST, value)
    assert promote(settings, aws, SUNDAY).outcome == "started"
    assert aws.values()[CURRENT] == copy_of("new")
    follow_copies(settings, aws)
    assert aws.values()[LATEST] == copy_of("new")


def test_the_first_copy_is_waited_for_until_a_poll_has_recorded_it(
    settings: Settings, aws: InMemoryAws
) -> None:
    assert promote(settings, aws, SUNDAY).reason == "no-latest"
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    message = f"{copy_of('new')} is available, but not recorded in latest yet"
    assert decision(promote(settings, aws, SUNDAY)) == ("failed", "copy-pending", message)
    del aws.parameters.kept[LATEST]
    assert promote(settings, aws, SUNDAY).reason == "parameter-missing"


# --- what must not be promoted --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RDS_COPY_KMS_KEY_ID": "alias/new"}, "a copy under another key than alias/new"),
        ({"RDS_ENGINE_VERSION": "16"}, "engine version 15.4, expected 16"),
        ({"SOURCE_ACCOUNT": "999999999999"}, "account 111111111111, expected 999999999999"),
        ({"RDS_SOURCE_CLUSTER": "billing"}, "cluster orders, expected billing"),
    ],
)
def test_a_copy_that_the_stage_does_not_want_any_more_is_not_promoted(
    aws: InMemoryAws, changes: dict[str, str], message: str
) -> None:
    older = add_copy(aws, "older")
    aws.parameters.put_by_hand(LATEST, older)
    result = promote(Settings.from_environment(COPIED | changes), aws, SUNDAY)
    assert decision(result) == ("failed", "not-eligible", f"{older}: {message}")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda aws, made: aws.snapshots.tags.pop(made),
        lambda aws, made: aws.snapshots.tags[made].update({MADE_FOR: OTHER_LATEST}),
        lambda aws, made: aws.snapshots.all.clear(),
        lambda aws, made: aws.parameters.put_by_hand(LATEST, arn("new")),
    ],
    ids=["no tags", "another database's", "gone", "the share itself"],
)
def test_what_is_not_a_managed_copy_is_not_promoted(
    settings: Settings, aws: InMemoryAws, spoil: Callable[[InMemoryAws, str], object]
) -> None:
    older = add_copy(aws, "older")
    aws.parameters.put_by_hand(LATEST, older)
    spoil(aws, older)
    if aws.values()[LATEST] == arn("new"):
        aws.snapshots.tags.clear()
    message = f"{aws.values()[LATEST]} is not a copy that this stage made under {KEY}"
    assert decision(promote(settings, aws, SUNDAY)) == ("failed", "not-eligible", message)


# --- what only people can resolve -----------------------------------------------------------------


def lose_source(aws: InMemoryAws) -> None:
    """Production deletes it between the listing and the copy."""

    def happens() -> None:
        aws.snapshots.all = [each for each in aws.snapshots.all if each.arn != arn("new")]

    meanwhile(aws, "before", "copy", happens)


def fill_quota(aws: InMemoryAws, room: int = 0) -> None:
    aws.snapshots.all += [
        snapshot(f"theirs-{number}", ACCEPTANCE, status="copying")
        for number in range(COPIES_UNDER_WAY - room)
    ]


def fail_copy(aws: InMemoryAws) -> None:
    update(SETTINGS, aws, TWO_O_CLOCK)
    aws.snapshots.settle("failed")


def take_name(aws: InMemoryAws) -> None:
    aws.snapshots.all.append(snapshot(policy_of(SETTINGS).name_for(snapshot("new")), ACCEPTANCE))


def take_name_meanwhile(aws: InMemoryAws) -> None:
    meanwhile(aws, "before", "copy", lambda: take_name(aws))


TAKEN_NAME = (
    f"snapshot {policy_of(SETTINGS).name_for(snapshot('new'))} exists, but was not made by this "
    "application"
)


@pytest.mark.parametrize(
    ("happens", "reason", "message"),
    [
        (
            lambda aws: aws.snapshots.denied.add(KEY),
            "copy-key-denied",
            f"RDS refused to copy {arn('new')}: no access to {KEY}",
        ),
        (
            lose_source,
            "snapshot-gone",
            f"RDS refused to copy {arn('new')}: it is not available",
        ),
        (
            lambda aws: aws.snapshots.unencrypted.add(arn("new")),
            "copy-unencrypted",
            f"RDS refused to copy {arn('new')}: it is not encrypted",
        ),
        (take_name, "copy-name-taken", TAKEN_NAME),
        (take_name_meanwhile, "copy-name-taken", TAKEN_NAME),
        (fail_copy, "copy-failed", f"the copy of {arn('new')} failed"),
    ],
)
def test_what_cannot_be_copied_is_told_and_leaves_the_copy_that_is_there(
    settings: Settings,
    aws: InMemoryAws,
    happens: Callable[[InMemoryAws], None],
    reason: str,
    message: str,
) -> None:
    older = add_copy(aws, "older")
    happens(aws)
    before = aws.values()
    assert decision(update(settings, aws, TWO_O_CLOCK)) == ("failed", reason, message)
    assert aws.values() == before
    assert subjects(aws) == [f"REFRESH FAILED: {reason} (rds)"]
    calm(aws, minutes=0)
    aws.snapshots.settle()
    follow_copies(settings, aws)
    assert aws.values()[LATEST] == older
    assert promote(settings, aws, SUNDAY).outcome == "started"


def test_a_copy_that_failed_is_told_once_deleted_and_started_anew(
    settings: Settings, aws: InMemoryAws
) -> None:
    fail_copy(aws)
    result = follow_copies(settings, aws)
    assert decision(result) == ("failed", "copy-failed", f"the copy of {arn('new')} failed")
    assert (result.databases[0].deleted, copied(aws)) == ((copy_of("new"),), [])
    assert subjects(aws) == ["REFRESH FAILED: copy-failed (rds)"]
    assert "db-reconcile did not act" in aws.notifier.sent[0].body
    assert follow_copies(settings, aws).outcome == "unchanged"
    assert len(subjects(aws)) == 1
    update(settings, aws, TWO_O_CLOCK)
    assert copied(aws) == [copy_of("new")]


def test_a_poll_reconciles_although_the_copies_cannot_be_listed_and_the_other_way_round(
    settings: Settings, aws: InMemoryAws
) -> None:
    older = add_copy(aws, "older")
    refuse(aws, "runs")
    with pytest.raises(AwsError, match="runs of it failed"):
        poll(settings, aws)
    assert aws.values()[LATEST] == older
    calm(aws)
    promote(settings, aws, SUNDAY)
    ends(aws, "Failed")
    refuse(aws, "own")
    with pytest.raises(AwsError, match="own of it failed"):
        poll(settings, aws)
    assert aws.values()[CURRENT] == arn("old")


# --- how many are kept ----------------------------------------------------------------------------


def deleted_by_poll(aws: InMemoryAws, keep: int | None = 1) -> str:
    """Return what a poll deletes, by the names of the sources."""
    changes = {"RDS_COPIES_TO_KEEP": str(keep)} if keep else {}
    (entry,) = follow_copies(Settings.from_environment(COPIED | changes), aws).databases
    names = {copy_of(each): each for each in "abcdef"}
    return "".join(names[each] for each in entry.deleted or ())


@pytest.fixture
def five(aws: InMemoryAws) -> dict[str, str]:
    """Five copies, `a` the oldest; `latest` has been recorded, and `current` is a share."""
    made = {name: add_copy(aws, name) for name in "abcde"}
    aws.parameters.put_by_hand(LATEST, made["e"])
    return made


def put_all(aws: InMemoryAws, five: dict[str, str], names: str) -> None:
    for name in names:
        aws.parameters.put_by_hand(CURRENT, five.get(name, "a secret by mistake"))


@pytest.mark.parametrize(
    ("latest", "current", "good", "keep", "deleted", "later"),
    [
        ("e", "", None, None, "ba", ""),
        ("e", "", None, 5, "", ""),
        ("e", "", None, 2, "cba", ""),
        ("e", "a", None, 1, "dcb", ""),
        ("e", "bacc?c", None, 1, "db", ""),  # what a rollback goes back to
        ("e", "bacd", 2, 1, "a", ""),
        # A promotion that has read `latest` until this poll may be about to put it.
        ("a", "", None, 1, "dcb", "a"),
    ],
)
def test_the_oldest_beyond_the_number_are_deleted_but_none_that_a_parameter_leads_to(
    aws: InMemoryAws,
    five: dict[str, str],
    latest: str,
    current: str,
    good: int | None,
    keep: int | None,
    deleted: str,
    later: str,
) -> None:
    aws.parameters.put_by_hand(LATEST, five[latest])
    put_all(aws, five, current)
    if good:
        aws.parameters.label(CURRENT, good, {GOOD})
    assert deleted_by_poll(aws, keep) == deleted
    assert copied(aws) == sorted(five[name] for name in "abcde" if name not in deleted)
    assert aws.values()[LATEST] == five["e"]
    assert deleted_by_poll(aws, keep) == later


def test_what_somebody_pins_meanwhile_is_not_deleted(
    aws: InMemoryAws, five: dict[str, str]
) -> None:
    meanwhile(aws, "before", "history", lambda: put_all(aws, five, "a"), nth=2)
    assert deleted_by_poll(aws) == "dcb"


def test_without_a_current_only_latest_leads_to_a_copy_and_unread_it_may_lead_to_any(
    aws: InMemoryAws, five: dict[str, str]
) -> None:
    refuse(aws, "history")
    with pytest.raises(AwsError):
        deleted_by_poll(aws)
    assert copied(aws) == sorted(five.values())
    calm(aws)
    del aws.parameters.kept[CURRENT]
    assert deleted_by_poll(aws) == "dcba"


# --- two databases --------------------------------------------------------------------------------


@pytest.fixture
def both(documents: InMemoryAws) -> InMemoryAws:
    documents.parameters.put_by_hand(OTHER_LATEST, "dummyvalue")
    documents.snapshots.all = [
        each for each in documents.snapshots.all if each.arn != arn("docs-old")
    ]
    documents.calls.clear()
    return documents


@pytest.fixture
def two() -> Settings:
    return Settings.from_environment(BOTH_COPIED)


def sources(aws: InMemoryAws) -> list[str]:
    """Return what was copied by this stage."""
    return [aws.snapshots.tags[each][SOURCE] for each in copied(aws) if each in aws.snapshots.tags]


def test_only_the_database_that_has_copies_waits_for_one(both: InMemoryAws) -> None:
    one = Settings.from_environment(TWO_IN_ONE_STACK | {"DOCS_COPY_KMS_KEY_ID": KEY})
    result = update(one, both, TWO_O_CLOCK)
    assert [(each.outcome, bool(each.copy)) for each in result.databases] == [
        ("updated", False),
        ("unchanged", True),
    ]
    assert promote(one, both, SUNDAY).reason == "copy-pending"
    both.snapshots.settle()
    assert [each.name for each in follow_copies(one, both).databases] == ["docs"]
    assert promote(one, both, SUNDAY).outcome == "started"
    made = arn(policy_of(one, 1).name_for(snapshot("docs-new")), ACCEPTANCE)
    assert (both.values()[CURRENT], both.values()[OTHER_CURRENT]) == (arn("new"), made)
    both.parameters.put_by_hand(LATEST, "dummyvalue")
    assert promote(one, both, SUNDAY).reason == "no-latest"


def refuse_for(aws: InMemoryAws, operation: str, *given: str) -> None:
    """Let AWS refuse the operation for these."""
    call = getattr(aws.snapshots, operation)

    def refusing(first: str, *more: Any) -> Any:
        if first in given:
            raise AwsError(operation, first, "InvalidDBClusterSnapshotStateFault", "no")
        return call(first, *more)

    setattr(aws.snapshots, operation, refusing)


def test_what_aws_does_not_copy_for_one_database_stops_no_other_and_hides_no_refusal(
    two: Settings, both: InMemoryAws
) -> None:
    refuse_for(both, "copy", arn("new"))
    with pytest.raises(AwsError, match=f"copy of {arn('new')} failed"):
        update(two, both, TWO_O_CLOCK)
    assert sources(both) == [arn("docs-new")]
    both.snapshots.all = [each for each in both.snapshots.all if not each.own]
    both.snapshots.unencrypted.add(arn("docs-new"))
    with pytest.raises(AwsError):
        update(two, both, TWO_O_CLOCK)
    body = both.notifier.sent[-1].body
    assert f"copy of {arn('new')} failed" in body
    assert f"RDS refused to copy {arn('docs-new')}: it is not encrypted." in body


def test_a_copy_that_cannot_be_deleted_keeps_no_other(two: Settings, both: InMemoryAws) -> None:
    kept = Settings.from_environment(BOTH_COPIED | {"RDS_COPIES_TO_KEEP": "1"})
    update(two, both, TWO_O_CLOCK)
    both.snapshots.settle("failed")
    for name in "abc":
        add_copy(both, name)
    broken = [each.arn.rpartition(":")[2] for each in both.snapshots.all if each.status == "failed"]
    refuse_for(both, "delete", *broken)
    with pytest.raises(AwsError) as raised:
        follow_copies(kept, both)
    assert len([str(raised.value), *raised.value.__notes__]) == len(broken) == 2
    assert copied(both) == sorted(
        [copy_of("c"), *(each.arn for each in both.snapshots.all if each.status == "failed")]
    )


def test_one_update_has_every_database_copied_however_few_rds_copies_at_a_time(
    two: Settings, both: InMemoryAws
) -> None:
    fill_quota(both, room=1)
    result = update(two, both, TWO_O_CLOCK)
    assert [each.reason for each in result.databases] == [None, "copy-quota"]
    follow_copies(two, both)  # no room yet
    assert sources(both) == [arn("new")]
    for _ in range(2):
        both.snapshots.settle()
        follow_copies(two, both)
    recorded = [both.values()[each.latest_parameter] for each in two.databases]
    assert [both.snapshots.tags[each][SOURCE] for each in recorded] == [arn("new"), arn("docs-new")]
    assert subjects(both) == ["REFRESH FAILED: copy-quota (docs)"]
    # Nothing is asked for any more: the next share is left to the next update.
    both.snapshots.all.append(snapshot("newer", created=SUNDAY, **DOCUMENTS))
    both.calls.clear()
    follow_copies(two, both)
    assert {"shared", "copy"}.isdisjoint(both.calls)


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda aws: aws.snapshots.denied.add(KEY), "copy-key-denied"),
        (lambda aws: aws.snapshots.all.clear(), "no-eligible-snapshot"),
    ],
)
def test_the_poll_tells_once_why_it_cannot_start_a_copy_either_and_gives_up(
    settings: Settings, aws: InMemoryAws, happens: Callable[[InMemoryAws], None], reason: str
) -> None:
    fill_quota(aws)
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    happens(aws)
    refuse(aws, "unlabel")
    with pytest.raises(AwsError):  # people know before the poll forgets
        follow_copies(settings, aws)
    calm(aws)
    assert follow_copies(settings, aws).reason == reason
    assert follow_copies(settings, aws).outcome == "unchanged"
    failures = ["copy-quota", reason, reason]
    assert subjects(aws) == [f"REFRESH FAILED: {each} (rds)" for each in failures]


def test_a_copy_is_not_asked_for_again_if_its_parameter_is_missing(
    settings: Settings, aws: InMemoryAws
) -> None:
    fill_quota(aws)
    del aws.parameters.kept[LATEST]
    assert update(settings, aws, TWO_O_CLOCK).reason == "copy-quota"
    aws.snapshots.settle()
    assert follow_copies(settings, aws).outcome == "unchanged"


def test_without_copies_nobody_lists_own_snapshots(aws: InMemoryAws) -> None:
    """A function's role need not be allowed to."""
    plain = Settings.from_environment(STAGE)
    refuse(aws, "own")
    update(plain, aws, TWO_O_CLOCK)
    assert promote(plain, aws, SUNDAY).outcome == "started"
    ends(aws)
    poll(plain, aws)
    assert status(plain, aws)["problems"] == []
