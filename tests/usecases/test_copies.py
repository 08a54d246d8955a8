"""Copies under the stage's own key: started by the update, finished by the poll, then promoted.

Which copies are managed, wanted and expired is decided in `domain/copies.py`: see its unit tests.
"""

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import Note
from chalicelib.domain.results import Result
from chalicelib.usecases.poll import poll
from tests.fakes import ACCEPTANCE, COPIES_UNDER_WAY, arn, snapshot
from tests.interruptions import calm, meanwhile, raised, refuse
from tests.ledgers import by_hand, pin, version
from tests.stage import CURRENT, LATEST, OTHER_CURRENT, OTHER_LATEST
from tests.usecases.names import NEW, OLD, SUNDAY
from tests.usecases.night import Night, about_rds
from tests.usecases.states import Arrange, without

KEY = "alias/acceptance"


def first_night() -> Night:
    """As on a quiet Sunday, but nothing has been copied yet."""
    night = Night(RDS_COPY_KMS_KEY_ID=KEY)
    night.set(LATEST, "dummyvalue")
    night.aws.calls.clear()
    return night


night = pytest.fixture(first_night)


def copy_of(night: Night, name: str, days: float = 0.25) -> str:
    """Return the ARN of the copy of production's snapshot of that name, which is some days old."""
    share = share_of(name, days)
    return arn(policy_of(night).name(share.arn, share.taken), ACCEPTANCE)


def share_of(name: str, days: float) -> Any:
    return snapshot(name, created=SUNDAY - timedelta(days=days))


def policy_of(night: Night) -> Any:
    return night.settings.databases[0].copy_policy


def add_copy(night: Night, name: str = "older", days: float = 5) -> str:
    """Add a copy that was made today of a share that is gone; return its ARN."""
    made, share = copy_of(night, name, days), share_of(name, days)
    copied = share._replace(arn=made, own=True, account=ACCEPTANCE, created=night.aws.time)
    night.aws.snapshots.all.append(copied)
    night.aws.snapshots.tags[made] = policy_of(night).tags(share)
    return made


def own(night: Night) -> list[str]:
    return sorted(each.arn for each in night.aws.snapshots.all if each.own)


def decision(result: Result) -> tuple[str, str | None, str | None]:
    return result.outcome, result.reason, result.message


# --- a good night ---------------------------------------------------------------------------------


def test_the_first_night_starts_a_copy_waits_for_nothing_and_latest_stays(night: Night) -> None:
    made = copy_of(night, "new")
    copy = {"arn": made, "source": NEW, "status": "copying", "progress": 0}
    nothing = {"latest": None, "current": OLD, "previous": None, "rejected": {}}
    expected = about_rds("unchanged", outcome="unchanged", **nothing, copy=copy)
    assert night.update().to_json() == expected
    assert night.aws.calls == ["shared", "get", "own", "copy"]
    assert night.aws.snapshots.tags[made] == {
        "aurora-refresh:made-for": LATEST,
        "aurora-refresh:source": NEW,
        "aurora-refresh:taken": "2026-01-03T22:00:00+00:00",
    }
    for again in (night.update(), night.follow_copies()):
        (entry,) = again.to_json()["databases"]
        assert entry["copy"] == copy | {"progress": 40}
    assert own(night) == [made]


def test_the_poll_records_the_copy_once_it_is_available(night: Night) -> None:
    night.update()
    night.aws.snapshots.settle()
    made = copy_of(night, "new")
    assert raised(poll(night.settings, night.aws)).to_json() == about_rds(
        "succeeded",
        outcome="updated",
        latest=made,
        current=OLD,
        previous=None,
        created="2026-01-03T22:00:00+00:00",
        age_hours=6.0,
        deleted=[],
    )
    assert night.present(LATEST).value == made
    assert night.present(LATEST).note == Note("update", "db-reconcile", "newest eligible copy")
    before = night.everything()
    night.aws.calls.clear()
    assert night.follow_copies().outcome == "unchanged"
    assert (night.aws.calls, night.everything()) == (["get", "own", "history"], before)
    assert raised(poll(night.settings, night.aws)).outcome == "ignored"


def test_a_copy_is_promoted_without_its_source_and_is_as_old_as_its_data(night: Night) -> None:
    older = add_copy(night)
    night.aws.snapshots.all = [each for each in night.aws.snapshots.all if each.own]
    raised(poll(night.settings, night.aws))
    (entry,) = night.promote().databases
    assert (entry.latest, entry.current, entry.age_hours) == (older, older, 120.0)
    night.run_is_over(minutes=60)
    assert night.subjects == ["refreshed in 60 min, data 121 h old (rds)"]
    (shown,) = night.status()["databases"]
    assert (shown["deployed"], shown["created"]) == (older, "2025-12-30T04:00:00+00:00")
    assert night.pin("latest")["current"] == older
    night.configure(MAX_SNAPSHOT_AGE_DAYS="5")
    assert night.status()["problems"] == []  # it is deployed, and not promoted once more
    night.aws.snapshots.all.append(share_of("new", 0.25))
    night.update()
    (problem,) = night.status()["problems"]
    assert f"the copy of {NEW} is copying, 40 % done" in problem


# --- what is not promoted -------------------------------------------------------------------------


@pytest.mark.parametrize("latest", ["dummyvalue", "an older copy"])
def test_no_promotion_starts_while_a_newer_copy_is_in_progress(night: Night, latest: str) -> None:
    older = add_copy(night)
    night.update()
    night.set(LATEST, older if latest == "an older copy" else latest)
    expected = ("failed", "copy-pending", f"the copy of {NEW} is copying, 40 % done")
    assert decision(night.promote()) == expected
    assert night.subjects == ["REFRESH FAILED: copy-pending (rds)"]
    for dry_run in (True, False):
        assert decision(night.refresh(dry_run=dry_run)) == expected
    assert night.current == OLD
    problem = night.status()["problems"][-1]
    assert problem.startswith(f"rds: latest would not be promoted: {expected[2]}. ")


def test_the_first_copy_is_promoted_even_if_no_poll_has_recorded_it(night: Night) -> None:
    assert night.promote().reason == "no-latest"
    night.update()
    night.aws.snapshots.settle()
    assert night.promote().outcome == "started"
    assert (night.values[LATEST], night.current) == ("dummyvalue", copy_of(night, "new"))


def test_a_copy_under_another_key_is_not_promoted(night: Night) -> None:
    night.set(LATEST, older := add_copy(night))
    night.configure(RDS_COPY_KMS_KEY_ID="alias/new")
    why = f"{older} is not an eligible copy that this stage made under alias/new"
    assert decision(night.promote()) == ("failed", "not-eligible", why)


def test_a_copy_that_is_still_in_use_is_kept(night: Night) -> None:
    """The number to keep is one, that of the newest; each of the others is older than the last."""
    night.configure(RDS_COPIES_TO_KEEP="1")
    names = ("newest", "latest", "recent", "unnamed", "present", "earlier", "ordered", "deployed")
    copies = {name: add_copy(night, name, days) for days, name in enumerate([*names, "good"], 1)}
    night.aws.parameters.kept[LATEST] = [
        by_hand(1, copies["unnamed"], -60),
        by_hand(2, copies["recent"], -15),
        by_hand(3, copies["latest"], -14),  # a promotion may have read the one before this
    ]
    night.aws.parameters.kept[CURRENT] = [
        pin(1, copies["good"], -60, "run-1", "good"),
        pin(2, copies["deployed"], -50, "run-2"),
        version(3, copies["ordered"], -40, "token"),  # its change set may wait for an approval
        pin(4, copies["earlier"], -30),
        pin(5, copies["present"], -20),
    ]
    refuse(night.aws, "delete")
    with pytest.raises(AwsError, match="delete of it failed"):
        night.follow_copies()
    calm(night.aws, minutes=0)
    assert night.follow_copies().databases[0].latest == copies["newest"]
    assert set(copies.values()) - set(own(night)) == {copies["unnamed"]}


# --- what only people can resolve -----------------------------------------------------------------


def fill_quota(night: Night) -> None:
    """Let others have as many copies made as RDS makes at a time."""
    for number in range(COPIES_UNDER_WAY):
        night.offer(f"theirs-{number}", account=ACCEPTANCE, status="copying")


def fail_copy(night: Night) -> None:
    night.update()
    night.aws.snapshots.settle("failed")


def deny_key(night: Night) -> None:
    night.aws.snapshots.denied.add(KEY)


def take_name(night: Night) -> None:
    """Somebody makes a snapshot of that name after the listing."""
    taken = snapshot(NAME, ACCEPTANCE)
    meanwhile(night.aws, "before", "copy", lambda: night.aws.snapshots.all.append(taken))


NAME = policy_of(first_night()).name(NEW, snapshot("new").taken)
TAKEN = f"snapshot {NAME} exists but lacks this application's tags"


@pytest.mark.parametrize(
    ("happens", "reason", "message"),
    [
        (deny_key, "copy-key-denied", f"RDS refused to copy {NEW}: no access to {KEY}"),
        (take_name, "copy-name-taken", TAKEN),
        (fail_copy, "copy-failed", f"the copy of {NEW} failed"),
    ],
)
def test_what_cannot_be_copied_is_notified_and_leaves_the_copy_that_is_there(
    night: Night, happens: Arrange, reason: str, message: str
) -> None:
    older = add_copy(night)
    happens(night)
    before = night.values
    assert decision(night.update()) == ("failed", reason, message)
    assert night.values == before
    assert night.subjects == [f"REFRESH FAILED: {reason} (rds)"]
    calm(night.aws, minutes=0)
    night.aws.snapshots.settle()
    night.follow_copies()
    assert night.values[LATEST] == older
    assert night.promote().outcome == "started"


def test_a_copy_that_failed_is_notified_once_deleted_and_started_anew(night: Night) -> None:
    fail_copy(night)
    sent: list[str] = []
    meanwhile(night.aws, "before", "delete", lambda: sent.extend(night.subjects))
    result = night.follow_copies()
    assert decision(result) == ("failed", "copy-failed", f"the copy of {NEW} failed")
    assert (result.databases[0].deleted, own(night)) == ((copy_of(night, "new"),), [])
    assert night.follow_copies().outcome == "unchanged"
    assert night.subjects == sent == ["REFRESH FAILED: copy-failed (rds)"]  # before it is deleted
    assert "db-reconcile: " in night.aws.notifier.sent[0].body
    night.update()
    assert own(night) == [copy_of(night, "new")]


def test_a_poll_that_cannot_reconcile_records_copies_all_the_same(night: Night) -> None:
    older = add_copy(night)
    refuse(night.aws, "runs")
    with pytest.raises(AwsError, match="runs of it failed"):
        raised(poll(night.settings, night.aws))
    assert night.values[LATEST] == older


def test_only_the_database_that_has_copies_waits_for_one() -> None:
    two = Night(two=True, DOCS_COPY_KMS_KEY_ID=KEY)
    two.set(OTHER_LATEST, "dummyvalue")
    entries = two.update().databases
    assert [each.outcome for each in entries] == ["unchanged", "unchanged"]
    assert [bool(each.copy) for each in entries] == [False, True]
    for latest, reason in (("dummyvalue", "no-latest"), (NEW, "copy-pending")):
        two.set(LATEST, latest)
        assert two.promote().reason == reason
    two.aws.snapshots.settle()
    (entry,) = two.follow_copies().databases
    assert (entry.name, two.promote().outcome) == ("docs", "started")
    assert (two.current, two.values[OTHER_CURRENT]) == (NEW, entry.latest)


def test_an_error_of_one_database_stops_no_other_and_hides_no_refusal() -> None:
    two = Night(two=True, RDS_COPY_KMS_KEY_ID=KEY, DOCS_COPY_KMS_KEY_ID=KEY)
    snapshots, docs = two.aws.snapshots, arn("docs-new")
    two.aws.refused.append(("copy", NEW))
    with pytest.raises(AwsError, match=f"copy of {NEW} failed"):
        two.update()
    (copied,) = [each for each in snapshots.all if each.own]
    snapshots.settle()
    two.aws.refused.append(("history", LATEST))
    with pytest.raises(AwsError, match="history of"):
        two.follow_copies()
    assert (copied.engine, two.values[OTHER_LATEST]) == ("docdb", copied.arn)
    snapshots.all = [each for each in snapshots.all if not each.own]
    snapshots.unencrypted.add(docs)
    with pytest.raises(AwsError):
        two.update()
    body = two.aws.notifier.sent[-1].body
    assert f"copy of {NEW} failed" in body
    assert f"RDS refused to copy {docs}: it is not encrypted." in body


def test_the_poll_notifies_once_why_it_cannot_start_a_copy_either(night: Night) -> None:
    fill_quota(night)
    night.update()
    assert night.follow_copies().outcome == "unchanged"  # no room yet, as people know
    night.aws.snapshots.settle()
    deny_key(night)
    assert night.follow_copies().reason == "copy-key-denied"
    assert night.follow_copies().outcome == "unchanged"
    failures = ["copy-quota", "copy-key-denied"]
    assert night.subjects == [f"REFRESH FAILED: {each} (rds)" for each in failures]


def test_a_copy_is_not_asked_for_again_if_its_parameter_is_missing(night: Night) -> None:
    fill_quota(night)
    without(LATEST)(night)
    assert night.update().reason == "copy-quota"
    night.aws.snapshots.settle()
    assert night.follow_copies().outcome == "unchanged"
