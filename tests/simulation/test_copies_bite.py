"""The histories of copies find what they are there to find: each planted fault breaks a guarantee."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chalicelib import notifications
from chalicelib.domain import copies, ownership
from chalicelib.domain.copies import Copy, CopyPolicy
from chalicelib.domain.snapshots import OwnSnapshot, Snapshot
from chalicelib.usecases import checks, update_latest
from chalicelib.usecases import copies as copying
from chalicelib.usecases.update_latest import _Look as Look
from tests.simulation.histories_of_copies import HistoriesOfCopies
from tests.simulation.test_it_bites import Plant, instead, nothing

REAL_EXPIRED = copies.expired
REAL_MANAGED = copies.managed_copies
REAL_NEWEST = copies.newest_copy
REAL_OWNED = ownership.owned
REAL_PROMOTABLE = copying.promotable_copy
REAL_READ = copies._read  # noqa: SLF001
REAL_UPDATE = Look.update


def retention_without(*forgotten: str) -> Plant:
    """Let the retention forget what one of its references leads to."""

    def expired_copies(aws: Any, database: Any, found: Any, latest: Any) -> list[Copy]:
        ledger = aws.parameters.history(database.current_parameter)
        good = copying.good_version(ledger)
        leading = {
            "latest": latest[0],
            "latest before": latest[1],
            "current": ledger[-1].value,
            "before": copying.earlier_snapshot(ledger),
            "good": good.value if good else None,
        }
        kept = [each for name, each in leading.items() if name not in forgotten and each]
        return REAL_EXPIRED(found, database.copy_policy, kept=kept)

    return instead(expired_copies, (update_latest, "expired_copies"))


def keeping(more: int) -> Any:
    """Keep another number of copies than was asked for."""

    def wrong(found: Sequence[Copy], policy: CopyPolicy, kept: Any) -> list[Copy]:
        return REAL_EXPIRED(found, policy._replace(keep=policy.keep + more), kept)

    return wrong


def by_name_only(snapshots: Iterable[OwnSnapshot], policy: CopyPolicy) -> list[Copy]:
    """Manage whatever bears the prefix."""
    found = []
    for own in snapshots:
        tags = ownership.tags(policy.made_for, own.snapshot.created) | {
            copies.SOURCE: own.snapshot.arn
        }
        found.append(own._replace(tags=tags | dict(own.tags), source=None))
    return REAL_MANAGED(found, policy)


def whatever_its_state(own: copying.ListOwn, policy: CopyPolicy, arn: str) -> Snapshot:
    """Promote the copy that `latest` names without a second look at it."""
    named = [each.snapshot for each in own() if each.snapshot.arn == arn]
    return named[0] if named else REAL_PROMOTABLE(own, policy, arn)


def what_latest_names(own: copying.ListOwn, policy: CopyPolicy, arn: str) -> Snapshot:
    """Promote no copy before the poll has recorded it."""
    found = copying.settled_copies(own, policy)
    named = [
        copy.snapshot for copy in found if copy.snapshot.available and copy.snapshot.arn == arn
    ]
    return named[0] if named else REAL_PROMOTABLE(own, policy, arn)


EXPIRED = (copying, "expired")
NEWEST = (update_latest, "newest_copy")
OWNED = (ownership, "owned")
PROMOTABLE = (checks, "promotable_copy")
READ = (copies, "_read")

PLANTED: dict[str, Plant] = {
    "retention forgets latest": retention_without("latest", "latest before"),
    "retention forgets what a pin of latest has just read": retention_without("latest before"),
    "retention forgets current": retention_without("current"),
    "retention forgets the value before": retention_without("before"),
    "retention forgets good": retention_without("good"),
    "retention by the number alone": retention_without(
        "latest", "latest before", "current", "before", "good"
    ),
    "no retention": instead(lambda *_: [], (update_latest, "expired_copies")),
    "one too few is kept": instead(keeping(-1), EXPIRED),
    "one too many is kept": instead(keeping(1), EXPIRED),
    "a copy in progress is deleted": instead(
        lambda found, policy, kept: [
            copy for copy in found[policy.keep :] if copy.snapshot.arn not in kept
        ],
        EXPIRED,
    ),
    "failed copies stay": instead(property(lambda self: False), (Snapshot, "failed")),
    "nobody hears of a failed copy": instead(nothing, (notifications, "of_result")),
    "managed by the name alone": instead(
        by_name_only, (update_latest, "managed_copies"), (copying, "managed_copies")
    ),
    "managed by the tags alone": instead(
        lambda own, prefix, made_for: REAL_OWNED(own, "", made_for), OWNED
    ),
    "managed for any stage": instead(
        lambda own, prefix, made_for: REAL_OWNED(own, prefix, own.tags.get(ownership.MADE_FOR, "")),
        OWNED,
    ),
    "a forged source": instead(
        lambda own, policy: REAL_READ(own._replace(source=None), policy), READ
    ),
    "data newer than its copy": instead(
        lambda own, policy: REAL_READ(
            own._replace(snapshot=own.snapshot._replace(created=None)), policy
        ),
        READ,
    ),
    "the age of the copy, not of its data": instead(
        lambda own, policy: (
            (copy := REAL_READ(own, policy)) and copy._replace(snapshot=own.snapshot)
        ),
        READ,
    ),
    "a copy in progress is ignored": instead(nothing, (copying, "pending_copy")),
    "latest to the share": instead(
        lambda self, database, choice: REAL_UPDATE(
            self, database._replace(copy_policy=None), choice
        ),
        (Look, "update"),
    ),
    "latest to a copy under any key": instead(
        lambda found, _: next((copy.snapshot for copy in found if copy.snapshot.available), None),
        NEWEST,
    ),
    "latest to an unfinished copy": instead(
        lambda found, _: next((copy.snapshot for copy in found if not copy.snapshot.failed), None),
        NEWEST,
    ),
    "latest to the oldest copy": instead(
        lambda found, policy: REAL_NEWEST(found[::-1], policy), NEWEST
    ),
    "a copy is requested twice": instead(
        lambda *_: copies.PREFIX + uuid.uuid4().hex, (CopyPolicy, "name")
    ),
    "the poll copies unasked": instead(
        lambda self, database: next(
            iter(self.aws.parameters.history(database.latest_parameter)), None
        ),
        (Look, "version_that_wants_a_copy"),
    ),
    "every share is copied": instead(lambda *_: True, (copying, "needs_copy")),
    "no second look at the copy": instead(whatever_its_state, PROMOTABLE),
    "only what latest names is promoted": instead(what_latest_names, PROMOTABLE),
    "one error stops all": instead(
        lambda items, action: ([action(item) for item in items], []), (update_latest, "run_each")
    ),
}


def histories() -> None:
    """The same histories each time, so that what is found does not depend on luck."""
    run_state_machine_as_test(
        HistoriesOfCopies,
        settings=settings(
            max_examples=400,
            stateful_step_count=15,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[fault](monkeypatch)
    with pytest.raises(AssertionError):  # whichever guarantee breaks first
        histories()


def test_without_a_fault_nothing_is_found() -> None:
    histories()
