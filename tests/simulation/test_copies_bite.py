"""The simulation finds faults in what is done with copies, too: each planted one breaks a guarantee."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from chalicelib.domain import copies, ownership
from chalicelib.domain.copies import Copy, CopyPolicy
from chalicelib.domain.snapshots import OwnSnapshot, Snapshot
from chalicelib.usecases import checks
from chalicelib.usecases import copies as copying
from chalicelib.usecases import update_latest as latest
from tests.simulation.histories_of_copies import HistoriesOfCopies

Plant = Callable[[pytest.MonkeyPatch], None]

REAL_OWNED = ownership.owned
REAL_NEWEST_COPY = copies.newest_copy
REAL_MANAGED = copies.managed_copies
REAL_PROMOTABLE = copying.promotable_copy
REAL_READ = copies._read  # noqa: SLF001
REAL_EXPIRED = copies.expired
REAL_PROMOTABLE = copying.promotable_copy
REAL_UPDATE_ONE = latest._update_one  # noqa: SLF001


def instead(wrong: Any, *places: tuple[Any, str]) -> Plant:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        for room, name in places:
            monkeypatch.setattr(room, name, wrong)

    return plant


def leading_without(*forgotten: str) -> Any:
    """Retention forgets where one of its references leads to; see `expired_copies`."""

    def beyond(aws: Any, database: Any, found: Any, values: Any) -> list[Copy]:
        ledger = aws.parameters.history(database.current_parameter)
        leading = {
            "latest": values[0],
            "latest before": values[1],
            "current": ledger[-1].value,
            "before": copying.earlier_snapshot(ledger),
            "good": next((entry.value for entry in ledger if entry.is_good), None),
        }
        kept = [each for name, each in leading.items() if name not in forgotten and each]
        return REAL_EXPIRED(found, database.copy_policy, kept=kept)

    return beyond


def by_number_alone(*arguments: Any) -> list[Copy]:
    """Retention goes by the number alone."""
    _, database, found, _ = arguments
    return REAL_EXPIRED(found, database.copy_policy, kept=())


def one_too_few(found: Sequence[Copy], asked: CopyPolicy, kept: Any) -> list[Copy]:
    """One copy fewer stays than was asked for."""
    return REAL_EXPIRED(found, asked._replace(keep=asked.keep - 1), kept)


def one_too_many(found: Sequence[Copy], asked: CopyPolicy, kept: Any) -> list[Copy]:
    """One copy more stays than was asked for."""
    return REAL_EXPIRED(found, asked._replace(keep=asked.keep + 1), kept)


def unfinished_too(found: Sequence[Copy], asked: CopyPolicy, kept: Any) -> list[Copy]:
    """A copy under way counts as one that is done."""
    return [copy for copy in found[asked.keep :] if copy.snapshot.arn not in kept]


def by_name_only(snapshots: Iterable[OwnSnapshot], asked: CopyPolicy) -> list[Copy]:
    """Whatever bears our prefix is ours."""
    return REAL_MANAGED(
        [
            own._replace(
                tags={
                    ownership.MADE_FOR: asked.made_for,
                    ownership.TAKEN: str(own.snapshot.created),
                    copies.SOURCE: own.snapshot.arn,
                    **own.tags,
                },
            )
            for own in snapshots
        ],
        asked,
    )


def by_tags_only(own: OwnSnapshot, prefix: str, made_for: str) -> Any:
    """Whatever bears our tags is ours, under whichever name."""
    return REAL_OWNED(own, "", made_for)


def of_any_stage(own: OwnSnapshot, prefix: str, made_for: str) -> Any:
    """Whatever any stage has copied is ours."""
    return REAL_OWNED(own, prefix, own.tags.get(ownership.MADE_FOR, ""))


def never_pending(found: Any, asked: Any) -> None:
    """A copy under way is no reason to wait."""


def the_share_itself(*arguments: Any) -> Any:
    """*latest* moves to the share."""
    aws, database, choice, values, own, by = arguments
    return REAL_UPDATE_ONE(aws, database._replace(copy_policy=None), choice, values, own, by)


def first_available(found: Sequence[Copy], asked: CopyPolicy) -> Snapshot | None:
    """*latest* moves to a copy under whichever key."""
    return next((copy.snapshot for copy in found if copy.available), None)


def unfinished(found: Sequence[Copy], asked: CopyPolicy) -> Snapshot | None:
    """*latest* moves to a copy as soon as it is asked for."""
    return next((copy.snapshot for copy in found if not copy.failed), None)


def oldest(found: Sequence[Copy], asked: CopyPolicy) -> Snapshot | None:
    """*latest* moves to the oldest copy."""
    return REAL_NEWEST_COPY(found[::-1], asked)


def another_name(self: CopyPolicy, source: str, taken: Any) -> str:
    """A second attempt does not find the first one's copy."""
    return copies.PREFIX + uuid.uuid4().hex


def what_latest_names(aws: Any, asked: CopyPolicy, arn: str) -> Snapshot:
    """A copy that the poll has not recorded yet is as if it were not there."""
    found = copying.settled_copies(aws, asked)
    named = [copy.snapshot for copy in found if copy.available and copy.snapshot.arn == arn]
    return named[0] if named else REAL_PROMOTABLE(aws, asked, arn)


def dated_by_rds(own: OwnSnapshot, asked: CopyPolicy) -> Copy | None:
    """The data is as old as the copy."""
    copy = REAL_READ(own, asked)
    return copy and copy._replace(snapshot=own.snapshot)


def share_or_copy(aws: Any, asked: CopyPolicy, value: str) -> Snapshot:
    """Whatever exists may be promoted."""
    return aws.snapshots.find(value) or REAL_PROMOTABLE(aws, asked, value)


PLANTED: dict[str, Plant] = {
    "retention forgets latest": instead(
        leading_without("latest", "latest before"), (latest, "expired_copies")
    ),
    "retention forgets what a promotion has just read": instead(
        leading_without("latest before"), (latest, "expired_copies")
    ),
    "retention forgets current": instead(leading_without("current"), (latest, "expired_copies")),
    "retention forgets the value before": instead(
        leading_without("before"), (latest, "expired_copies")
    ),
    "retention forgets good": instead(leading_without("good"), (latest, "expired_copies")),
    "retention by the number alone": instead(by_number_alone, (latest, "expired_copies")),
    "no retention": instead(lambda *_: [], (latest, "expired_copies")),
    "one too few is kept": instead(one_too_few, (copying, "expired")),
    "one too many is kept": instead(one_too_many, (copying, "expired")),
    "a copy under way is let go": instead(unfinished_too, (copying, "expired")),
    "ours by the name alone": instead(
        by_name_only, (latest, "managed_copies"), (copying, "managed_copies")
    ),
    "ours by the tags alone": instead(by_tags_only, (ownership, "owned")),
    "ours for any stage": instead(of_any_stage, (ownership, "owned")),
    "a copy under way ignored": instead(never_pending, (copying, "pending_copy")),
    "latest to the share": instead(the_share_itself, (latest, "_update_one")),
    "latest to a copy under any key": instead(first_available, (latest, "newest_copy")),
    "latest to an unfinished copy": instead(unfinished, (latest, "newest_copy")),
    "latest to the oldest copy": instead(oldest, (latest, "newest_copy")),
    "a copy asked for twice": instead(another_name, (CopyPolicy, "name")),
    "failed copies stay": instead(property(lambda self: False), (Copy, "failed")),
    "the age of the copy, not of its data": instead(dated_by_rds, (copies, "_read")),
    "no second look at the copy": instead(share_or_copy, (checks, "promotable_copy")),
    "only what latest names is promoted": instead(what_latest_names, (checks, "promotable_copy")),
    "every share is copied": instead(lambda *_: True, (copying, "needs_copy")),
}


def histories() -> None:
    """The same histories each time, so that what is found does not depend on luck."""
    run_state_machine_as_test(
        HistoriesOfCopies,
        settings=settings(
            max_examples=250,
            stateful_step_count=30,
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
