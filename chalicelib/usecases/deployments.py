"""Look at what is deployed: the stacks, their clusters and the pipeline's action executions."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import (
    Action,
    Cluster,
    Deployment,
    Position,
    Stack,
    StackReference,
    held_by,
    last_deployed,
    makers_of,
    remembered,
    restored_from,
    to_restore,
)
from chalicelib.domain.ledger import CLOCK_TOLERANCE, Ledger, Run, Version, last_order
from chalicelib.domain.parameters import visible
from chalicelib.ports import Aws

# An action goes on after its run was cancelled, or stopped and abandoned.
_LONGEST_DEPLOY = timedelta(hours=6)


def describe(run: Run, position: Position | None) -> str:
    """Return a run in progress in words."""
    place = f", {position}" if position else ""
    since = f"{run.started:%Y-%m-%d %H:%M} UTC{place}"
    return f"run {run.execution_id} has been in progress since {since}"


def in_words(restored: Mapping[str, str]) -> str:
    """Return what a run restores, by database, in words."""
    return ", ".join(f"{name} from {value}" for name, value in restored.items())


class Deployments:
    """Reads what the runs of a pipeline have deployed, newest first as they were listed.

    Each stack, cluster and list of actions is read once. Without the pipeline's name, nobody knows
    any runs. `histories` are those of `current`, by database.
    """

    def __init__(
        self,
        aws: Aws,
        name: str,
        runs: Sequence[Run],
        histories: Mapping[Database, Sequence[Version]] | None = None,
    ) -> None:
        self.aws = aws
        self.name = name
        self.runs = runs
        self.ledgers = {each: Ledger(found, runs) for each, found in (histories or {}).items()}
        self.stack = cache(aws.stacks.find)
        self._cluster = cache(aws.clusters.describe)
        self._actions = cache(aws.pipelines.actions)

    def read_again(self, database: Database) -> Ledger:
        """Return a database's ledger as it is now, with the runs as listed; raise AwsError."""
        return Ledger(self.aws.parameters.history(database.current_parameter), self.runs)

    def of(self, database: Database, ledger: Ledger) -> Deployment:
        """Return what is deployed for a database; raise AwsError and Refused."""
        found = (
            held_by(self._seen_from(database, run), database.stack_name, ledger)
            for run in self.runs
            if run.in_progress and ledger
        )
        held = next(filter(None, found), None)
        return self._deployed(database, ledger)._replace(held=held)

    def describe_run(self, run: Run) -> str:
        """Return in words since when a run is in progress and where it is; raise AwsError and Refused."""
        return describe(run, self.aws.pipelines.positions(self.name).get(run.execution_id))

    def under_way(self, deployed: Mapping[Database, Deployment]) -> tuple[Run, dict[str, str]]:
        """Return the run in progress that restores a database next, and from what, by database.

        There must be one in progress. If none restores any, return the oldest one. Raise AwsError.
        """
        under_way = [run for run in reversed(self.runs) if run.in_progress]
        values = {each: to_restore(deployed[each], found) for each, found in self.ledgers.items()}
        for run in under_way:
            restored = {
                each.name: visible(value)
                for each, value in values.items()
                if value and not self._is_past(each, run)
            }
            if restored:
                return run, restored
        return under_way[0], {}

    def _is_past(self, database: Database, run: Run) -> bool:
        """Return whether a run in progress has deployed the database's stack; raise AwsError."""
        return any(
            action.category == "Deploy"
            and action.status == "Succeeded"
            and database.stack_name in (None, action.stack)
            for action in self._seen_from(database, run)
        )

    def _seen_from(self, database: Database, run: Run | None = None) -> list[Action]:
        """Return the action executions of a run, or the most recent ones, newest first.

        A pipeline may deploy a stack of the same name elsewhere, such as production's.
        """
        actions = self._actions(self.name, run.execution_id if run else None)
        stack = self.stack(database.stack_name) if database.stack_name else None
        return [each.without_namesake(stack) for each in actions]

    def _deployed(self, database: Database, ledger: Ledger) -> Deployment:
        if database.stack is None:
            if not ledger:
                return Deployment()
            if not self.name:
                return Deployment(unknown="the main pipeline's name is unknown")
            return last_deployed(ledger, self._seen_from(database))
        reference, stack = database.stack, self.stack(database.stack.stack)
        if stack is None:
            return self._nothing(database, f"stack {reference.stack}", ledger)
        unreadable = unreadable_stack(reference, stack)
        if unreadable:
            return unreadable
        identifier = stack.cluster_of(reference)
        cluster = self._cluster(identifier) if identifier else None
        if cluster is None:
            return self._nothing(database, f"cluster in stack {reference}", ledger)
        if cluster.is_creating:
            # In express mode, a stack is complete once its clusters have been requested.
            # https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DeploymentConfig.html
            return Deployment(unknown=f"cluster {identifier} is creating", is_deploying=True)
        return remembered(ledger, cluster) or self._first_seen(database, stack, cluster, ledger)

    def _first_seen(
        self, database: Database, stack: Stack, cluster: Cluster, ledger: Ledger
    ) -> Deployment:
        """Find the deploy actions that may have made the cluster, among the runs of that time."""

        def may_have_made_it(run: Run) -> bool:
            longest = _LONGEST_DEPLOY if run.has_failed else CLOCK_TOLERANCE
            is_over = not run.in_progress and run.updated + longest < cluster.created
            return run.started <= cluster.created + CLOCK_TOLERANCE and not is_over

        resolved = stack.value_of(database.current_parameter)
        if not ledger:
            return Deployment(resolved, cluster=cluster)  # current does not exist
        actions = [
            action
            for run in filter(may_have_made_it, self.runs)
            for action in self._seen_from(database, run)
        ]
        makers = makers_of(cluster, actions, database.stack_name or "")
        return restored_from(ledger, cluster, resolved, makers)

    def _nothing(self, database: Database, missing: str, ledger: Ledger) -> Deployment:
        """Return what a missing stack or cluster means.

        Nothing is deployed yet. But if a cluster was seen before, or a run has deployed since the last
        request, the stack's name is wrong, and reverting `current` would replace the database.
        """
        if any(version.was_restored for version in ledger) or self._has_deployed(database, ledger):
            return Deployment(
                unknown=f"there is no {missing}: it was deleted, renamed, or is in another account "
                f"or Region; correct {database.setting('STACK_NAME')}"
            )
        return Deployment()

    def _has_deployed(self, database: Database, ledger: Ledger) -> bool:
        order = last_order(ledger)
        if order is None or not self.name:
            return False
        run = ledger.own_run(order)
        if run and run.succeeded:
            return True
        deploys = [
            action
            for action in self._seen_from(database)
            if action.category == "Deploy" and action.updated >= order.modified - CLOCK_TOLERANCE
        ]
        deploys = [each for each in deploys if each.stack == database.stack_name] or deploys
        return any(action.status == "Succeeded" for action in deploys)


def unreadable_stack(reference: StackReference, stack: Stack) -> Deployment | None:
    """Return why a stack does not show what is deployed; None if it does."""
    if stack.is_deploying:
        return Deployment(unknown=f"stack {reference.stack} is {stack.status}", is_deploying=True)
    if stack.status.endswith("ROLLBACK_FAILED"):
        # What a failed creation has left cannot be rolled back further.
        todo = "delete it" if stack.status == "ROLLBACK_FAILED" else "continue its rollback"
        return Deployment(unknown=f"stack {reference.stack} is {stack.status}: {todo}")
    if reference.logical_id is None and len(stack.clusters) > 1:
        names = ", ".join(f"{reference.stack}/{each}" for each in sorted(stack.clusters))
        return Deployment(
            unknown=f"stack {reference.stack} has several clusters; name one in P_STACK_NAME: {names}"
        )
    return None
