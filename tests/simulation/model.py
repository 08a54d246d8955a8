"""What must be so in an account, judged by the account's truth without the product's own functions."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from unittest.mock import Mock

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Action
from chalicelib.domain.ledger import Note, Version, accepted, last_order
from chalicelib.domain.snapshots import Snapshot
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.status import status
from tests import stage
from tests.fakes import PRODUCTION, snapshot
from tests.simulation.account import DEPLOY, SimulatedAws
from tests.stage import PIPELINE, PIPELINE_NAME

HOLD = "/acceptance/hold"
ENGINES = {"rds": ("aurora-postgresql", "15.4"), "docs": ("docdb", "5.0.0")}
START = datetime.fromisoformat("2026-01-03T12:00:00+00:00")
POLL = timedelta(minutes=15)
UNSEEN = "cannot determine"
CORRECTIONS = ("undo", "revert", "align")
MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:mask"

# Where the pipeline deploys each database: a stack, and its cluster unless that is the only one.
STACKS = {"one": {"rds": "data/Rds", "docs": "data/Docs"}, "two": {"rds": "rds", "docs": "docs"}}


class StageSettings(Settings):
    """A stage that does not search its calendar for other nights, which would take most of the time."""

    updates = restores = Mock(next_run=lambda *_: None, last_run=lambda _: None)


def variables(
    *,
    two: bool,
    stacks: str,
    prepares: bool = False,
    copied: Sequence[str] = (),
    key: str | None = None,
    keep: str = "1",
) -> dict[str, str]:
    """Return a stage of one or two databases, which knows its stacks unless these are `unknown`.

    The first is prepared if `prepares`; those in `copied` are copied if there is a key.
    """
    found = (stage.TWO if two else stage.STAGE) | {"SSM_REFRESH_HOLD_NAME": HOLD}
    known = STACKS.get(stacks)
    if prepares and known:
        found |= {"RDS_AFTER_RESTORE": MACHINE}
    for name in ("RDS", "DOCS") if two else ("RDS",):
        if known:
            found |= {f"{name}_STACK_NAME": known[name.lower()]}
        if key and name in copied:
            found |= {f"{name}_COPY_KMS_KEY_ID": key, f"{name}_COPIES_TO_KEEP": keep}
    return found


def bootstrap(settings: Settings, aws: SimulatedAws, stacks: str, history: str) -> None:
    """Arrange an account that has been deployed, or one where `current` has only just been set."""
    aws.time = START - timedelta(days=3)
    aws.parameters.put(PIPELINE_NAME, PIPELINE, Note("bootstrap", "setup", ""))
    for database in settings.databases:
        first = offer(aws, database, f"first-{database.name}", aws.time)
        name, _, cluster = STACKS.get(stacks, STACKS["one"])[database.name].partition("/")
        logical_id = cluster or "Cluster"
        aws.stacks.deploys.setdefault(name, {})[logical_id] = database.current_parameter
        if history == "deployed":
            aws.stacks.add(database.current_parameter, name, logical_id)
        aws.parameters.put(database.latest_parameter, "dummyvalue", Note("bootstrap", "setup", ""))
        if history != "no parameter":
            value = "dummyvalue" if history == "placeholder" else first.arn
            aws.parameters.put(database.current_parameter, value, Note("bootstrap", "setup", ""))
    for name in aws.stacks.all:
        aws.stacks.deploy(name)
    aws.time = START


def offer(
    aws: SimulatedAws,
    database: Database,
    name: str,
    created: datetime,
    account: str = PRODUCTION,
    status: str = "available",
) -> Snapshot:
    """Let production share a snapshot of a database, or take one in another account."""
    engine, version = ENGINES[database.name]
    facts = {"cluster": database.name, "engine": engine, "engine_version": version}
    shared = snapshot(name, account, created=created, status=status, **facts)
    aws.snapshots.all.append(shared)
    return shared


@dataclass(frozen=True)
class Model:
    """The stage's account as it is now."""

    settings: Settings
    aws: SimulatedAws

    def ledger(self, database: Database) -> list[Version]:
        return self.aws.parameters.kept.get(database.current_parameter, [])

    def current(self, database: Database) -> str | None:
        return self.aws.values().get(database.current_parameter)

    def latest(self, database: Database) -> str | None:
        return self.aws.values().get(database.latest_parameter)

    def truth(self, database: Database) -> str | None:
        """Return what the database's cluster was restored from."""
        return self.aws.stacks.restored_from(database.current_parameter)

    # --- snapshots ---

    @property
    def shared(self) -> list[Snapshot]:
        """Everything that is shared, in the order in which it came."""
        return [each for each in self.aws.snapshots.all if not each.own]

    def shares(self, database: Database) -> list[Snapshot]:
        """Return the available shares, newest first."""
        found = [each for each in self.shared if each.available and each.cluster == database.name]
        return sorted(found, key=lambda each: (each.created, each.arn), reverse=True)

    def source(self, value: str) -> Snapshot:
        """Return the share that a copy was made from, or the share itself."""
        copy = self.aws.snapshots.copies.get(value)
        return copy.source if copy else self.aws.snapshots.get(value)

    def copies(self, database: Database, *statuses: str) -> list[Snapshot]:
        """Return the database's copies in one of these states, whatever their key, newest first.

        A copy is known because RDS was asked to make it, and never by its name or its tags.
        """
        made = self.aws.snapshots.copies
        found = [
            each
            for each in self.aws.snapshots.all
            if each.arn in made and each.cluster == database.name and each.status in statuses
        ]
        return sorted(found, key=lambda each: made[each.arn].recency, reverse=True)

    def usable(self, database: Database, *statuses: str) -> list[Snapshot]:
        """Return those under the key that is set."""
        made, key = self.aws.snapshots.copies, database.copy_policy.key
        return [each for each in self.copies(database, *statuses) if made[each.arn].key == key]

    def candidates(self, database: Database) -> list[str]:
        """Return what `latest` may name, newest first."""
        copied = database.copy_policy is not None
        found = self.usable(database, "available") if copied else self.shares(database)
        return [each.arn for each in found]

    def promotable(self, database: Database) -> str | None:
        """Return what a promotion may put now, if anything."""
        value, candidates = self.latest(database), self.candidates(database)
        if database.copy_policy and value not in (None, "dummyvalue"):
            # The newest copy, whether `latest` names it already or not; but it may be in progress.
            value = next((each.arn for each in self.usable(database, "available", "copying")), None)
        is_allowed = value in candidates
        is_allowed = is_allowed and self.source(value).age(self.aws.time) <= timedelta(days=14)
        return value if is_allowed else None

    def leading(self, database: Database) -> set[str | None]:
        """Return what `latest`, `current`, its value before and its last good version name, and more.

        That is what is deployed as far as was seen, what a run was last started for, and what
        `latest` named in the last 15 minutes.
        """
        versions, current = self.ledger(database), self.current(database)
        before = [each for each in accepted(versions) if each.value not in (current, "dummyvalue")]
        good = [each for each in versions if each.is_good]
        seen = [each for each in versions if each.run_id]
        found = [*before[-1:], *good, *seen[-1:], *filter(None, [last_order(versions)])]
        latest = self.aws.parameters.kept.get(database.latest_parameter, [])
        since = self.aws.time - timedelta(minutes=15)
        found += [old for old, new in pairwise(latest) if new.modified > since]
        return {self.latest(database), current, *(each.value for each in found)}

    def check_copies(self) -> None:
        """Once copies and polls are done, `latest` names the newest, and no other is left over."""
        for database in self.settings.databases:
            if database.copy_policy:
                newest = self.candidates(database)[:1] or [self.latest(database)]
                assert [self.latest(database)] == newest, f"{newest} is newer"
                assert not self.copies(database, "failed"), "a failed copy stays"
                available = {each.arn for each in self.copies(database, "available")}
                unneeded = available - self.leading(database)
                assert len(unneeded) <= database.copy_policy.keep, f"{unneeded} stay"

    # --- the hold ---

    def hold(self) -> str | None:
        """Return until when promotion is held today, as far as it can be read; None if it is not."""
        text = self.aws.values().get(HOLD, "dummyvalue")
        if not text.startswith("{"):
            return None if text == "dummyvalue" else text
        until = json.loads(text)["until"]
        return until if self.aws.time.date() < date.fromisoformat(until) else None

    # --- guarantees ---

    def check_status(self) -> None:
        """The status says what is deployed and whether the next run restores something else."""
        shown = status(self.settings, self.aws)
        under_way = shown["pipeline"]["under_way"]
        for database, entry in zip(self.settings.databases, shown["databases"], strict=True):
            truth, current = self.truth(database), self.current(database)
            problems = " ".join(each for each in shown["problems"] if database.name in each)
            if not self.is_seen(database):
                continue
            if self.is_updating(database):
                assert entry["deployed"] is None, f"{entry['deployed']} during an update"
                continue
            has_failed = self.stack_status(database).endswith("ROLLBACK_FAILED")
            assert not has_failed or UNSEEN in problems, "a failed roll-back is hidden"
            if UNSEEN in problems:
                assert has_failed or self.may_be_unknown(database), problems
                assert (entry["deployed"], entry["waiting"]) == (None, False)
                continue
            known = truth if truth and truth.startswith("arn:") else None
            assert entry["deployed"] == known, f"status says {entry['deployed']}, truth is {known}"
            restores = bool(under_way and under_way["restores"])
            assert (entry["waiting"] or restores) or current == truth or not current, (
                f"the next run replaces {truth} by {current}, and the status does not say so"
            )
            assert not entry["waiting"] or current != truth, "nothing waits, but the status says so"

    def stack_status(self, database: Database) -> str:
        """Return the status of the database's stack; empty if the stage knows none."""
        stack = self.aws.stacks.all.get(database.stack.stack) if database.stack else None
        return stack.status if stack else ""

    def is_seen(self, database: Database) -> bool:
        """Return whether there is anything to go by: without a stack a deploy that succeeded."""
        return database.stack is not None or any(
            action.category == DEPLOY and action.status == "Succeeded"
            for action in self.aws.pipelines.executed
        )

    def is_updating(self, database: Database) -> bool:
        """Return whether an update is in progress that the product can see."""
        if database.stack:
            return self.stack_status(database).endswith("_IN_PROGRESS")
        return any(action.status == "InProgress" for action in self.deploys())

    def deploys(self) -> list[Action]:
        """Return what has deployed something, or prepared that."""
        return [each for each in self.aws.pipelines.executed if each.stage == DEPLOY]

    def may_be_unknown(self, database: Database) -> bool:
        """Nothing is there, or `current` changed just when a run read it."""
        window = timedelta(minutes=2)
        return self.truth(database) is None or any(
            (each.reads_since or each.started) - window <= version.modified <= each.started + window
            for each in self.deploys()
            for version in self.ledger(database)[1:]
        )

    def seen(self) -> list[str]:
        """Return the databases of which the status says what is deployed."""
        unseen = [each for each in status(self.settings, self.aws)["problems"] if UNSEEN in each]
        names = [each.name for each in self.settings.databases]
        return [name for name in names if not any(each.startswith(name) for each in unseen)]

    def check_quiet(self) -> bool:
        """With no run in progress and all polls done, `current` is deployed or somebody's pin waits.

        Return whether it is unknown for some database, which is a problem in the status.
        """
        shown, seen = status(self.settings, self.aws), self.seen()
        for database, entry in zip(self.settings.databases, shown["databases"], strict=True):
            current, truth = self.current(database), self.truth(database)
            if current in (truth, None) or database.name not in seen:
                continue
            present = self.ledger(database)[-1]
            if truth is None and present.action in CORRECTIONS:
                continue  # there is no database yet that the next run could replace
            waits = present.token is None and present.action not in CORRECTIONS
            assert waits, f"{present.action} of {current} stays, but {truth} is deployed"
            assert entry["waiting"], f"{current} waits, and the status does not say so"
        return len(seen) < len(self.settings.databases)

    def check_ends(self) -> None:
        """People know how the run ended that restored what is deployed, and `good` says the same."""
        for database in self.settings.databases:
            name = database.current_parameter
            runs = [each.execution for each, replaced, _ in self.aws.replaced if replaced == name]
            if not runs or database.stack is None or runs[-1].is_abandoned:
                continue  # nobody can see what an abandoned action goes on to do
            run, identifier = runs[-1], self.aws.stacks.cluster(name)
            cluster = self.aws.clusters.restored[identifier].resource_id
            labelled = [each for each in self.ledger(database) if cluster in each.labels]
            assert len(labelled) == 1, f"{cluster} is the label of {len(labelled)} versions"
            (version,) = labelled
            assert version.value == self.truth(database)
            assert version.run_id == run.execution_id, f"{version.run_id} is not {run.execution_id}"
            is_prepared = self.is_prepared(database, [cluster])
            assert version.is_good == (run.succeeded and is_prepared)
            ends = {"refreshed": version.is_good, "failed-after-restore": not run.succeeded}
            ends |= {"not-prepared": not is_prepared}
            for end, is_so in ends.items():
                assert not is_so or f"notified-{end}" in version.labels, f"nobody knows it is {end}"

    def is_correction(self, database: Database, version: Version) -> bool:
        """Return whether the application put it to correct another, and it does not only look so."""
        key = (database.current_parameter, version.number)
        return version.action in CORRECTIONS and key not in self.aws.like_ours

    def check_replacements(self, since: int) -> int:
        """No database is replaced because of a correction; return how many there were so far.

        An undo that went back to what a failed order still wanted restores nothing that the order
        alone would not have.
        """
        databases = {each.current_parameter: each for each in self.settings.databases}
        for update, parameter, before in self.aws.replaced[since:]:
            database, version = databases[parameter], update.read[parameter]
            is_ordered = version.action == "undo" and any(
                each.number == version.number - 2 and each.value == version.value and each.is_ours
                for each in self.ledger(database)
            )
            is_correction = self.is_correction(database, version) and not is_ordered
            is_kept = before in (None, version.value)
            assert is_kept or not is_correction, f"{version} replaced {before}"
        return len(self.aws.replaced)

    def check_ordered(self, run: str) -> None:
        """A run of ours restores what it was ordered for, what somebody waits for, or nothing."""
        for database in self.settings.databases:
            for present in self.ledger(database)[-1:]:
                waits = present.token is None and not self.is_correction(database, present)
                assert (
                    waits
                    or present.value in (self.truth(database), None)
                    or self.aws.pipelines.by_token.get(present.token or "") == run
                    or not self.is_seen(database)
                ), f"{run} will restore {present} of {database.name}"

    def check_good(self) -> None:
        """`good` is on one version at most, whose value a successful run deployed, and prepared."""
        for database in self.settings.databases:
            name = database.current_parameter
            good = [each for each in self.ledger(database) if each.is_good]
            done = [each for each in self.aws.updates if each.has_succeeded and name in each.read]
            succeeded = [each for each in done if each.execution.status == "Succeeded"]
            deployed = {each.read[name].value for each in succeeded}
            assert len(good) <= 1
            for each in good:
                assert each.value in deployed, f"no successful run deployed {each}"
                assert self.is_prepared(database, each.cluster_labels), f"{each} is not prepared"

    def is_prepared(self, database: Database, clusters: Iterable[str]) -> bool:
        """Return whether the clusters' after-restore work, which has been started, has succeeded."""
        statuses = self.aws.state_machines.statuses
        work = [f"{database.name}-{cluster}" for cluster in clusters if database.after_restore]
        return all(statuses[each] == "SUCCEEDED" for each in work)

    def settle(self, poll: Callable[[], object], prepared: str = "SUCCEEDED") -> None:
        """Let all runs and copies end and four polls pass; after-restore work ends as `prepared`."""
        self.aws.disabled.clear()
        for _ in range(200):
            if not self.aws.live:
                break
            for each in self.aws.live:
                if each.is_live:
                    self.aws.go_on(each)
            self.aws.time += timedelta(minutes=2)  # a restore takes longer than clocks differ
        assert not self.aws.live, "a run does not come to an end"
        self.aws.state_machines.missing.clear()
        for _ in range(4):
            self.aws.time += POLL
            self.aws.snapshots.settle()
            poll()
            statuses = self.aws.state_machines.statuses
            statuses |= {name: prepared for name in statuses if statuses[name] == "RUNNING"}
