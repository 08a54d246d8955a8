"""Copies under one's own key: asked for by the update, finished by the poll, promoted when done."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.copies import PREFIX, SOURCE, CopyPolicy
from chalicelib.domain.errors import AwsError
from chalicelib.domain.ledger import Note, Run
from chalicelib.domain.ownership import MADE_FOR, TAKEN
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.follow import Ended, follow
from chalicelib.usecases.pin import Pin, pin
from chalicelib.usecases.promote import RefreshRequest, Result, promote, refresh_now
from chalicelib.usecases.status import status
from chalicelib.usecases.update_latest import follow_copies, update
from tests.fakes import ACCEPTANCE, COPIES_UNDER_WAY, InMemoryAws, arn, snapshot
from tests.interruptions import Killed, calm, kill, refuse
from tests.stage import (
    CURRENT,
    LATEST,
    OTHER_CURRENT,
    OTHER_LATEST,
    PIPELINE,
    STAGE,
    TWO,
)
from tests.usecases.conftest import (
    BY_HAND,
    READING,
    SUNDAY,
    everything,
    quiet_sunday,
    runs_started,
)

KEY = "alias/acceptance"
COPIED = STAGE | {"RDS_COPY_KMS_KEY_ID": KEY}
TWO_OF_WHICH_ONE = TWO | {"DOCS_COPY_KMS_KEY_ID": KEY}
TWO_O_CLOCK = SUNDAY.replace(hour=2)
POLLED = SUNDAY.replace(minute=15)
DOCUMENTS = {"engine": "docdb", "engine_version": "5.0.0", "cluster": "documents"}


@pytest.fixture
def settings() -> Settings:
    return Settings.from_environment(COPIED)


@pytest.fixture
def aws() -> InMemoryAws:
    return first_night()


def first_night() -> InMemoryAws:
    """As on a quiet Sunday, but nothing has been copied yet."""
    aws = quiet_sunday()
    del aws.parameters.kept[LATEST]
    aws.parameters.put(LATEST, "dummyvalue", BY_HAND)
    aws.calls.clear()
    return aws


def copying_of(settings: Settings) -> CopyPolicy:
    copying = settings.databases[0].copy_policy
    assert copying is not None
    return copying


DAYS = {"a": 10, "b": 9, "c": 8, "d": 7, "e": 6, "f": 20, "broken": 1}


def copy_of(settings: Settings, name: str) -> str:
    """The ARN of the copy of production's snapshot of that name, which may be one of ``DAYS``."""
    share = snapshot(name)
    if name in DAYS:
        share = snapshot(name, created=SUNDAY - timedelta(days=DAYS[name]))
    return arn(copying_of(settings).name_for(share), ACCEPTANCE)


def add_copy(
    aws: InMemoryAws,
    settings: Settings,
    name: str,
    days: float,
    status: str = "available",
    **facts: Any,
) -> str:
    """A copy that was made today of a share of some days ago, which is gone; its ARN."""
    copying = copying_of(settings)
    share = snapshot(name, created=SUNDAY - timedelta(days=days), **facts)
    made = arn(copying.name_for(share), ACCEPTANCE)
    aws.snapshots.all.append(
        share._replace(arn=made, account=ACCEPTANCE, own=True, status=status, created=aws.time)
    )
    aws.snapshots.tags[made] = copying.tags(share)
    return made


def own_arns(aws: InMemoryAws) -> list[str]:
    return sorted(each.arn for each in aws.snapshots.all if each.own)


def copies_made(aws: InMemoryAws) -> int:
    return aws.calls.count("copy")


def told(answer: Result) -> tuple[str, str | None, str | None]:
    return answer.outcome, answer.reason, answer.message


def state(aws: InMemoryAws) -> dict[str, Any]:
    """All that may change, and of what people were told: what was told twice counts once."""
    found = everything(aws)
    return found | {
        "told": {notice.subject for notice in found["told"]},
        "snapshots": sorted(aws.snapshots.all, key=lambda each: each.arn),
        "tags": aws.snapshots.tags,
    }


# --- the good night -------------------------------------------------------------------------------


def test_the_first_night_asks_for_a_copy_and_latest_stays(
    settings: Settings, aws: InMemoryAws
) -> None:
    copied = copy_of(settings, "new")

    answer = update(settings, aws, TWO_O_CLOCK)

    assert answer.to_json() == {
        "outcome": "unchanged",
        "reason": None,
        "message": None,
        "databases": [
            {
                "name": "rds",
                "outcome": "unchanged",
                "reason": None,
                "message": None,
                "latest": None,
                "current": arn("old"),
                "previous": None,
                "rejected": {},
                "copy": {
                    "arn": copied,
                    "source": arn("new"),
                    "status": "copying",
                    "progress": 0,
                },
            }
        ],
    }
    assert aws.values()[LATEST] == "dummyvalue"
    assert own_arns(aws) == [copied]
    assert aws.snapshots.tags[copied] == {
        "aurora-refresh:made-for": LATEST,
        "aurora-refresh:source": arn("new"),
        "aurora-refresh:taken": "2026-01-03T22:00:00+00:00",
    }
    assert aws.notifier.sent == []


def test_nothing_waits_for_a_copy(settings: Settings, aws: InMemoryAws) -> None:
    update(settings, aws, TWO_O_CLOCK)
    assert aws.calls == ["shared", "get", "own", "copy"]


def test_the_progress_is_told_as_long_as_it_is_copied(settings: Settings, aws: InMemoryAws) -> None:
    update(settings, aws, TWO_O_CLOCK)
    for use_case in (update, follow_copies):
        (entry,) = use_case(settings, aws, TWO_O_CLOCK).databases
        assert (entry["outcome"], entry["latest"], entry["copy"]["progress"]) == (
            "unchanged",
            None,
            40,
        )
    assert copies_made(aws) == 1


def test_the_poll_records_the_copy_when_it_is_available(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Its data is as old as the share's, however long the copy took."""
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    copied = copy_of(settings, "new")

    answer = follow_copies(settings, aws, POLLED)

    assert answer.to_json() == {
        "outcome": "updated",
        "reason": None,
        "message": None,
        "databases": [
            {
                "name": "rds",
                "outcome": "updated",
                "reason": None,
                "message": None,
                "latest": copied,
                "current": arn("old"),
                "previous": None,
                "copy": None,
                "created": "2026-01-03T22:00:00+00:00",
                "age_hours": 6.0,
                "deleted": [],
            }
        ],
    }
    assert aws.values()[LATEST] == copied
    assert aws.parameters.kept[LATEST][-1].note == Note(
        "update", "the schedule of 2026-01-04T04:15:00+00:00", "newest eligible copy"
    )
    assert aws.notifier.sent == []
    again = follow_copies(settings, aws, POLLED)
    assert again.outcome == "unchanged"
    assert len(aws.parameters.kept[LATEST]) == 2


def test_an_update_records_the_copy_as_well(settings: Settings, aws: InMemoryAws) -> None:
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    assert update(settings, aws, TWO_O_CLOCK).outcome == "updated"
    assert aws.values()[LATEST] == copy_of(settings, "new")
    assert copies_made(aws) == 1


def test_a_quiet_poll_looks_twice_and_writes_nothing(settings: Settings, aws: InMemoryAws) -> None:
    """It runs all day."""
    update(settings, aws, TWO_O_CLOCK)
    aws.calls.clear()
    before = state(aws)
    follow_copies(settings, aws, POLLED)
    assert aws.calls == ["get", "own"]
    assert state(aws) == before


def test_the_copy_is_promoted_with_the_age_of_its_data(
    settings: Settings, aws: InMemoryAws
) -> None:
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    copied = copy_of(settings, "new")
    aws.calls.clear()

    answer = promote(settings, aws, SUNDAY)

    assert answer.outcome == "started"
    assert answer.databases == (
        {
            "name": "rds",
            "latest": copied,
            "current": copied,
            "previous": arn("old"),
            "created": "2026-01-03T22:00:00+00:00",
            "age_hours": 6.0,
        },
    )
    assert aws.values()[CURRENT] == copied
    assert aws.calls == ["get", "own", "runs", "history", "put", "start"]


def test_a_copy_needs_neither_its_source_nor_a_share_to_be_promoted(
    settings: Settings, aws: InMemoryAws
) -> None:
    """That is what it is for: production's snapshot and key may go."""
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    aws.snapshots.all = [each for each in aws.snapshots.all if each.own]
    follow_copies(settings, aws, POLLED)
    assert promote(settings, aws, SUNDAY).outcome == "started"


def test_the_age_that_is_told_is_the_datas_after_the_run_too(
    settings: Settings, aws: InMemoryAws
) -> None:
    copied = add_copy(aws, settings, "aged", days=3)
    aws.snapshots.all = [each for each in aws.snapshots.all if each.own]
    aws.parameters.put(LATEST, copied, BY_HAND)
    promote(settings, aws, SUNDAY)
    aws.time += timedelta(hours=1)
    aws.pipelines.finish(PIPELINE)
    ended = Ended(PIPELINE, "run-2", "SUCCEEDED")
    (entry,) = follow(settings, aws, ended).databases
    assert entry["age_hours"] == 73.0
    assert "data 73 h old" in aws.notifier.sent[-1].subject
    (shown,) = status(settings, aws)["databases"]
    assert (shown["created"], shown["age_hours"]) == ("2026-01-01T04:00:00+00:00", 73.0)


def test_a_snapshot_that_is_no_copy_keeps_its_own_age(settings: Settings, aws: InMemoryAws) -> None:
    add_copy(aws, settings, "aged", days=3)
    (shown,) = status(settings, aws)["databases"]
    assert shown["created"] == "2025-12-25T13:00:00+00:00"


def test_a_copy_is_stale_by_the_age_of_its_data(settings: Settings, aws: InMemoryAws) -> None:
    copied = add_copy(aws, settings, "aged", days=15)
    aws.parameters.put(LATEST, copied, BY_HAND)
    assert told(promote(settings, aws, SUNDAY)) == (
        "failed",
        "snapshot-stale",
        f"{copied} is 15 days old, the limit is 14",
    )


def test_pinning_latest_pins_the_copy(settings: Settings, aws: InMemoryAws) -> None:
    copied = add_copy(aws, settings, "aged", days=3)
    aws.parameters.put(LATEST, copied, BY_HAND)
    wish = Pin("latest", "kim", "", deploy=False)
    assert pin(settings, aws, settings.databases[0], wish)["current"] == copied
    assert aws.values()[CURRENT] == copied


# --- delivered twice ------------------------------------------------------------------------------


def test_an_update_delivered_twice_asks_for_one_copy(settings: Settings, aws: InMemoryAws) -> None:
    first = update(settings, aws, TWO_O_CLOCK)
    second = update(settings, aws, TWO_O_CLOCK)
    assert (first.outcome, second.outcome) == ("unchanged", "unchanged")
    assert len(own_arns(aws)) == 1


def test_two_updates_at_once_ask_for_one_copy(settings: Settings, aws: InMemoryAws) -> None:
    """Both saw none; RDS makes one of a name, and the second finds that it is ours."""

    def race(when: str, operation: str) -> None:
        if (when, operation) == ("before", "copy"):
            aws.interrupt = lambda when, operation: None
            update(settings, aws, TWO_O_CLOCK)

    aws.interrupt = race
    answer = update(settings, aws, TWO_O_CLOCK)
    assert told(answer) == ("unchanged", None, None)
    assert answer.databases[0]["copy"]["arn"] == copy_of(settings, "new")
    assert own_arns(aws) == [copy_of(settings, "new")]
    assert copies_made(aws) == 2
    assert aws.notifier.sent == []


def test_a_name_that_a_stranger_took_between_the_two_is_refused(
    settings: Settings, aws: InMemoryAws
) -> None:
    stranger = snapshot(copying_of(settings).name_for(snapshot("new")), ACCEPTANCE)

    def race(when: str, operation: str) -> None:
        if (when, operation) == ("before", "copy"):
            aws.snapshots.all.append(stranger)

    aws.interrupt = race
    assert update(settings, aws, TWO_O_CLOCK).reason == "copy-name-taken"


# --- while it is copied ---------------------------------------------------------------------------


@pytest.mark.parametrize("latest", ["dummyvalue", "an older copy", "the share itself"])
def test_the_restore_says_that_the_newest_is_still_copied(
    settings: Settings, aws: InMemoryAws, latest: str
) -> None:
    older = add_copy(aws, settings, "older", days=5)
    values = {"an older copy": older, "the share itself": arn("new")}
    aws.parameters.put(LATEST, values.get(latest, latest), BY_HAND)
    update(settings, aws, TWO_O_CLOCK)
    aws.parameters.put(LATEST, values.get(latest, latest), BY_HAND)

    answer = promote(settings, aws, SUNDAY)

    assert told(answer) == (
        "failed",
        "copy-pending",
        f"the copy of {arn('new')} is copying, 40 % done",
    )
    assert aws.values()[CURRENT] == arn("old")
    assert runs_started(aws) == 0
    (notice,) = aws.notifier.sent
    assert notice.subject == "aurora-refresh: REFRESH FAILED: copy-pending (rds)"


def test_a_person_hears_the_same(settings: Settings, aws: InMemoryAws) -> None:
    update(settings, aws, TWO_O_CLOCK)
    order = RefreshRequest.by_hand("kim", "now", outside_window=False)
    for dry_run in (True, False):
        answer = refresh_now(settings, aws, order, dry_run=dry_run)
        assert (answer.outcome, answer.reason) == ("failed", "copy-pending")


def test_what_a_killed_attempt_put_is_taken_back_while_a_newer_one_is_copied(
    settings: Settings, aws: InMemoryAws
) -> None:
    older = add_copy(aws, settings, "older", days=5)
    aws.parameters.put(LATEST, older, BY_HAND)
    kill(aws, "after", "put")
    with pytest.raises(Killed):
        promote(settings, aws, SUNDAY)
    calm(aws)
    update(settings, aws, TWO_O_CLOCK)
    assert promote(settings, aws, SUNDAY).reason == "copy-pending"
    assert aws.values()[CURRENT] == arn("old")


@pytest.mark.parametrize("present", ["an older copy", "the share itself", "refreshed to the older"])
def test_the_newest_copy_is_promoted_although_the_poll_has_not_seen_it(
    settings: Settings, aws: InMemoryAws, present: str
) -> None:
    """RDS may finish it in the quarter of an hour before the restore; the poll then says the same."""
    older = add_copy(aws, settings, "older", days=5)
    if present == "refreshed to the older":
        aws.parameters.put(CURRENT, older, BY_HAND)
        aws.pipelines.start(PIPELINE, "a token")
        aws.pipelines.finish(PIPELINE)
    aws.parameters.put(LATEST, arn("new") if present == "the share itself" else older, BY_HAND)
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    aws.parameters.put(LATEST, arn("new") if present == "the share itself" else older, BY_HAND)
    calm(aws, minutes=5)

    assert promote(settings, aws, SUNDAY).outcome == "started"

    assert aws.values()[CURRENT] == copy_of(settings, "new")
    follow_copies(settings, aws, POLLED)
    assert aws.values()[LATEST] == copy_of(settings, "new")


def test_the_first_copy_is_waited_for_until_the_poll_has_recorded_it(
    settings: Settings, aws: InMemoryAws
) -> None:
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    assert told(promote(settings, aws, SUNDAY)) == (
        "failed",
        "copy-pending",
        f"{copy_of(settings, 'new')} is available, and not recorded in latest yet",
    )


def test_an_older_copy_under_way_is_not_waited_for(settings: Settings, aws: InMemoryAws) -> None:
    newer = add_copy(aws, settings, "newer", days=1)
    add_copy(aws, settings, "older", days=5, status="copying")
    aws.parameters.put(LATEST, newer, BY_HAND)
    assert promote(settings, aws, SUNDAY).outcome == "started"


def test_without_any_copy_under_way_a_placeholder_is_no_latest(
    settings: Settings, aws: InMemoryAws
) -> None:
    assert promote(settings, aws, SUNDAY).reason == "no-latest"


def test_a_missing_parameter_is_told_before_a_copy_under_way(
    settings: Settings, aws: InMemoryAws
) -> None:
    update(settings, aws, TWO_O_CLOCK)
    del aws.parameters.kept[LATEST]
    assert promote(settings, aws, SUNDAY).reason == "parameter-missing"


# --- what must not be promoted --------------------------------------------------------------------


def test_the_share_itself_is_not_promoted(settings: Settings, aws: InMemoryAws) -> None:
    aws.parameters.put(LATEST, arn("new"), BY_HAND)
    assert told(promote(settings, aws, SUNDAY)) == (
        "failed",
        "not-eligible",
        f"{arn('new')} is no copy of ours under {KEY}, as the stage asks for",
    )
    assert aws.values()[CURRENT] == arn("old")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RDS_COPY_KMS_KEY_ID": "alias/new"}, "a copy under another key than alias/new"),
        ({"RDS_ENGINE_VERSION": "16"}, "engine version 15.4, wanted 16"),
        ({"SOURCE_ACCOUNT": "999999999999"}, "account 111111111111, wanted 999999999999"),
        ({"RDS_SOURCE_CLUSTER": "billing"}, "cluster orders, wanted billing"),
    ],
)
def test_a_copy_that_the_stage_does_not_want_any_more_is_not_promoted(
    settings: Settings, aws: InMemoryAws, changes: dict[str, str], message: str
) -> None:
    copied = add_copy(aws, settings, "aged", days=3)
    aws.parameters.put(LATEST, copied, BY_HAND)
    changed = Settings.from_environment(COPIED | changes)
    assert told(promote(changed, aws, SUNDAY)) == (
        "failed",
        "not-eligible",
        f"{copied}: {message}",
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda aws, copied: aws.snapshots.tags.pop(copied),
        lambda aws, copied: aws.snapshots.tags[copied].update({MADE_FOR: OTHER_LATEST}),
        lambda aws, copied: aws.snapshots.all.clear(),
    ],
    ids=["no tags", "another database's", "gone"],
)
def test_what_is_not_ours_any_more_is_not_promoted(
    settings: Settings, aws: InMemoryAws, spoil: Callable[[InMemoryAws, str], object]
) -> None:
    copied = add_copy(aws, settings, "aged", days=3)
    aws.parameters.put(LATEST, copied, BY_HAND)
    spoil(aws, copied)
    assert promote(settings, aws, SUNDAY).reason == "not-eligible"


def test_another_key_makes_another_copy(settings: Settings, aws: InMemoryAws) -> None:
    """What lies under the old key stays ours, and goes in its turn."""
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    changed = Settings.from_environment(COPIED | {"RDS_COPY_KMS_KEY_ID": "alias/new"})
    assert update(changed, aws, TWO_O_CLOCK).databases[0]["copy"]["arn"] == copy_of(changed, "new")
    assert promote(changed, aws, SUNDAY).reason == "copy-pending"
    aws.snapshots.settle()
    assert follow_copies(changed, aws, POLLED).outcome == "updated"
    assert aws.values()[LATEST] == copy_of(changed, "new")
    assert own_arns(aws) == sorted([copy_of(settings, "new"), copy_of(changed, "new")])


def test_another_cluster_is_copied_although_the_old_ones_copy_is_newer(
    settings: Settings, aws: InMemoryAws
) -> None:
    add_copy(aws, settings, "orders-today", days=0)
    aws.snapshots.all.append(snapshot("billing", cluster="billing"))
    changed = Settings.from_environment(COPIED | {"RDS_SOURCE_CLUSTER": "billing"})
    update(changed, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    follow_copies(changed, aws, POLLED)
    assert aws.values()[LATEST] == copy_of(changed, "billing")


def test_nothing_older_than_a_copy_is_copied(settings: Settings, aws: InMemoryAws) -> None:
    """Its source may have been deleted since."""
    copied = add_copy(aws, settings, "today", days=0)
    assert update(settings, aws, TWO_O_CLOCK).outcome == "updated"
    assert aws.values()[LATEST] == copied
    assert copies_made(aws) == 0


# --- what only people can mend --------------------------------------------------------------------


def deny_key(aws: InMemoryAws) -> None:
    aws.snapshots.denied.add(KEY)


def fill_quota(aws: InMemoryAws) -> None:
    aws.snapshots.all += [
        snapshot(f"theirs-{number}", ACCEPTANCE, status="copying")
        for number in range(COPIES_UNDER_WAY)
    ]


def lose_source(aws: InMemoryAws) -> None:
    """Production deletes it between the listing and the copy."""

    def interrupt(when: str, operation: str) -> None:
        if (when, operation) == ("before", "copy"):
            aws.snapshots.all = [each for each in aws.snapshots.all if each.arn != arn("new")]

    aws.interrupt = interrupt


def unencrypted(aws: InMemoryAws) -> None:
    aws.snapshots.unencrypted.add(arn("new"))


def take_name(aws: InMemoryAws) -> None:
    name = copying_of(Settings.from_environment(COPIED)).name_for(snapshot("new"))
    aws.snapshots.all.append(snapshot(name, ACCEPTANCE))


def fail_copy(aws: InMemoryAws) -> None:
    settings = Settings.from_environment(COPIED)
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle("failed")


REFUSALS = [
    (deny_key, "copy-key-denied", f"RDS refused to copy {arn('new')}: no access to {KEY}"),
    (fill_quota, "copy-quota", f"RDS refused to copy {arn('new')}: too many copies under way"),
    (lose_source, "snapshot-gone", f"RDS refused to copy {arn('new')}: it is not available"),
    (unencrypted, "copy-unencrypted", f"RDS refused to copy {arn('new')}: it is not encrypted"),
    (
        take_name,
        "copy-name-taken",
        "there is a snapshot {name}, which has no tags of ours",
    ),
    (fail_copy, "copy-failed", f"the copy of {arn('new')} failed"),
]


@pytest.mark.parametrize(
    ("happens", "reason", "message"), REFUSALS, ids=[reason for _, reason, _ in REFUSALS]
)
def test_what_people_must_mend_has_a_name_and_is_told(
    settings: Settings,
    aws: InMemoryAws,
    happens: Callable[[InMemoryAws], None],
    reason: str,
    message: str,
) -> None:
    happens(aws)
    before = aws.values()
    answer = update(settings, aws, TWO_O_CLOCK)
    name = copying_of(settings).name_for(snapshot("new"))
    assert told(answer) == ("failed", reason, message.format(name=name))
    assert aws.values() == before
    (notice,) = aws.notifier.sent
    assert notice.subject == f"aurora-refresh: REFRESH FAILED: {reason} (rds)"
    assert "db-update-latest-snapshot-id decided not to act" in notice.body


@pytest.mark.parametrize(
    "happens", [case[0] for case in REFUSALS], ids=[case[1] for case in REFUSALS]
)
def test_what_cannot_be_copied_leaves_what_is_there(
    settings: Settings, aws: InMemoryAws, happens: Callable[[InMemoryAws], None]
) -> None:
    """The last good copy can still be restored."""
    older = add_copy(aws, settings, "older", days=9)
    happens(aws)
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    aws.interrupt = lambda when, operation: None
    follow_copies(settings, aws, POLLED)
    assert aws.values()[LATEST] == older
    assert older in own_arns(aws)
    assert promote(settings, aws, SUNDAY).outcome == "started"


def test_what_was_mended_is_copied_by_the_next_update(settings: Settings, aws: InMemoryAws) -> None:
    deny_key(aws)
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.denied.clear()
    assert update(settings, aws, TWO_O_CLOCK).outcome == "unchanged"
    assert own_arns(aws) == [copy_of(settings, "new")]


def test_a_copy_that_failed_is_told_once_deleted_and_asked_for_anew(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Production deleted its snapshot, or the key went away, half-way."""
    fail_copy(aws)
    copied = copy_of(settings, "new")

    answer = follow_copies(settings, aws, POLLED)

    assert told(answer) == ("failed", "copy-failed", f"the copy of {arn('new')} failed")
    assert answer.databases[0]["deleted"] == [copied]
    assert own_arns(aws) == []
    (notice,) = aws.notifier.sent
    assert notice.subject == "aurora-refresh: REFRESH FAILED: copy-failed (rds)"
    assert "db-follow-copies decided not to act" in notice.body
    assert "the schedule of 2026-01-04T04:15:00+00:00" in notice.body
    assert follow_copies(settings, aws, POLLED).outcome == "unchanged"
    assert len(aws.notifier.sent) == 1
    assert update(settings, aws, TWO_O_CLOCK).databases[0]["copy"]["arn"] == copied


def test_a_source_that_is_gone_half_way_leaves_the_next_newest(
    settings: Settings, aws: InMemoryAws
) -> None:
    fail_copy(aws)
    aws.snapshots.all = [each for each in aws.snapshots.all if each.arn != arn("new")]
    follow_copies(settings, aws, POLLED)
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    (copied,) = own_arns(aws)
    assert aws.values()[LATEST] == copied
    assert aws.snapshots.tags[copied][SOURCE] == arn("old")


def test_a_snapshot_taken_anew_under_its_old_name_is_copied(
    settings: Settings, aws: InMemoryAws
) -> None:
    """Some companies share one name for ever, and take what it stands for anew."""
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    anew = snapshot("new", created=SUNDAY)
    aws.snapshots.all = [anew if each.arn == anew.arn else each for each in aws.snapshots.all]
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    assert copies_made(aws) == 2
    assert aws.snapshots.tags[aws.values()[LATEST]][TAKEN] == SUNDAY.isoformat()


def test_a_failed_copy_under_an_old_key_is_cleared_away(
    settings: Settings, aws: InMemoryAws
) -> None:
    fail_copy(aws)
    changed = Settings.from_environment(COPIED | {"RDS_COPY_KMS_KEY_ID": "alias/new"})
    assert update(changed, aws, TWO_O_CLOCK).outcome == "unchanged"
    assert follow_copies(changed, aws, POLLED).reason == "copy-failed"
    assert own_arns(aws) == [copy_of(changed, "new")]


def test_a_failed_copy_is_told_although_another_call_fails(
    settings: Settings, aws: InMemoryAws
) -> None:
    """What is deleted can be told by nobody later."""
    fail_copy(aws)
    refuse(aws, "delete")
    with pytest.raises(AwsError):
        follow_copies(settings, aws, POLLED)
    assert [notice.attributes["reason"] for notice in aws.notifier.sent] == ["copy-failed"]
    assert own_arns(aws) == [copy_of(settings, "new")]


def test_what_aws_did_not_do_is_raised(settings: Settings, aws: InMemoryAws) -> None:
    for operation in ("own", "copy"):
        refuse(aws, operation)
        with pytest.raises(AwsError, match=f"{operation} of it failed"):
            update(settings, aws, TWO_O_CLOCK)
    for operation in ("get", "own"):
        refuse(aws, operation)
        with pytest.raises(AwsError, match=f"{operation} of it failed"):
            follow_copies(settings, aws, POLLED)


# --- retention ------------------------------------------------------------------------------------


def poll_with(settings: Settings, aws: InMemoryAws, *, keep: int = 1, **changes: str) -> list[str]:
    """What a poll lets go, by the names of the sources."""
    kept = Settings.from_environment(COPIED | changes | {"RDS_COPIES_TO_KEEP": str(keep)})
    answer = follow_copies(kept, aws, POLLED)
    assert answer.reason is None
    names = {copy_of(settings, each): each for each in "abcdef"}
    return [names[each] for each in answer.databases[0]["deleted"]]


@pytest.fixture
def five(settings: Settings, aws: InMemoryAws) -> dict[str, str]:
    """Five copies, ``a`` the oldest; *latest* has been recorded, and *current* is a share."""
    made = {name: add_copy(aws, settings, name, days=DAYS[name]) for name in "abcde"}
    aws.parameters.put(LATEST, made["e"], BY_HAND)
    return made


def test_the_oldest_beyond_the_number_are_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    assert poll_with(settings, aws, keep=3) == ["b", "a"]
    assert own_arns(aws) == sorted(five[name] for name in "cde")
    assert poll_with(settings, aws, keep=3) == []


def test_three_are_kept_where_the_stage_says_nothing(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    follow_copies(settings, aws, POLLED)
    assert own_arns(aws) == sorted(five[name] for name in "cde")


def test_an_update_deletes_nothing(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    update(settings, aws, TWO_O_CLOCK)
    assert set(own_arns(aws)) > set(five.values())


def test_what_current_leads_to_is_never_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    aws.parameters.put(CURRENT, five["a"], BY_HAND)
    assert poll_with(settings, aws) == ["d", "c", "b"]


def test_what_a_rollback_goes_back_to_is_never_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    for name in "bac":
        aws.parameters.put(CURRENT, five[name], BY_HAND)
    aws.parameters.put(CURRENT, five["c"], BY_HAND)
    aws.parameters.put(CURRENT, "a secret by mistake", BY_HAND)
    aws.parameters.put(CURRENT, five["c"], BY_HAND)
    assert poll_with(settings, aws) == ["d", "b"]


def test_what_is_good_is_never_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    for name in "bacd":
        aws.parameters.put(CURRENT, five[name], BY_HAND)
    aws.parameters.mark_good(CURRENT, 2)  # b: the first was a share
    assert poll_with(settings, aws) == ["a"]


def test_what_latest_leads_to_is_never_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    """Not the newest copy: the stage wants other ones by now."""
    for name in "cde":
        aws.snapshots.all = [
            each._replace(engine_version="14.9") if each.arn == five[name] else each
            for each in aws.snapshots.all
        ]
    aws.parameters.put(LATEST, five["b"], BY_HAND)
    assert poll_with(settings, aws) == ["d", "c", "a"]
    assert aws.values()[LATEST] == five["b"]


def test_what_latest_led_to_until_this_poll_is_not_deleted_yet(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    """A promotion that has read it may be about to put it."""
    aws.parameters.put(LATEST, five["a"], BY_HAND)
    assert poll_with(settings, aws) == ["d", "c", "b"]
    assert aws.values()[LATEST] == five["e"]
    assert poll_with(settings, aws) == ["a"]


def test_what_an_operator_pins_meanwhile_is_not_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    """*Current* is looked at right before, not when the poll began."""

    def race(when: str, operation: str) -> None:
        if (when, operation) == ("before", "history"):
            aws.interrupt = lambda when, operation: None
            aws.parameters.put(CURRENT, five["a"], BY_HAND)

    aws.interrupt = race
    assert poll_with(settings, aws) == ["d", "c", "b"]


def test_without_a_current_nothing_but_latest_is_led_to(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    del aws.parameters.kept[CURRENT]
    assert poll_with(settings, aws) == ["d", "c", "b", "a"]


def test_nothing_is_deleted_where_current_cannot_be_read(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    refuse(aws, "history")
    with pytest.raises(AwsError):
        poll_with(settings, aws)
    assert own_arns(aws) == sorted(five.values())


@pytest.mark.parametrize(
    "strange",
    [
        lambda aws, copied: aws.snapshots.tags.pop(copied),
        lambda aws, copied: aws.snapshots.tags[copied].pop(MADE_FOR),
        lambda aws, copied: aws.snapshots.tags[copied].update({MADE_FOR: OTHER_LATEST}),
    ],
    ids=["no tags", "not made for anybody", "another database's"],
)
@pytest.mark.parametrize("status", ["available", "failed"])
def test_a_snapshot_with_our_name_alone_is_never_deleted(
    settings: Settings,
    aws: InMemoryAws,
    five: dict[str, str],
    strange: Callable[[InMemoryAws, str], object],
    status: str,
) -> None:
    strange(aws, five["a"])
    aws.snapshots.all = [
        each._replace(status=status) if each.arn == five["a"] else each
        for each in aws.snapshots.all
    ]
    assert poll_with(settings, aws) == ["d", "c", "b"]
    assert five["a"] in own_arns(aws)


@pytest.mark.parametrize("name", ["before-the-upgrade", f"my-{PREFIX}a"])
@pytest.mark.parametrize("status", ["available", "failed"])
def test_a_snapshot_with_our_tags_alone_is_never_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str], name: str, status: str
) -> None:
    """Somebody has copied a copy, with its tags."""
    theirs = arn(name, ACCEPTANCE)
    aws.snapshots.all.append(snapshot(name, ACCEPTANCE, status=status))
    aws.snapshots.tags[theirs] = dict(aws.snapshots.tags[five["a"]])
    assert poll_with(settings, aws) == ["d", "c", "b", "a"]
    assert theirs in own_arns(aws)


def test_a_share_with_our_name_is_left_alone(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    """Anybody may share a snapshot of any name, but its tags cannot be seen here."""
    name = copy_of(settings, "a").rpartition(":")[2]
    share = snapshot(name, created=SUNDAY)
    aws.snapshots.all.append(share)
    poll_with(settings, aws)
    assert share in aws.snapshots.all


def test_a_copy_under_way_is_not_deleted(
    settings: Settings, aws: InMemoryAws, five: dict[str, str]
) -> None:
    add_copy(aws, settings, "f", days=DAYS["f"], status="copying")
    assert poll_with(settings, aws, keep=5) == []


# --- two databases --------------------------------------------------------------------------------


@pytest.fixture
def one_of_two() -> Settings:
    """The documents are copied, the other database is restored from the share."""
    return Settings.from_environment(TWO_OF_WHICH_ONE)


@pytest.fixture
def both(aws: InMemoryAws) -> InMemoryAws:
    aws.snapshots.all.append(snapshot("docs-new", **DOCUMENTS))
    aws.parameters.put(OTHER_LATEST, "dummyvalue", BY_HAND)
    aws.parameters.put(OTHER_CURRENT, arn("docs-old"), BY_HAND)
    aws.calls.clear()
    return aws


def test_only_the_database_that_has_copies_waits_for_one(
    one_of_two: Settings, both: InMemoryAws
) -> None:
    answer = update(one_of_two, both, TWO_O_CLOCK)
    assert answer.outcome == "updated"
    assert [(each["outcome"], "copy" in each) for each in answer.databases] == [
        ("updated", False),
        ("unchanged", True),
    ]
    assert both.values()[LATEST] == arn("new")
    assert both.values()[OTHER_LATEST] == "dummyvalue"
    assert promote(one_of_two, both, SUNDAY).reason == "copy-pending"
    assert both.values()[CURRENT] == arn("old")
    both.snapshots.settle()
    polled = follow_copies(one_of_two, both, POLLED)
    assert [each["name"] for each in polled.databases] == ["docs"]
    assert promote(one_of_two, both, SUNDAY).outcome == "started"
    docs = one_of_two.databases[1].copy_policy
    assert docs is not None
    assert both.values()[CURRENT] == arn("new")
    assert both.values()[OTHER_CURRENT] == arn(docs.name_for(snapshot("docs-new")), ACCEPTANCE)


def test_a_placeholder_of_a_database_without_copies_is_no_latest(
    one_of_two: Settings, both: InMemoryAws
) -> None:
    copied = update(one_of_two, both, TWO_O_CLOCK).databases[1]["copy"]["arn"]
    both.snapshots.settle()
    both.parameters.put(OTHER_LATEST, copied, BY_HAND)
    both.parameters.put(LATEST, "dummyvalue", BY_HAND)
    both.snapshots.all.append(snapshot("docs-newer", **DOCUMENTS, created=SUNDAY))
    update(one_of_two, both, TWO_O_CLOCK)
    both.parameters.put(LATEST, "dummyvalue", BY_HAND)
    assert promote(one_of_two, both, SUNDAY).reason == "no-latest"


def test_what_fails_for_one_database_is_told_although_the_others_is_recorded(
    both: InMemoryAws,
) -> None:
    settings = Settings.from_environment(TWO_OF_WHICH_ONE | {"RDS_COPY_KMS_KEY_ID": KEY})
    update(settings, both, TWO_O_CLOCK)
    both.snapshots.all = [
        each._replace(
            status="failed" if each.engine == "docdb" else "available",
        )
        if each.status == "copying"
        else each
        for each in both.snapshots.all
    ]
    answer = follow_copies(settings, both, POLLED)
    assert (answer.outcome, answer.reason) == ("failed", "copy-failed")
    assert [(each["outcome"], len(each["deleted"])) for each in answer.databases] == [
        ("updated", 0),
        ("failed", 1),
    ]
    assert both.values()[LATEST] == copy_of(settings, "new")


def refuse_for(aws: InMemoryAws, operation: str, *subjects: str) -> None:
    """AWS does not do this for these."""
    call = getattr(aws.snapshots, operation)

    def refusing(subject: str, *more: Any) -> Any:
        if subject in subjects:
            raise AwsError(operation, subject, "InvalidDBClusterSnapshotStateFault", "no")
        return call(subject, *more)

    setattr(aws.snapshots, operation, refusing)


def test_what_aws_does_not_copy_for_one_database_stops_no_other(both: InMemoryAws) -> None:
    settings = Settings.from_environment(TWO_OF_WHICH_ONE | {"RDS_COPY_KMS_KEY_ID": KEY})
    refuse_for(both, "copy", arn("new"))
    with pytest.raises(AwsError, match=f"copy of {arn('new')} failed"):
        update(settings, both, TWO_O_CLOCK)
    assert [both.snapshots.tags[each][SOURCE] for each in own_arns(both)] == [arn("docs-new")]


def test_what_is_refused_beside_it_is_told_with_what_aws_did_not_do(both: InMemoryAws) -> None:
    """An attempt that raises has no answer."""
    settings = Settings.from_environment(TWO_OF_WHICH_ONE | {"RDS_COPY_KMS_KEY_ID": KEY})
    refuse_for(both, "copy", arn("new"))
    both.snapshots.unencrypted.add(arn("docs-new"))
    with pytest.raises(AwsError):
        update(settings, both, TWO_O_CLOCK)
    (notice,) = both.notifier.sent
    assert f"copy of {arn('new')} failed" in notice.body
    assert f"RDS refused to copy {arn('docs-new')}: it is not encrypted." in notice.body


def test_a_copy_that_cannot_be_deleted_keeps_no_other_databases(both: InMemoryAws) -> None:
    settings = Settings.from_environment(
        TWO_OF_WHICH_ONE | {"RDS_COPY_KMS_KEY_ID": KEY, "RDS_COPIES_TO_KEEP": "1"}
    )
    update(settings, both, TWO_O_CLOCK)
    both.snapshots.settle("failed")
    for name in "abc":
        add_copy(both, settings, name, days=DAYS[name])
    broken = [each.arn.rpartition(":")[2] for each in both.snapshots.all if each.status == "failed"]
    refuse_for(both, "delete", *broken)
    with pytest.raises(AwsError) as raised:
        follow_copies(settings, both, POLLED)
    assert len([str(raised.value), *raised.value.__notes__]) == len(broken) == 2
    assert copy_of(settings, "c") in own_arns(both)
    assert len(own_arns(both)) == 3


def test_a_ledger_that_cannot_be_read_keeps_no_other_database(both: InMemoryAws) -> None:
    settings = Settings.from_environment(
        TWO_OF_WHICH_ONE | {"RDS_COPY_KMS_KEY_ID": KEY, "RDS_COPIES_TO_KEEP": "1"}
    )
    for name in "ab":
        add_copy(both, settings, name, days=DAYS[name])
    update(settings, both, TWO_O_CLOCK)
    both.snapshots.settle()
    refuse(both, "history")
    with pytest.raises(AwsError, match="history of it failed"):
        follow_copies(settings, both, POLLED)
    docs = both.values()[OTHER_LATEST]
    assert both.snapshots.tags[docs][SOURCE] == arn("docs-new")


def test_the_sixth_database_is_copied_by_an_update_that_comes_again(aws: InMemoryAws) -> None:
    """RDS copies five at a time: several updates a night are the way to more."""
    prefixes = [f"D{number}" for number in range(COPIES_UNDER_WAY + 1)]
    stage = {name: value for name, value in STAGE.items() if "RDS" not in name}
    for prefix in prefixes:
        stage |= {
            f"SSM_{prefix}_LATEST_SNAPSHOT_NAME": f"/{prefix}/latest",
            f"SSM_{prefix}_CURRENT_SNAPSHOT_NAME": f"/{prefix}/current",
            f"{prefix}_ENGINE": "docdb",
            f"{prefix}_ENGINE_VERSION": "5",
            f"{prefix}_SOURCE_CLUSTER": prefix.lower(),
            f"{prefix}_COPY_KMS_KEY_ID": KEY,
        }
    settings = Settings.from_environment(stage | {"DATABASES": ",".join(prefixes)})
    aws.snapshots.all += [
        snapshot(f"of-{each}", **DOCUMENTS | {"cluster": each.lower()}) for each in prefixes
    ]
    assert update(settings, aws, TWO_O_CLOCK).reason == "copy-quota"
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    assert update(settings, aws, TWO_O_CLOCK).reason is None
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    latest = [aws.values()[f"/{prefix}/latest"] for prefix in prefixes]
    assert [aws.snapshots.tags[each][SOURCE] for each in latest] == [
        arn(f"of-{each}") for each in prefixes
    ]


def test_the_databases_share_the_quota_and_not_their_fate(both: InMemoryAws) -> None:
    settings = Settings.from_environment(TWO_OF_WHICH_ONE | {"RDS_COPY_KMS_KEY_ID": KEY})
    both.snapshots.all += [
        snapshot(f"theirs-{number}", ACCEPTANCE, status="copying")
        for number in range(COPIES_UNDER_WAY - 1)
    ]
    answer = update(settings, both, TWO_O_CLOCK)
    assert [(each["outcome"], each["reason"]) for each in answer.databases] == [
        ("unchanged", None),
        ("failed", "copy-quota"),
    ]
    both.snapshots.settle()
    follow_copies(settings, both, POLLED)
    assert both.values()[LATEST] == copy_of(settings, "new")


def test_without_copies_nobody_lists_own_snapshots(aws: InMemoryAws) -> None:
    """A function's role need not be allowed it."""
    plain = Settings.from_environment(STAGE)
    refuse(aws, "own")
    update(plain, aws, TWO_O_CLOCK)
    assert promote(plain, aws, SUNDAY).outcome == "started"
    assert status(plain, aws)["problems"] == []


# --- a process that dies --------------------------------------------------------------------------


def crowded() -> InMemoryAws:
    """A poll has everything to do: record, tell of a failure, and let go."""
    aws = first_night()
    settings = Settings.from_environment(COPIED)
    for name in "abcde":
        add_copy(aws, settings, name, days=DAYS[name])
    add_copy(aws, settings, "broken", days=DAYS["broken"], status="failed")
    aws.parameters.put(LATEST, copy_of(settings, "d"), BY_HAND)
    aws.parameters.put(CURRENT, copy_of(settings, "a"), BY_HAND)
    return aws


def available() -> InMemoryAws:
    """An update finds one copy to record, and another one to ask for."""
    aws = first_night()
    settings = Settings.from_environment(COPIED)
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    aws.snapshots.all.append(snapshot("newer", created=SUNDAY - timedelta(hours=3)))
    return aws


UseCase = Callable[[Settings, InMemoryAws, datetime], Result]
SITUATIONS: list[tuple[UseCase, Callable[[], InMemoryAws], list[str]]] = [
    (update, first_night, ["shared", "get", "own", "copy"]),
    (update, available, ["shared", "get", "own", "copy", "put"]),
    (
        follow_copies,
        crowded,
        ["get", "own", "put", "history", "_publish", "delete", "delete", "delete"],
    ),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("use_case", "arrange", "calls", "nth"),
    [(*situation, nth) for situation in SITUATIONS for nth in range(len(situation[2]))],
)
def test_a_process_that_dies_anywhere_and_runs_again_ends_in_the_same_state(
    use_case: UseCase,
    arrange: Callable[[], InMemoryAws],
    calls: list[str],
    nth: int,
    when: str,
) -> None:
    kept = Settings.from_environment(COPIED | {"RDS_COPIES_TO_KEEP": "2"})
    undisturbed = arrange()
    undisturbed.calls.clear()
    use_case(kept, undisturbed, TWO_O_CLOCK)
    assert undisturbed.calls == calls

    aws = arrange()
    kill(aws, when, calls[nth], calls[: nth + 1].count(calls[nth]))
    if (when, calls[nth]) not in {("after", "shared"), ("after", "own")}:  # listings end nowhere
        with pytest.raises(Killed):
            use_case(kept, aws, TWO_O_CLOCK)
    calm(aws, minutes=0)
    use_case(kept, aws, TWO_O_CLOCK)
    assert state(aws) == state(undisturbed)


def test_a_failed_copy_that_cannot_be_deleted_keeps_nothing_else(settings: Settings) -> None:
    """AWS documents only that available ones can be deleted."""
    aws = crowded()
    broken = copy_of(settings, "broken").rpartition(":")[2]
    delete = aws.snapshots.delete

    def refuse_broken(identifier: str) -> None:
        if identifier == broken:
            code = "InvalidDBClusterSnapshotStateFault"
            raise AwsError("DeleteDBClusterSnapshot", identifier, code, "no")
        delete(identifier)

    aws.snapshots.delete = refuse_broken  # type: ignore[method-assign]
    kept = Settings.from_environment(COPIED | {"RDS_COPIES_TO_KEEP": "2"})
    with pytest.raises(AwsError, match=broken):
        follow_copies(kept, aws, POLLED)
    assert aws.values()[LATEST] == copy_of(settings, "e")
    assert own_arns(aws) == sorted(copy_of(settings, name) for name in ("a", "d", "e", "broken"))


def test_a_crowded_poll_does_all_of_it(settings: Settings) -> None:
    aws = crowded()
    kept = Settings.from_environment(COPIED | {"RDS_COPIES_TO_KEEP": "2"})
    answer = follow_copies(kept, aws, POLLED)
    names = [copy_of(settings, name) for name in ("c", "b", "broken")]
    assert answer.databases[0]["deleted"] == names
    assert aws.values()[LATEST] == copy_of(settings, "e")
    assert own_arns(aws) == sorted(copy_of(settings, name) for name in "ade")


# --- what a tester sees ---------------------------------------------------------------------------


def problems(settings: Settings, aws: InMemoryAws) -> list[str]:
    aws.calls.clear()
    found: list[str] = status(settings, aws)["problems"]
    assert set(aws.calls) <= READING
    return found


PENDING = (
    f"rds: latest would not be promoted: the copy of {arn('new')} is copying, 40 % done. Wait until "
    "the copy is available, which db-follow-copies records in latest; then refresh by hand, POST "
    "/refresh, or leave it to the next schedule."
)


def test_the_status_says_what_the_first_night_waits_for(
    settings: Settings, aws: InMemoryAws
) -> None:
    update(settings, aws, TWO_O_CLOCK)
    no_latest, pending = problems(settings, aws)
    assert no_latest.startswith(f"{LATEST} holds 'dummyvalue', not the ARN")
    assert pending == PENDING


def test_the_status_says_that_a_newer_one_is_still_copied(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.parameters.put(LATEST, add_copy(aws, settings, "older", days=5), BY_HAND)
    update(settings, aws, TWO_O_CLOCK)
    assert problems(settings, aws) == [PENDING]
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    assert problems(settings, aws) == []


def test_the_status_of_a_database_that_has_its_latest_says_it_too(
    settings: Settings, aws: InMemoryAws
) -> None:
    older = add_copy(aws, settings, "older", days=5)
    aws.parameters.put(LATEST, older, BY_HAND)
    aws.parameters.put(CURRENT, older, BY_HAND)
    update(settings, aws, TWO_O_CLOCK)
    assert problems(settings, aws) == [PENDING]


def test_the_status_says_that_the_share_itself_would_not_be_promoted(
    settings: Settings, aws: InMemoryAws
) -> None:
    aws.parameters.put(LATEST, arn("new"), BY_HAND)
    (problem,) = problems(settings, aws)
    assert problem.startswith(
        f"rds: latest would not be promoted: {arn('new')} is no copy of ours under {KEY}"
    )


def test_the_status_of_a_refreshed_database_has_no_problem(
    settings: Settings, aws: InMemoryAws
) -> None:
    update(settings, aws, TWO_O_CLOCK)
    aws.snapshots.settle()
    follow_copies(settings, aws, POLLED)
    promote(settings, aws, SUNDAY)
    aws.time += timedelta(minutes=30)
    aws.pipelines.finish(PIPELINE)
    assert problems(settings, aws) == []
    run: Run = aws.pipelines.pipelines[PIPELINE][-1]
    follow(settings, aws, Ended(PIPELINE, run.execution_id, "SUCCEEDED"))
    assert problems(settings, aws) == []
