"""Answer the read-only requests: status, history and shared snapshots.

Nothing here writes. All answers come from one look at the account, so that they agree.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import (
    UNKNOWN,
    Deployment,
    Position,
    Preparation,
    is_foreign,
    is_namesake,
    is_waiting,
)
from chalicelib.domain.errors import AwsError, RefreshError, Refused
from chalicelib.domain.ledger import Ledger, Run, Version, earlier_snapshot, in_progress
from chalicelib.domain.parameters import (
    PLACEHOLDER,
    Parameter,
    arn_of,
    pipeline_name,
    snapshot_of,
    value_of,
    visible,
)
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Json, hours
from chalicelib.domain.snapshots import Snapshot, choose, rejection
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.checks import (
    candidate,
    check_name,
    hold_today,
    next_restore,
    wrong_parameters,
)
from chalicelib.usecases.copies import described, list_own_once
from chalicelib.usecases.deployments import Deployments, describe, in_words
from chalicelib.usecases.preparation import preparation_of
from chalicelib.usecases.update_latest import newest

# A Lambda function answers with at most 6 MB.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SNAPSHOTS_LISTED = 2_000
LONG_RUN = timedelta(hours=2)
# Data is some hours old already when it is restored, and stays until the next refresh has ended.
GRACE = timedelta(days=1)

_NEVER = datetime.min.replace(tzinfo=UTC)


def status(settings: Settings, aws: Aws) -> Json:
    """Return which data is deployed, what comes next, and what is wrong; raise AwsError."""
    look = _Look(settings, aws, settings.databases)
    look.problems += map(_described, wrong_parameters(settings, look.values))
    if look.error:
        look.problems.append(_described(look.error))
    hold, restore = look.hold()
    under_way = look.under_way()
    databases = [look.database(each) for each in settings.databases]
    look.problems += [*look.failed_run(), *look.missed_refreshes(hold)]
    return {
        "databases": databases,
        "hold": hold,
        "schedule": {
            "now": _time(look.now),
            "window": str(settings.window),
            "next_update": _time(settings.updates.next_run(look.now)),
            "next_restore": _time(restore),
            "max_age_days": settings.max_age.days if settings.max_age else None,
        },
        "pipeline": {
            "name": look.pipeline.name or None,
            "last_run": _run(look.pipeline.runs[0]) if look.pipeline.runs else None,
            "under_way": under_way,
        },
        "problems": look.problems,
    }


def history(settings: Settings, aws: Aws, database: Database) -> Json:
    """Return the versions of `current`, newest first, with each one's outcome; raise AwsError."""
    look = _Look(settings, aws, [database])
    if isinstance(look.error, AwsError):
        raise look.error  # rather than show that no run restored anything
    ledger = look.ledgers[database]
    return {"history": [_entry(version, ledger) for version in reversed(ledger)]}


def snapshots(_: Settings, aws: Aws, database: Database) -> Json:
    """Return the verdict on every share, newest first; raise AwsError."""
    shared = sorted(
        aws.snapshots.shared(), key=lambda each: (each.created or _NEVER, each.arn), reverse=True
    )
    (choice,) = choose(shared, [database.criteria])
    chosen, message = None, None
    try:
        chosen = newest(database, choice)
    except Refused as refused:
        message = str(refused)
    listed = shared[:SNAPSHOTS_LISTED]
    if chosen and chosen not in listed:
        listed.append(chosen)  # however many others are shared, hostile ones among them
    return {
        "snapshots": [_verdict(snapshot, database, chosen) for snapshot in listed],
        "omitted": len(shared) - len(listed),
        "message": message,
    }


class _Look:
    """One look at the account, and the problems that it shows.

    `error` is why the pipeline's runs are unknown.
    """

    def __init__(self, settings: Settings, aws: Aws, databases: Sequence[Database]) -> None:
        self.settings = settings
        self.aws = aws
        self.own = list_own_once(aws)
        self.values = aws.parameters.get(settings.promotion_parameters)
        histories = {each: aws.parameters.history(each.current_parameter) for each in databases}
        self.error: RefreshError | None = None
        self.problems: list[str] = []
        self.restored: dict[str, str] = {}  # by the run under way: from what, by database
        name = pipeline_name(value_of(self.values, settings.pipeline_parameter))
        runs: Sequence[Run] = ()
        try:
            if name:
                runs = aws.pipelines.runs(name)
        except RefreshError as error:
            self.error = error
        self.pipeline = Deployments(aws, name or "", runs, histories)
        self.ledgers = self.pipeline.ledgers
        self.now = aws.now()
        several = len(settings.databases) > 1
        self.for_all = " Until then, no other database is refreshed either." if several else ""

    @cached_property
    def deployed(self) -> dict[Database, Deployment]:
        """What is deployed; looked up on demand, because the history does not show it."""
        return {
            each: _deployed(self.pipeline, each, ledger) for each, ledger in self.ledgers.items()
        }

    def is_new(self) -> bool:
        """Return whether the stage waits for its first update."""
        latest = [self.values.get(each.latest_parameter) for each in self.settings.databases]
        due = self.settings.updates.last_run(self.now)
        return due is not None and all(
            each and each.value == PLACEHOLDER and each.modified > due for each in latest
        )

    def hold(self) -> tuple[Json | None, datetime | None]:
        """Return the hold, and when the schedule promotes next."""
        try:
            hold = hold_today(self.settings, self.values, self.now)
        except ValueError as error:
            self.problems.append(f"{error}. Set a new hold, or lift it.")
            return {"until": None, "reason": str(error), "by": "unknown"}, None
        return hold.to_json() if hold else None, next_restore(self.settings, self.now, hold)

    def database(self, database: Database) -> Json:
        """Return the facts of a database."""
        ledger, deployment = self.ledgers[database], self.deployed[database]
        present = ledger[-1] if ledger else None
        latest = snapshot_of(self.values, database.latest_parameter)
        deployed = arn_of(deployment.value)
        current = arn_of(present.value if present else None)
        found = [*self._of_value(database)]
        if deployment.unknown and not deployment.is_deploying:
            found.append(f"cannot determine what is deployed: {deployment.unknown}.")
        facts: Json = {
            "name": database.name,
            "stack": database.stack_name,
            "latest": latest,
            "current": current,
            "previous": earlier_snapshot(ledger),
            "deployed": deployed,
            "deployed_since": _time(deployment.cluster.created) if deployment.cluster else None,
            "preparation": self._preparation(database, found),
            "created": None,
            "age_hours": None,
            "version": present.number if present else None,
            "since": _time(present.modified) if present else None,
            "action": present.action if present else None,
            "by": present.actor if present else None,
            "why": present.reason if present else None,
            "good": bool(present and present.is_good),
            "waiting": is_waiting(deployment, ledger),
            "restoring": self.restored.get(database.name),
            "blocks_refresh": database.latest_parameter not in self.values,
        }
        is_stale = False
        try:
            shown = deployed or current
            snapshot = described(self.aws, self.own, database, shown) if shown else None
            version = deployment.version if deployed else present
            taken = version.taken if version else None
            if snapshot and not is_namesake(snapshot, deployment):
                taken = snapshot.created
            is_stale = self._add_age(facts, deployment, taken, found)
            if database.latest_parameter in self.values:
                promoted = candidate(self.settings, self.aws, self.own, database, self.values)
                check_name(database, deployment, promoted)
        except Refused as refused:
            facts["blocks_refresh"] = True
            if not self._is_normal(refused, is_deployed=latest is not None and latest == deployed):
                found.append(f"latest would not be promoted: {_described(refused)}{self.for_all}")
        except AwsError as error:
            found.append(_described(error))
        self.problems += [f"{database.name}: {each}" for each in found]
        return {**facts, "state": _state(facts, deployment, is_stale=is_stale)}

    def _is_normal(self, refused: Refused, *, is_deployed: bool) -> bool:
        """Return whether a refusal of what `latest` names is no problem yet."""
        if is_deployed:  # the data that is deployed is too old only after GRACE
            return refused.reason in (Reason.SNAPSHOT_GONE, Reason.SNAPSHOT_STALE)
        return refused.reason is Reason.NO_LATEST and self.is_new()

    def _add_age(
        self, facts: Json, deployment: Deployment, taken: datetime | None, found: list[str]
    ) -> bool:
        """Add the data's age to the facts; return whether it is too old, and add that to `found`."""
        if taken:
            facts |= {"created": taken.isoformat(), "age_hours": hours(self.now - taken)}
        if taken is None and deployment.cluster:
            taken = deployment.cluster.created  # a deleted snapshot's data is older still
        deployed, limit = facts["deployed"], self.settings.max_age
        if not (deployed and limit and taken) or self.now - taken <= limit + GRACE:
            return False
        days = (self.now - taken).days
        wait = " once a newer snapshot is shared" if facts["latest"] in (None, deployed) else ""
        found.append(
            f"the deployed data is more than {days} days old; the limit is {limit.days} days. "
            f"Refresh{wait}, or pin one and deploy it now.{self.for_all if wait else ''}"
        )
        return True

    def _preparation(self, database: Database, found: list[str]) -> Json | None:
        """Return the preparation of the cluster, and add to `found` what is wrong with it."""
        try:
            preparation = preparation_of(self.aws, database, self.deployed[database])
        except AwsError as error:
            found.append(_described(error))
            deployment = self.deployed[database]
            is_done = deployment.version and deployment.version.is_good and deployment.is_remembered
            preparation = None if is_done else Preparation(UNKNOWN)
        if preparation is None:
            return None
        if preparation.state == "not-prepared":
            next_step = Reason.NOT_PREPARED.next_step
            found.append(f"the data is not prepared: {preparation}. {next_step}")
        status, execution = preparation.status, preparation.execution_arn
        return {"state": preparation.state, "status": status, "execution": execution}

    def _of_value(self, database: Database) -> Iterator[str]:
        """Yield what is wrong with the value of `current`, if anything is."""
        name = database.current_parameter
        value = value_of(self.values, name)
        deployment, ledger = self.deployed[database], self.ledgers[database]
        known = [each.value for each in ledger] if deployment.unknown else [deployment.value]
        is_first = value == PLACEHOLDER and not any(map(arn_of, known))
        if value is None and deployment.value:
            yield (
                f"{name} does not exist, so the next run of the pipeline fails: pin the snapshot that is "
                "deployed, or another one."
            )
        elif value and arn_of(value) is None and not is_first:
            yield (
                f"{name} holds {visible(value)}, which the next run of the pipeline would read: pin "
                "the snapshot that is deployed, or another one."
            )
        for each in dict.fromkeys([value, deployment.value]):
            if is_foreign(each, database.criteria.account, deployment):
                yield (
                    f"{each} belongs to an account that is neither production's nor this one: pin "
                    f"another snapshot, and find out who wrote {name}."
                )

    def under_way(self) -> Json | None:
        """Return the run in progress, where it is, and what it will restore."""
        run = in_progress(self.pipeline.runs)
        if run is None:
            return None
        positions = dict[str, Position]()
        try:
            run, self.restored = self.pipeline.under_way(self.deployed)
            positions |= self.aws.pipelines.positions(self.pipeline.name)
        except RefreshError as error:
            self.problems.append(f"{error}.")
        restores = in_words(self.restored) or None
        for each in self.pipeline.runs:
            if each.in_progress and self.now - each.started > LONG_RUN:
                goes_on = f" When it continues, it restores {restores}." if restores else ""
                self.problems.append(
                    f"{describe(each, positions.get(each.execution_id))}."
                    + (goes_on if each is run else "")
                )
        position = positions.get(run.execution_id)
        return {
            **_run(run),
            "stage": position.stage if position else None,
            "action": position.action if position else None,
            "waits_for": position.waits_for if position else None,
            "restores": restores,
        }

    def failed_run(self) -> Iterator[str]:
        """Yield a problem if the last run failed or was stopped."""
        last = self.pipeline.runs[0] if self.pipeline.runs else None
        if last and last.has_failed:
            yield (
                f"the last run of {self.pipeline.name}, {last.execution_id}, ended as {last.status} "
                f"at {_time(last.updated)}. Open it to see why."
            )

    def missed_refreshes(self, hold: Json | None) -> Iterator[str]:
        """Yield a problem for each database whose last scheduled refresh did not happen."""
        due = self.settings.restores.last_run(self.now - LONG_RUN)
        if due is None or hold or in_progress(self.pipeline.runs):
            return
        missed = []
        for database, deployment in self.deployed.items():
            latest, cluster = self.values.get(database.latest_parameter), deployment.cluster
            if latest is None or cluster is None or max(latest.modified, cluster.created) >= due:
                continue  # nothing was to be restored when it was due, or something was since
            if arn_of(latest.value) not in (None, deployment.value):
                missed.append(
                    f"{database.name}: the refresh due at {_time(due)} did not happen. Check the "
                    "notifications and the log of db-restore-from-snapshot."
                )
        if missed and not self._was_held(due):
            yield from missed

    def _was_held(self, due: datetime) -> bool:
        """Return whether a hold stopped a refresh, even if it is over or was lifted since."""
        name = self.settings.hold_parameter
        try:
            versions = self.aws.parameters.history(name) if name else []
            before = [each for each in versions if each.modified <= due][-1:]
            values = {str(name): Parameter(x.value, x.number, x.modified) for x in before}
            return hold_today(self.settings, values, due) is not None
        except AwsError:  # unknown: report it
            return False
        except ValueError:  # an unreadable hold counts as one
            return True


def _state(facts: Json, deployment: Deployment, *, is_stale: bool) -> str:
    """Return the state of a database in a word or two."""
    if facts["restoring"]:
        return "restoring"
    if deployment.is_deploying:
        return "deploying"
    if not facts["deployed"]:
        # Somebody may have put a snapshot's name by hand, which CloudFormation takes too.
        is_unknown = deployment.unknown or deployment.value not in (None, PLACEHOLDER)
        return "unknown" if is_unknown else "waiting" if facts["current"] else "empty"
    preparation = facts["preparation"]
    if preparation and preparation["state"] != "prepared":
        return str(preparation["state"]).replace("-", " ")
    if facts["waiting"]:
        return "waiting"
    return "stale" if is_stale else "good"


def _deployed(reader: Deployments, database: Database, ledger: Ledger) -> Deployment:
    try:
        return reader.of(database, ledger)
    except RefreshError as error:
        return Deployment(unknown=str(error))


def _entry(version: Version, ledger: Ledger) -> Json:
    own = ledger.own_run(version)
    run = next((each for each in ledger.runs if each.execution_id == version.run_id), own)
    return {
        "version": version.number,
        "snapshot": visible(version.value),
        "created": _time(version.taken),
        "set": _time(version.modified),
        "action": version.action,
        "by": version.actor,
        "why": version.reason,
        "good": version.is_good,
        "result": version.result,
        "run": _run(run) if run else None,
    }


def _verdict(snapshot: Snapshot, database: Database, chosen: Snapshot | None) -> Json:
    broken = rejection(snapshot, database.criteria)
    return {
        "arn": snapshot.arn,
        "created": _time(snapshot.created),
        "cluster": snapshot.cluster,
        "engine": snapshot.engine,
        "engine_version": snapshot.engine_version,
        "status": snapshot.status,
        "eligible": broken is None,
        "reason": broken.reason if broken else None,
        "detail": broken.detail if broken else None,
        "chosen": snapshot == chosen,
    }


def _run(run: Run) -> Json:
    return {
        "execution_id": run.execution_id,
        "status": run.status,
        "started": _time(run.started),
        "updated": _time(run.updated),
    }


def _described(error: RefreshError) -> str:
    return f"{error}. {error.reason.next_step}" if isinstance(error, Refused) else f"{error}."


def _time(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat(timespec="seconds") if when else None
