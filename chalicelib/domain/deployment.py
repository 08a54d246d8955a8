"""Determine what a database's cluster was restored from, and judge the runs by it. Pure.

The stack, the cluster and the pipeline's action executions decide, not the start times of runs: a
run may skip its deploy stage, be retried, roll back, wait for days, or restore and then fail.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from chalicelib.domain.ledger import (
    CLOCK_TOLERANCE,
    UNKNOWN_RUN,
    WORK_DUE,
    Ledger,
    Run,
    Version,
    last_order,
    last_restored,
    newest_of,
    notified_label,
    successor,
)
from chalicelib.domain.parameters import arn_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.snapshots import Snapshot, SnapshotArn


class StackReference(NamedTuple):
    """The CloudFormation stack that deploys a database, and its cluster's logical id if it has several."""

    stack: str
    logical_id: str | None = None

    def __str__(self) -> str:
        """Return it as P_STACK_NAME writes it."""
        return f"{self.stack}/{self.logical_id}" if self.logical_id else self.stack

    def overlaps(self, other: "StackReference") -> bool:
        """Return whether both may name the same cluster."""
        return self.stack == other.stack and (
            None in (self.logical_id, other.logical_id) or self == other
        )


class Stack(NamedTuple):
    """A stack as CloudFormation shows it: cluster identifiers by logical id, SSM parameters' values.

    `resolved` maps the name of an SSM parameter to the value at the last update.
    """

    status: str
    clusters: dict[str, str]
    resolved: dict[str, str]
    arn: str = ""

    def cluster_of(self, reference: StackReference) -> str | None:
        """Return the identifier of the cluster that a reference names; None if it is not in the stack."""
        return self.clusters.get(reference.logical_id or next(iter(self.clusters), ""))

    def value_of(self, parameter: str) -> str | None:
        """Return an SSM parameter's value at the last update; None if it is unknown."""
        # ResolvedValue after a roll-back is not documented.
        return None if "ROLLBACK" in self.status else self.resolved.get(parameter)

    @property
    def is_deploying(self) -> bool:
        """Whether an update is in progress."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


class Cluster(NamedTuple):
    """A DB cluster; `secret_arn` is that of RDS's own secret, `key` the KMS key that encrypts it."""

    resource_id: str
    created: datetime
    identifier: str = ""
    arn: str = ""
    endpoint: str | None = None
    port: int | None = None
    engine: str = ""
    secret_arn: str | None = None
    key: str | None = None
    is_creating: bool = False

    @property
    def account(self) -> str:
        """The account that the cluster is in."""
        return self.arn.split(":")[4]


# The status of a preparation that cannot be read.
UNKNOWN = "unknown"


class Preparation(NamedTuple):
    """The execution of the state machine that prepares a restored cluster for testers.

    `status` is as Step Functions names it, or says why the execution was not started. It `is_due` if
    the execution has yet to be started.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    """

    status: str
    execution_arn: str | None = None
    is_due: bool = False

    @property
    def state(self) -> str:
        """The state as the API names it."""
        if self.is_running or self.status == UNKNOWN:
            return "preparing"
        return "prepared" if self.is_done else "not-prepared"

    @property
    def is_done(self) -> bool:
        """Whether the data is ready for testers."""
        return self.status == "SUCCEEDED"

    @property
    def is_running(self) -> bool:
        """Whether the execution is running, or waits to run after a redrive."""
        return self.status in ("RUNNING", "PENDING_REDRIVE")

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.execution_arn or 'the after-restore work'}: {self.status}"


# The category of an action that prepares a change set, which deploys nothing yet.
PREPARES_CHANGE_SET = "PrepareChangeSet"


class Action(NamedTuple):
    """One execution of an action of the pipeline, with its status as CodePipeline names it.

    `category` is CodePipeline's as well, or PREPARES_CHANGE_SET. `stack` is the CloudFormation stack
    that it deploys, if it deploys one, in an `account` and `region` if they are known. `reads_since`
    is when it, or the preparation of its change set, began.
    """

    execution_id: str
    stage: str
    name: str
    status: str
    started: datetime
    updated: datetime
    category: str = ""
    stack: str | None = None
    reads_since: datetime | None = None
    account: str | None = None
    region: str | None = None

    def without_namesake(self, stack: Stack | None) -> "Action":
        """Return the action without its stack if that stack is in another account or Region than `stack`."""
        if stack is None or not stack.arn:
            return self
        region, account = stack.arn.split(":")[3:5]
        is_elsewhere = self.region not in (None, region) or self.account not in (None, account)
        return self._replace(stack=None) if is_elsewhere else self

    def as_script(self, cluster: Cluster) -> "Action":
        """Return the action as one that reads `current` until it creates the cluster; a deploy action is unchanged."""
        if self.category == "Deploy":
            return self
        return self._replace(reads_since=self.started, started=cluster.created)

    def covers(self, instant: datetime) -> bool:
        """Return whether it was being executed at that time, give or take a clock's difference."""
        # CodePipeline learns some moments after CloudFormation that an action is done.
        # An abandoned action is still at work, although its run is Stopped.
        is_open = self.status in ("InProgress", "Abandoned")
        is_over = not is_open and instant > self.updated + CLOCK_TOLERANCE
        return self.started - CLOCK_TOLERANCE <= instant and not is_over


class Position(NamedTuple):
    """Where a run in progress is: in which stage and action, since when, and what it waits for."""

    stage: str
    action: str | None = None
    since: datetime | None = None
    waits_for: str | None = None

    def __str__(self) -> str:
        """Return it in words."""
        place = f"stage {self.stage}" + (f", action {self.action}" if self.action else "")
        since = f" since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        return f"{f'waiting for {self.waits_for} ' if self.waits_for else ''}in {place}{since}"


class Deployment(NamedTuple):
    """The deployed data of one database.

    - `value`: the snapshot that the cluster was restored from; None without a cluster
    - `version`: the version of `current` that had this value
    - `maker`: the id of the run that restored it
    - `is_remembered`: the version already has the cluster's label
    - `unknown`: why the value cannot be determined; while `is_deploying`, only for the moment
    - `held`: the version that a run in progress is deploying, or has in a change set to execute
    - `preparation`: the cluster's after-restore work, if any
    """

    value: str | None = None
    version: Version | None = None
    maker: str | None = None
    cluster: Cluster | None = None
    is_remembered: bool = False
    unknown: str | None = None
    is_deploying: bool = False
    held: Version | None = None
    preparation: Preparation | None = None


def is_foreign(value: str | None, production: str, deployment: Deployment) -> bool:
    """Return whether a value names a snapshot of neither production nor the cluster's own account.

    Somebody may have put it by hand: anyone may share a snapshot of any name.
    """
    arn, cluster = SnapshotArn.parse(value or ""), deployment.cluster
    if arn is None or cluster is None:
        return False
    return arn.account not in (production, cluster.account)


def is_namesake(snapshot: Snapshot, deployment: Deployment) -> bool:
    """Return whether a snapshot has the deployed one's name, but was created after `current` was set to that."""
    version, created = deployment.version, snapshot.created
    is_newer = version is not None and created is not None and created > version.modified
    is_by_run = deployment.maker not in (None, UNKNOWN_RUN)
    return is_newer and is_by_run and snapshot.arn == deployment.value


def remembered(ledger: Iterable[Version], cluster: Cluster) -> Deployment | None:
    """Return the deployment that a label remembers; None if the cluster is seen for the first time."""
    for version in ledger:
        if cluster.resource_id in version.labels:
            return Deployment(version.value, version, version.run_id, cluster, is_remembered=True)
    return None


def makers_of(cluster: Cluster, actions: Sequence[Action], stack: str) -> list[Action]:
    """Return the action executions that may have created the cluster, oldest first.

    If several ran at that time, those that deploy the stack are preferred, then those of category
    Deploy, then those that were not abandoned. Clocks differ, so two consecutive actions may both be returned.
    In a run that deploys the stack, no other action makes the cluster.
    """
    deploying = {action.execution_id for action in actions if action.stack == stack}
    covering = [
        action
        for action in actions
        if action.category != "Approval"
        and action.covers(cluster.created)
        and (action.stack == stack or action.execution_id not in deploying)
    ]
    fits = [
        (action.stack == stack, action.category == "Deploy", action.status != "Abandoned")
        for action in covering
    ]
    best = [action for action, fit in zip(covering, fits, strict=True) if fit == max(fits)]
    return sorted(best, key=lambda each: each.started)


def restored_from(
    ledger: Ledger, cluster: Cluster, resolved: str | None, makers: Sequence[Action]
) -> Deployment:
    """Return what a cluster that is seen for the first time was restored from.

    `resolved` is the value of `current` in the stack's last update, if that was not rolled back:
    had any update since resolved another value, it would have replaced the cluster.
    """
    before = [each for each in ledger if each.modified <= cluster.created]
    stated = newest_of(resolved or "", before)
    read = [(maker, versions_read_by(maker.as_script(cluster), ledger)) for maker in makers]
    if read and not any(versions for _, versions in read):
        return _from_before_history(ledger, cluster, resolved)
    if stated:  # an action that did not read the stack's value did not create the cluster
        read = [(maker, each) for maker, each in read if newest_of(stated.value, each)]
    if not read:
        # Somebody created it by hand, or the records of CodePipeline do not reach back to it.
        if not before and ledger[0].modified > cluster.created + CLOCK_TOLERANCE:
            return _from_before_history(ledger, cluster, resolved)
        version = stated or next(reversed(before), ledger[0])
        return Deployment(version.value, version, None, cluster)
    values = {version.value for _, versions in read for version in versions}
    if before and all(maker.status == "Abandoned" for maker, _ in read):
        # Nobody knows how long it was at work: somebody may have created the cluster by hand since.
        values.add(before[-1].value)
    if resolved in values:
        values = {resolved}
    if len(values) != 1:
        return Deployment(cluster=cluster, unknown=_uncertain(makers[-1]))
    (value,) = values
    fitting = [(maker, made) for maker, each in read if (made := newest_of(value, each))]
    # A later deploy of the same value creates no cluster, and a failed deploy is rolled back.
    maker, made = max(fitting, key=lambda each: each[0].status != "Failed")
    return Deployment(value, made, maker.execution_id, cluster)


def _from_before_history(
    ledger: Sequence[Version], cluster: Cluster | None, resolved: str | None
) -> Deployment:
    """Return what was deployed before every version of `current`; without a stack, no cluster is seen."""
    first = ledger[0]
    if resolved:
        not_ours = [each for each in ledger if not each.is_ours]
        return Deployment(resolved, newest_of(resolved, not_ours), None, cluster)
    if first.number > 1:
        older = "the cluster is older than the history of current"
        return Deployment(
            cluster=cluster, unknown=f"{older}, so only the next restore will show it"
        )
    if first.is_ours:
        return Deployment(cluster=cluster)  # the cluster was not restored from `current`
    return Deployment(first.value, first, None, cluster)  # the first value names the deployed data


def _uncertain(action: Action) -> str:
    return (
        f"current changed within a minute of the start of action {action.name} of run "
        f"{action.execution_id}, or after it: cannot determine what the action restored"
    )


def versions_read_by(action: Action, ledger: Ledger) -> list[Version]:
    """Return the versions of `current` that a deploy action may have read.

    Clocks differ, and CloudFormation reads a moment after the action has started. But a run never
    reads a version from before the one that it was started for.
    """
    begin = (action.reads_since or action.started) - CLOCK_TOLERANCE
    end = action.started + CLOCK_TOLERANCE
    first = max((i for i, each in enumerate(ledger) if each.modified <= begin), default=0)
    for index, version in enumerate(ledger):
        run = ledger.own_run(version)
        if run and run.execution_id == action.execution_id:
            first = max(first, index)
            break
    return [each for i, each in enumerate(ledger) if i >= first and each.modified <= end]


def held_by(actions: Iterable[Action], stack: str | None, ledger: Ledger) -> Version | None:
    """Return the version that the run of these actions is deploying, or has in a prepared change set.

    CloudFormation resolves parameters when a change set is prepared, and somebody may have to approve
    it for days. `stack` None means any stack.
    """
    of_stack = [each for each in actions if each.stack and stack in (None, each.stack)]
    newest = max(of_stack, key=lambda each: each.started, default=None)
    if newest is None or (newest.category != PREPARES_CHANGE_SET and newest.status != "InProgress"):
        return None
    # The history may not go back so far, as after a deletion.
    read = newest._replace(started=newest.reads_since or newest.started)
    return next(reversed(versions_read_by(read, ledger)), ledger[0])


def last_deployed(ledger: Ledger, actions: Sequence[Action]) -> Deployment:
    """Return what the newest successful deploy action read, the only evidence without a stack.

    `actions` are newest first. A pipeline that neither deploys nor prepares a change set, such as one
    that runs Terraform in a build, may deploy at any time during a run.
    """
    deploys = [action for action in actions if action.category == "Deploy"]
    is_script = not {each.category for each in actions} & {"Deploy", PREPARES_CHANGE_SET}
    if actions and is_script:
        deploys = [
            Action(
                run.execution_id,
                "any",
                "any",
                run.status,
                run.updated,
                run.updated,
                reads_since=run.started,
            )
            for run in ledger.runs
        ]
    if any(action.status == "InProgress" for action in deploys):
        return Deployment(unknown="a deploy action is in progress", is_deploying=True)
    seen = next((each for each in reversed(ledger) if each.was_restored), None)
    if is_script and seen:  # a script, or other runs' actions have pushed the deploy off the list
        deploys = list(takewhile(lambda each: each.execution_id != seen.run_id, deploys))
    maker = next((action for action in deploys if action.status == "Succeeded"), None)
    if maker is None:
        return (
            Deployment(seen.value, seen, seen.run_id, is_remembered=True) if seen else Deployment()
        )
    candidates = versions_read_by(maker, ledger)
    # Without a cluster, nothing shows whether a first value that was put by hand is deployed.
    if not candidates and (ledger[0].is_ours or arn_of(ledger[0].value) is None):
        found = _from_before_history(ledger, None, None)
        return found._replace(is_remembered=bool(found.version and found.version.run_id))
    if len({version.value for version in candidates}) != 1:
        return Deployment(
            unknown=f"{_uncertain(maker)}; set P_STACK_NAME, such as RDS_STACK_NAME, so that it can be determined"
        )
    version = candidates[-1]
    # Without a stack, a deploy of the same value cannot be distinguished from a restore.
    run = version.run_id
    return Deployment(version.value, version, run or maker.execution_id, is_remembered=bool(run))


class Verdict(NamedTuple):
    """The outcome of a version; with `reason` None it was restored successfully.

    With `put`, set `current` to the deployed snapshot before notifying people.
    """

    reason: Reason | None
    version: Version
    run: Run | None = None
    put: bool = False

    @property
    def label(self) -> str:
        """The label that remembers that people were notified."""
        return notified_label(self.reason)


def verdict(deployment: Deployment, ledger: Ledger, now: datetime) -> Verdict | None:
    """Return the next correction, or else the next notification, for a database; None if there is none."""
    if not ledger or deployment.is_deploying:
        return None
    if deployment.unknown:
        found = [Verdict(Reason.DEPLOYED_UNKNOWN, ledger[-1])]
    else:
        found = [
            *_of_deployed(deployment, ledger.runs),
            *_of_order(deployment, ledger, now),
            *_of_present(deployment, ledger, now),
        ]
    if deployment.held:  # its run restores that version, whatever `current` holds by now
        found = [each for each in found if not each.put]
    due = [each for each in found if each.put or each.label not in each.version.labels]
    return min(due, key=lambda each: not each.put, default=None)


def recovered(deployment: Deployment, ledger: Ledger) -> Iterator[tuple[Version, str]]:
    """Yield the labels that no longer apply, with their versions.

    A fault that has cleared can be notified again. Once its run has ended, work that has succeeded is
    not due again, even if the state machine is replaced. If the run has failed before, people are
    notified that the data is ready. Without a state machine, no work is due.
    """
    over: list[tuple[Version, str]] = []
    if not deployment.unknown:
        over += [(each, notified_label(Reason.DEPLOYED_UNKNOWN)) for each in ledger]
    version, preparation = deployment.version, deployment.preparation
    faults = [notified_label(Reason.NOT_PREPARED), notified_label(Reason.FAILED_AFTER_RESTORE)]
    if version and version.is_good:
        over += [(version, each) for each in faults]
    elif version and preparation is None:
        over.append((version, WORK_DUE))
    elif version and preparation and preparation.is_running:
        over.append((version, faults[0]))
    elif version and WORK_DUE in version.labels and preparation and preparation.is_done:
        run = _maker(deployment, ledger.runs)
        # That a run has failed is notified first, even if the function is killed meanwhile.
        if run is None or run.succeeded or faults[1] in version.labels:
            over += [(version, each) for each in (*faults, WORK_DUE)]
    yield from ((version, label) for version, label in over if label in version.labels)


def is_waiting(deployment: Deployment, ledger: Sequence[Version]) -> bool:
    """Return whether the next deployment would restore something other than what is deployed."""
    return bool(ledger) and not deployment.unknown and ledger[-1].value != deployment.value


def to_restore(deployment: Deployment, ledger: Ledger) -> str | None:
    """Return the value that the next deployment restores; None if it restores nothing."""
    if deployment.is_deploying and ledger:
        # Of what a script deploys, no action shows what it has read: it may be the order's.
        order, seen = last_order(ledger), last_restored(ledger)
        run = ledger.own_run(order) if order and not order.run_id else None
        read = deployment.held or (order if order and run and run.in_progress else ledger[-1])
        return read.value if not seen or read.value != seen.value else None
    if deployment.held:
        return deployment.held.value if deployment.held.value != deployment.value else None
    return ledger[-1].value if is_waiting(deployment, ledger) else None


def _maker(deployment: Deployment, runs: Sequence[Run]) -> Run | None:
    """Return the run that restored the cluster, or the one that has superseded it."""
    maker = next((run for run in runs if run.execution_id == deployment.maker), None)
    return successor(maker, runs)


def _of_deployed(deployment: Deployment, runs: Sequence[Run]) -> Iterator[Verdict]:
    """Judge the version that is deployed by the run that restored it."""
    version = deployment.version
    if version is None or version.is_good:
        return
    run = _maker(deployment, runs)
    state = deployment.preparation.state if deployment.preparation else "prepared"
    if run and not run.in_progress and not run.succeeded:
        yield Verdict(Reason.FAILED_AFTER_RESTORE, version, run)
    elif run and run.succeeded and state == "prepared":
        yield Verdict(None, version, run)
    if state == "not-prepared":
        yield Verdict(Reason.NOT_PREPARED, version, run)


def _of_order(deployment: Deployment, ledger: Ledger, now: datetime) -> Iterator[Verdict]:
    """Judge the newest version that a run was started for, if it is not deployed."""
    order = last_order(ledger)
    if order is None or order.value == deployment.value or order.run_id:
        return
    if ledger.is_under_way(order, now):
        return
    run, present = ledger.own_run(order), ledger[-1]
    is_present = _stands_for(present, order)
    ends = {notified_label(each) for each in (Reason.RUN_FAILED, Reason.NOTHING_RESTORED)}
    if not is_present and ends & order.labels:
        return  # already notified: its run was retried since, or is no longer listed
    before = last_restored([each for each in ledger if each.number < order.number])
    if before and before.value == order.value and not is_present:
        return  # its value was already deployed, so there was nothing to restore
    is_taken_back = present.action == "revert" or deployment.value is None
    # Once somebody else has moved current on, whether the run restored it before is not known.
    if is_present or is_taken_back or (run and not run.succeeded):
        reason = Reason.NOTHING_RESTORED if run and run.succeeded else Reason.RUN_FAILED
        yield Verdict(reason, order, run, put=is_present)


def _stands_for(present: Version, order: Version) -> bool:
    """Return whether `present` is the request itself, or an undo that restored the request's value."""
    is_undo_to = present.action == "undo" and present.value == order.value
    return is_undo_to or present.token == order.token


def _of_present(deployment: Deployment, ledger: Ledger, now: datetime) -> Iterator[Verdict]:
    """Judge the newest version if nobody requested its value and another snapshot is deployed."""
    present = ledger[-1]
    differs = deployment.value not in (None, present.value)
    if present.action == "align":
        yield Verdict(Reason.DEPLOYED_DIFFERS, present, put=differs)
    elif differs and not present.waits:
        order = last_order(ledger)
        wanted = order if order and _stands_for(present, order) else present
        if not ledger.is_under_way(wanted, now):
            yield Verdict(Reason.DEPLOYED_DIFFERS, present, put=True)
