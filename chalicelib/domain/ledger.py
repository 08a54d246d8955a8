"""The history of a `current` parameter, read as the ledger of the refresh. Pure.

There is no other store. Parameter Store keeps each version's value, time, Description and labels:
the Description says who set the version and why, and the labels record its outcome.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from chalicelib.domain.parameters import arn_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.text import refuse_lone_surrogates

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
DESCRIPTION_LIMIT = 1024
_ACTOR_LIMIT = 300  # of a longer ARN, the end has the name

# https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-labels.html
GOOD = "good"
_NOTIFIED_LABEL = "notified-"
_RUN_LABEL = "run-"
WORK_DUE = "work-due"  # after-restore work has to run on this version's cluster
UNKNOWN_RUN = "unknown"  # the run id of a cluster that no known run restored
_CLUSTER_LABEL = "cluster-"  # the prefix of every DbClusterResourceId

# The clocks of two AWS services differ.
CLOCK_TOLERANCE = timedelta(minutes=1)
# Lambda retries a failed asynchronous invocation after one and after two minutes; with the timeouts
# of three attempts, no run is started once this has passed.
# https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
START_DEADLINE = timedelta(minutes=15)


# A dataclass, unlike the other records: `after` takes no part in comparisons.
@dataclass(frozen=True, slots=True)
class Note:
    """Why a version was written, as JSON in its Description.

    `token` is that of the pipeline run that was to restore it; None if no run was to be started.
    `after` is the number of the version that its writer had seen last, `taken` the time of a share's
    data, which nobody can look up once production has deleted the share.
    """

    action: str
    actor: str
    reason: str
    token: str | None = None
    after: int | None = field(default=None, compare=False)
    taken: datetime | None = field(default=None, compare=False)

    def describe(self, value: str) -> str:
        """Return the Description of a version with this value, its reason cut to fit."""
        note = replace(self, actor=self.actor[-_ACTOR_LIMIT:])
        while len(text := _to_json(note, value)) > DESCRIPTION_LIMIT and len(note.reason) > 1:
            excess = len(text) - DESCRIPTION_LIMIT
            end = max(0, len(note.reason) - excess - 1)
            note = replace(note, reason=note.reason[:end] + "…")
        return text

    @classmethod
    def read(cls, description: str, value: str) -> "Note | None":
        """Return the note of a version with this value; None if this application did not write it.

        Parameter Store keeps the Description of the version before when somebody puts a value
        without one, so a note counts only for the value that it was written for.
        """
        try:
            fields = json.loads(description)
            action, actor, reason, token = (fields[key] for key in ("action", "by", "why", "token"))
            # Earlier editions wrote none of these.
            written_for, after = fields.get("of", _fingerprint(value)), fields.get("after")
            time = fields.get("taken")
            taken = datetime.fromisoformat(time).astimezone(UTC) if time else None
            refuse_lone_surrogates(fields)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
            return None
        texts = [action, actor, reason] if token is None else [action, actor, reason, token]
        if not all(isinstance(text, str) for text in texts) or written_for != _fingerprint(value):
            return None
        return cls(action, actor, reason, token, after if isinstance(after, int) else None, taken)


class Version(NamedTuple):
    """One version of `current`; `note` is None if this application did not write it."""

    number: int
    value: str
    modified: datetime
    note: Note | None
    labels: frozenset[str] = frozenset()

    @property
    def action(self) -> str:
        """What this application did to set this version."""
        return self.note.action if self.note else "unknown"

    @property
    def actor(self) -> str:
        """Who set this version, as far as is known."""
        return self.note.actor if self.note else "unknown"

    @property
    def reason(self) -> str:
        """Why this version was set, as far as is known."""
        return self.note.reason if self.note else "unknown"

    @property
    def token(self) -> str | None:
        """The token of the run that was to restore this version."""
        return self.note.token if self.note else None

    @property
    def taken(self) -> datetime | None:
        """When the data of the share that it names was taken, as far as is recorded."""
        return self.note.taken if self.note else None

    @property
    def is_good(self) -> bool:
        """Whether it is the last version that a successful run restored, and its work is done."""
        # Somebody else may have set the label.
        return GOOD in self.labels and WORK_DUE not in self.labels

    @property
    def is_correction(self) -> bool:
        """Whether it undid another version, or was put to match what is deployed."""
        return self.action in ("undo", "revert", "align")

    @property
    def is_ours(self) -> bool:
        """Whether a schedule or a person set it through this application."""
        return self.note is not None and not self.is_correction

    @property
    def waits(self) -> bool:
        """Whether somebody set it for whichever run comes next, and none has restored it yet."""
        return self.token is None and not self.is_correction and self.run_id is None

    def _labelled(self, prefix: str) -> list[str]:
        """Return what the labels with that prefix name."""
        return sorted(x.removeprefix(prefix) for x in self.labels if x.startswith(prefix))

    @property
    def run_id(self) -> str | None:
        """The run that restored it, if that has been seen."""
        # A label is on one version only: another one may have taken that of the unknown run.
        default = UNKNOWN_RUN if self.cluster_labels else None
        return next(iter(self._labelled(_RUN_LABEL)), default)

    @property
    def cluster_labels(self) -> set[str]:
        """The labels of the clusters that were restored from it."""
        return {each for each in self.labels if each.startswith(_CLUSTER_LABEL)}

    @property
    def outcome_labels(self) -> set[str]:
        """The labels that record its outcome: cluster, run, and what people were notified of."""
        ours = (_CLUSTER_LABEL, _RUN_LABEL, _NOTIFIED_LABEL)
        return {x for x in self.labels if x in (GOOD, WORK_DUE) or x.startswith(ours)}

    @property
    def was_restored(self) -> bool:
        """Whether a cluster was seen to be restored from it, perhaps by the first edition."""
        return self.run_id is not None or self.is_good

    @property
    def result(self) -> str | None:
        """The outcome: the notified code, `refreshed` or `restored`; None if there is none."""
        notified = self._labelled(_NOTIFIED_LABEL)
        if "refreshed" in notified or self.is_good:
            return "refreshed"
        if Reason.NOT_PREPARED in notified:  # the worst of several
            return Reason.NOT_PREPARED
        return notified[0] if notified else "restored" if self.run_id else None


class Run(NamedTuple):
    """One execution of the main pipeline, with its status and trigger as CodePipeline names them.

    https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineExecutionSummary.html
    """

    execution_id: str
    status: str
    started: datetime
    updated: datetime
    trigger: str | None = None
    is_rollback: bool = False

    @property
    def in_progress(self) -> bool:
        """Whether it may still deploy, or is still being stopped."""
        return self.status in ("InProgress", "Stopping")

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status == "Succeeded"

    @property
    def has_failed(self) -> bool:
        """Whether it ended badly, or somebody stopped it."""
        return self.status in ("Failed", "Stopped", "Cancelled")


class Move(NamedTuple):
    """A value to put for one database.

    `present` is the newest version, None if there is no parameter yet. `token` is that of the run to
    start if an earlier attempt already put the value, `taken` the time of the data.
    """

    value: str
    present: Version | None
    token: str | None = None
    taken: datetime | None = None

    @property
    def after(self) -> int:
        """The number of the present version; 0 if there is none."""
        return self.present.number if self.present else 0

    @property
    def previous(self) -> str | None:
        """The snapshot that the present version names."""
        return arn_of(self.present.value) if self.present else None


class Ledger(list[Version]):
    """The versions of a `current` parameter, oldest first, with the pipeline's `runs`, newest first.

    Read the versions before listing the runs, so that a new version never seems to lack its run.
    """

    def __init__(self, versions: Iterable[Version], runs: Sequence[Run]) -> None:
        super().__init__(versions)
        self.runs = runs

    def own_run(self, version: Version) -> Run | None:
        """Return the run that was started for this version; None if there is none.

        CodePipeline does not list a run's token, so this is the first run that
        StartPipelineExecution started after the version was put and before it was undone.

        - Clocks differ: a run that started up to a minute earlier counts while it is in progress, or
          if no other run was started since.
        - A superseded run is replaced by the run that superseded it.
        - A version that is put again with its token keeps its run.
        """
        if version.token is None:
            return None
        puts = [index for index, each in enumerate(self) if each.token == version.token]
        return next(filter(None, map(self._started_for, puts)), None)

    def _started_for(self, index: int) -> Run | None:
        version, undone = self[index], next(self._undoing(index), None)
        found = [run for run in reversed(self.runs) if _may_be_started_for(run, version, undone)]
        earlier = [run for run in found if run.started <= version.modified]
        since = next((run for run in found if run.started >= version.modified), None)
        own = next(
            (run for run in earlier if run.in_progress), since or next(reversed(earlier), None)
        )
        return successor(own, self.runs)

    def _undoing(self, index: int) -> Iterator[Version]:
        """Yield the later versions that undo the version at `index`, including a pin that an undo put back."""
        token = self[index].token
        before = [each for each in self[:index] if each.token != token][-1:]
        waited = [(each.value, each.note) for each in before if each.waits]
        for each in self[index + 1 :]:
            if each.is_correction or (each.value, each.note) in waited:
                yield each

    def is_under_way(self, version: Version, now: datetime) -> bool:
        """Return whether the run of this version is in progress, or may yet be started or listed."""
        run = self.own_run(version)
        if run:
            return run.in_progress
        return version.token is not None and now - version.modified < START_DEADLINE

    def already_ran(self, token: str) -> bool:
        """Return whether this request already had its run, or somebody has changed `current` since.

        A retry must not overrule an operator.
        """
        for index, version in enumerate(self):
            if version.token != token:
                continue
            # Corrections of this put do not count as changes by somebody else.
            undoing = list(self._undoing(index))
            later = [x for x in accepted(self) if x.number > version.number and x.token != token]
            had_run = version.run_id or self.own_run(version)
            if had_run or any(each not in undoing for each in later):
                return True
        return False

    def next_move(self, value: str, actor: str, now: datetime) -> Move:
        """Return what a promotion to `value` has to put.

        An invocation that was killed after its put continues with the version that it finds, unless
        that is so old that it counts as one for which no run was started.
        """
        present = self[-1] if self else None
        if (
            present
            and present.run_id is None
            and (present.value, present.actor) == (value, actor)
            and self.is_under_way(present, now)
        ):
            return Move(value, present, present.token)
        return Move(value, present)


def run_label(execution_id: str) -> str:
    """Return the label that names the run that restored a version."""
    return f"{_RUN_LABEL}{execution_id}"


def notified_label(reason: Reason | None) -> str:
    """Return the label that remembers what people were notified of; None is a refresh."""
    return f"{_NOTIFIED_LABEL}{reason or 'refreshed'}"


def in_progress(runs: Sequence[Run]) -> Run | None:
    """Return the oldest run in progress; `runs` are newest first."""
    return next((run for run in reversed(runs) if run.in_progress), None)


def successor(run: Run | None, runs: Sequence[Run]) -> Run | None:
    """Return the run that a superseded one handed over to, or the run itself; `runs` are newest first."""
    while run and run.status == "Superseded":
        # By a run that began later, and had not ended before.
        ended = run.updated
        later = (each for each in reversed(runs[: runs.index(run)]) if not each.is_rollback)
        run = next((each for each in later if each.in_progress or each.updated >= ended), None)
    return run


def _may_be_started_for(run: Run, version: Version, undone: Version | None) -> bool:
    return (
        not run.is_rollback
        and run.trigger in (None, "StartPipelineExecution")
        and version.modified <= run.started + CLOCK_TOLERANCE
        and run.started <= version.modified + START_DEADLINE + CLOCK_TOLERANCE
        and (run.in_progress or version.modified <= run.updated)
        and (undone is None or run.started < undone.modified)
    )


def accepted(ledger: Iterable[Version]) -> list[Version]:
    """Return the versions that were not refused: nobody else had moved `current` in between."""
    found: list[Version] = []
    for version in ledger:
        # What was put by hand, or by an earlier edition, always counts.
        after = version.note.after if version.note else None
        between = [each for each in found if after is not None and each.number > after]
        if not between or (between[-1].value, between[-1].token) == (version.value, version.token):
            found.append(version)
    return found


def last_order(versions: Iterable[Version]) -> Version | None:
    """Return the newest version that a run was to restore, and that was neither refused nor undone."""
    ledger = accepted(versions)
    for index, version in reversed(list(enumerate(ledger))):
        later = next((each for each in ledger[index:] if each.token != version.token), None)
        if version.token and not (later and later.action == "undo"):
            return version
    return None


def token_of(moves: Mapping[Any, Move], note: Note) -> str:
    """Return the token of the one run that restores all moves: that of a killed attempt, if there was one."""
    token = next((move.token for move in moves.values() if move.token), note.token)
    assert token is not None
    return token


def good_version(ledger: Iterable[Version]) -> Version | None:
    """Return the last version that a successful run restored."""
    return next((version for version in ledger if version.is_good), None)


def last_restored(versions: Sequence[Version]) -> Version | None:
    """Return the newest version that a cluster was seen to be restored from."""
    return next((version for version in reversed(versions) if version.run_id), None)


def was_there_before(version: Version, ledger: Sequence[Version]) -> bool:
    """Return whether a version names what was restored before this application was used."""
    earlier = [each for each in ledger if each.number < version.number]
    return last_restored(earlier) is None and not version.is_ours


def newest_of(value: str, versions: Sequence[Version]) -> Version | None:
    """Return the newest version with this value."""
    return next((version for version in reversed(versions) if version.value == value), None)


def earlier_snapshot(ledger: Sequence[Version]) -> str | None:
    """Return the newest earlier snapshot that differs from the present value."""
    versions = reversed(accepted(ledger))
    earlier = (each.value for each in versions if each.value != ledger[-1].value)
    return next(filter(arn_of, earlier), None)


def _to_json(note: Note, value: str) -> str:
    fields = {
        "action": note.action,
        "by": note.actor,
        "why": note.reason,
        "token": note.token,
        "after": note.after,
        "taken": note.taken.isoformat() if note.taken else None,
        "of": _fingerprint(value),
    }
    return json.dumps(fields, ensure_ascii=False)


def _fingerprint(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:16]
