"""What must be so in an account, judged by the world's truth without the product's own functions."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from chalicelib.domain.database import Database
from chalicelib.domain.ledger import Note, Version
from chalicelib.domain.snapshots import Snapshot
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.status import status
from tests import stage
from tests.fakes import PRODUCTION, arn, snapshot
from tests.simulation.world import DEPLOY, Execution, World
from tests.stage import PIPELINE, PIPELINE_NAME

HOLD = "/acceptance/hold"
ENGINES = {"rds": ("aurora-postgresql", "15.4"), "docs": ("docdb", "5.0.0")}
START = datetime.fromisoformat("2026-01-03T12:00:00+00:00")
POLL = timedelta(minutes=15)
CORRECTIONS = ("undo", "revert", "align")
UNREADABLE = "unreadable"
MACHINE = "arn:aws:states:eu-west-1:222222222222:stateMachine:mask"

ONE = stage.STAGE | {"SSM_REFRESH_HOLD_NAME": HOLD}
TWO = stage.TWO | {"SSM_REFRESH_HOLD_NAME": HOLD}
# What the stage says of the stacks, and where the pipeline deploys each database.
STACKS: Mapping[str, tuple[Mapping[str, str], Mapping[str, tuple[str, str]]]] = {
    "unknown": ({}, {"rds": ("data", "Orders"), "docs": ("data", "Docs")}),
    "one": (
        {"RDS_STACK_NAME": "data/Orders", "DOCS_STACK_NAME": "data/Docs"},
        {"rds": ("data", "Orders"), "docs": ("data", "Docs")},
    ),
    "two": (
        {"RDS_STACK_NAME": "orders", "DOCS_STACK_NAME": "docs"},
        {"rds": ("orders", "Cluster"), "docs": ("docs", "Cluster")},
    ),
}


def variables(*, two: bool, stacks: str, prepares: bool = False) -> dict[str, str]:
    """Return a stage of one or two databases, in the stacks that it knows of; the first is prepared."""
    found = (TWO if two else ONE) | {
        name: value for name, value in STACKS[stacks][0].items() if two or name.startswith("RDS")
    }
    return found | ({"RDS_AFTER_RESTORE": MACHINE} if prepares and stacks != "unknown" else {})


def first(database: Database) -> str:
    """Return the snapshot that a database was restored from before everything."""
    return arn(f"first-{database.name}")


def bootstrap(settings: Settings, world: World, stacks: str, history: str = "deployed") -> None:
    """Arrange an account that has been deployed, or one where `current` has only just been set."""
    world.time = START - timedelta(days=3)
    world.parameters.put(PIPELINE_NAME, PIPELINE, Note("bootstrap", "setup", ""))
    for database in settings.databases:
        offer(world, database, f"first-{database.name}", world.time)
        name, logical_id = STACKS[stacks][1][database.name]
        world.stacks.deploys.setdefault(name, {})[logical_id] = database.current_parameter
        if history == "deployed":
            world.stacks.add(database.current_parameter, name, logical_id)
        if history != "no parameter":
            value = "dummyvalue" if history == "placeholder" else first(database)
            world.parameters.put(database.current_parameter, value, Note("bootstrap", "setup", ""))
    for name in world.stacks.all:
        world.stacks.deploy(name)
    world.time = START


def offer(world: World, database: Database, name: str, created: datetime, **facts: Any) -> Snapshot:
    """Let production share a snapshot of a database."""
    engine, version = ENGINES[database.name]
    facts = {"engine": engine, "engine_version": version, "created": created, **facts}
    account = facts.pop("account", PRODUCTION)
    shared = snapshot(name, account, cluster=database.name, **facts)
    world.snapshots.all.append(shared)
    return shared


@dataclass(frozen=True)
class Model:
    """The stage's account as it is now."""

    settings: Settings
    aws: World

    @property
    def shared(self) -> list[Snapshot]:
        """The shares in the order in which they came."""
        return [each for each in self.aws.snapshots.all if not each.own]

    def ledger(self, database: Database) -> list[Version]:
        return self.aws.parameters.kept.get(database.current_parameter, [])

    def current(self, database: Database) -> str | None:
        return self.aws.values().get(database.current_parameter)

    def latest(self, database: Database) -> str | None:
        return self.aws.values().get(database.latest_parameter)

    def truth(self, database: Database) -> str | None:
        return self.aws.truth(database.current_parameter)

    # --- snapshots ---

    def due(self, database: Database) -> str | None:
        """Return what a promotion would put."""
        return self.latest(database)

    def eligible(self, share: Snapshot, database: Database) -> bool:
        return (
            share.account == PRODUCTION
            and share.status == "available"
            and (share.engine, share.engine_version) == ENGINES[database.name]
            and share.created is not None
        )

    def is_promotable(self, database: Database, value: str) -> bool:
        share = next((each for each in self.aws.snapshots.all if each.arn == value), None)
        if share is None or not self.eligible(share, database):
            return False
        assert share.created
        return self.aws.time - share.created <= timedelta(days=14)

    # --- the hold ---

    def hold(self) -> Any:
        """Return what holds promotion today: the parameter's JSON, `UNREADABLE`, or None."""
        text = self.aws.values().get(HOLD, "dummyvalue")
        if text == "dummyvalue":
            return None
        try:
            hold = json.loads(text)
            is_over = self.aws.time.date() >= date.fromisoformat(hold["until"])
        except (ValueError, TypeError):
            return UNREADABLE
        return None if is_over else hold

    # --- guarantees ---

    def check_status(self) -> None:
        """The status tells what is deployed and whether the next run restores something else."""
        told = status(self.settings, self.aws)
        under_way = told["pipeline"]["under_way"]
        for database, entry in zip(self.settings.databases, told["databases"], strict=True):
            truth, current = self.truth(database), self.current(database)
            problems = " ".join(each for each in told["problems"] if database.name in each)
            if not self.is_seen(database):
                continue
            if self.is_updating(database):
                assert entry["deployed"] is None, f"{entry['deployed']} during an update"
                continue
            stack = self.aws.stacks.all.get(database.stack.stack) if database.stack else None
            if stack and stack.status.endswith("ROLLBACK_FAILED"):
                assert "cannot be seen" in problems, f"{stack.status} is no problem"
            if "cannot be seen" in problems:
                assert self.may_be_unknown(database), problems
                assert (entry["deployed"], entry["waiting"]) == (None, False)
                continue
            known = truth if truth and truth.startswith("arn:") else None
            assert entry["deployed"] == known, f"status says {entry['deployed']}, truth is {known}"
            restores = bool(under_way and under_way["restores"])
            assert (entry["waiting"] or restores) or current == truth or not current, (
                f"the next run replaces {truth} by {current}, and the status does not say so"
            )
            assert not entry["waiting"] or current != truth, "nothing waits, but the status says so"
        listed = [each for each in self.aws.pipelines.listed(PIPELINE) if each.in_progress]
        if listed and self.aws.time - listed[-1].started > timedelta(hours=2, minutes=1):
            assert any("is in progress since" in each for each in told["problems"])

    def is_seen(self, database: Database) -> bool:
        """Return whether there is anything to go by: without a stack a deploy that succeeded."""
        return database.stack is not None or any(
            action.category == DEPLOY and action.status == "Succeeded"
            for action in self.aws.pipelines.executed
        )

    def is_updating(self, database: Database) -> bool:
        """Return whether an update is in progress that the product can see."""
        if database.stack:
            stack = self.aws.stacks.all.get(database.stack.stack)
            return stack is not None and stack.status.endswith("_IN_PROGRESS")
        return any(action.status == "InProgress" for action in self.aws.pipelines.executed)

    def may_be_unknown(self, database: Database) -> bool:
        """Nothing is there, a roll-back has failed, or `current` changed just when a run read it."""
        if self.truth(database) is None:
            return True
        stack = self.aws.stacks.all.get(database.stack.stack) if database.stack else None
        if stack and stack.status.endswith("ROLLBACK_FAILED"):
            return True
        window = timedelta(minutes=2)
        return any(
            (action.reads_since or action.started) - window
            <= version.modified
            <= action.started + window
            for action in self.aws.pipelines.executed
            for version in self.ledger(database)[1:]
        )

    def check_quiet(self) -> bool:
        """With no run in progress and all polls done, `current` is deployed or somebody's pin waits.

        Return whether it is unknown for some database, which is a problem in the status.
        """
        told = status(self.settings, self.aws)
        for database, entry in zip(self.settings.databases, told["databases"], strict=True):
            current, truth = self.current(database), self.truth(database)
            problems = [each for each in told["problems"] if "cannot be seen" in each]
            if current in (truth, None) or any(each.startswith(database.name) for each in problems):
                continue
            present = self.ledger(database)[-1]
            if truth is None and present.action in CORRECTIONS:
                continue  # there is no database yet that the next run could replace
            waits = present.token is None and present.action not in CORRECTIONS
            assert waits, f"{present.action} of {current} stays, but {truth} is deployed"
            assert entry["waiting"], f"{current} waits, and the status does not say so"
        return any("cannot be seen" in each for each in told["problems"])

    def check_ends(self) -> None:
        """People know how the run ended that restored what is deployed, and `good` says the same."""
        for database in self.settings.databases:
            name = database.current_parameter
            replaced = [each for each in self.aws.replaced if each.parameter == name]
            if not replaced or database.stack is None or replaced[-1].execution.is_abandoned:
                continue  # nobody can see what an abandoned action goes on to do
            run, cluster = replaced[-1].execution, self.aws.cluster(name)
            labelled = [each for each in self.ledger(database) if cluster in each.labels]
            assert len(labelled) == 1, f"{cluster} is the label of {len(labelled)} versions"
            (version,) = labelled
            assert version.value == self.truth(database)
            assert version.run_id == run.execution_id, f"{version.run_id} is not {run.execution_id}"
            has_succeeded, is_prepared = run.status == "Succeeded", self.is_prepared(database)
            ends = {"refreshed": has_succeeded and is_prepared}
            ends |= {"failed-after-restore": not has_succeeded, "not-prepared": not is_prepared}
            assert version.is_good == ends["refreshed"]
            for told, is_so in ends.items():
                assert not is_so or f"notified-{told}" in version.labels, (
                    f"nobody knows how {run.execution_id} ended: {told}"
                )

    def check_replacements(self, since: int) -> int:
        """No database is replaced because of a correction; return how many there were so far."""
        for replaced in self.aws.replaced[since:]:
            assert replaced.before is None or replaced.version.action not in CORRECTIONS, (
                f"the {replaced.version.action} of {replaced.parameter} to "
                f"{replaced.version.value} replaced {replaced.before}"
            )
        return len(self.aws.replaced)

    def check_good(self) -> None:
        """`good` is on one version at most, whose value a run restored that succeeded."""
        for database in self.settings.databases:
            good = [each for each in self.ledger(database) if each.is_good]
            assert len(good) <= 1
            assert not good or good[0].value in self._proven(database), (
                f"{database.name}: no successful run has restored {good[0].value}"
            )

    def is_prepared(self, database: Database) -> bool:
        """Return whether the deployed cluster's after-restore work has succeeded, if it has any."""
        name = f"{database.name}-{self.aws.cluster(database.current_parameter)}"
        return not database.after_restore or self.aws.state_machines.statuses[name] == "SUCCEEDED"

    def has_been_prepared(self, database: Database, value: str) -> bool:
        """Return whether any cluster with this data has been prepared, if it has to be."""
        machines = self.aws.state_machines
        return not database.after_restore or any(
            machines.statuses[name] == "SUCCEEDED"
            for name, given in machines.inputs.items()
            if (given["database"], given["snapshot"]) == (database.name, value)
        )

    def _proven(self, database: Database) -> set[str]:
        """Without a stack to look at, a deploy that found nothing to restore counts as well."""

        def has_succeeded(run: Execution) -> bool:
            return any(status == "Succeeded" for _, status in run.statuses)

        name = database.current_parameter
        if database.stack is None:
            return {
                update.read[name].value
                for update in self.aws.updates
                if update.has_succeeded and has_succeeded(update.execution)
            }
        return {
            each.version.value
            for each in self.aws.replaced
            if each.parameter == name
            and has_succeeded(each.execution)
            and self.has_been_prepared(database, each.version.value)
        }

    def settle(self, poll: Callable[[], object], prepared: str = "SUCCEEDED") -> None:
        """Let every run go on to its end and four polls pass; after-restore work ends as `prepared`."""
        self.aws.disabled.clear()
        for _ in range(200):
            if not self.aws.live:
                break
            for each in self.aws.live:
                if each.is_live:
                    self.aws.go_on(each)
            self.aws.time += timedelta(minutes=1)
        assert not self.aws.live, "a run does not come to an end"
        self.aws.state_machines.missing.clear()
        for _ in range(4):
            self.aws.time += POLL
            poll()
            statuses = self.aws.state_machines.statuses
            statuses |= {name: prepared for name in statuses if statuses[name] == "RUNNING"}

    def ledgers(self) -> list[Any]:
        """Return everything that a poll might write."""
        return [list(self.ledger(each)) for each in self.settings.databases]
