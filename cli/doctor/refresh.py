"""Check what the refresh looks at: each database's stack and cluster, and the way to them. Pure."""

from collections.abc import Iterator, Mapping

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, StackReference
from chalicelib.domain.deployment import Stack as SeenStack
from chalicelib.domain.reasons import Reason
from chalicelib.usecases.deployments import unreadable_stack
from cli import mainpipeline
from cli.doctor.checks import OK, PROBLEM, WARNING, Check, unavailable, when
from cli.doctor.state import AcceptanceState, Deployed, Unavailable
from cli.stages import AcceptanceStage, to_change

_KIND = "deployment"
_AGAIN = "run the doctor again once that operation has ended"


def databases(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check for each database that the refresh sees what is deployed, and that it is prepared."""
    for database in stage.settings.databases:
        seen = state.deployed[database.name]
        if database.stack:
            yield _in_stack(stage, state, database, database.stack, seen)
        else:
            yield from _without_stack(stage, state, database, seen)
        if database.after_restore:
            yield from _preparation(stage, database, database.after_restore, seen)
    if not any(database.after_restore for database in stage.settings.databases):
        hint = "is not set for any database: production's personal data arrives unmasked"
        yield Check(_KIND, "P_AFTER_RESTORE", OK, hint)


def obstacles(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check what delays a run on its way to the stage that deploys, or makes that stage unreliable."""
    pipeline = state.existing_pipeline
    if pipeline is None:
        return  # reported already
    name, body = pipeline
    if isinstance(state.disabled, Unavailable):
        yield unavailable(_KIND, f"transitions of {name}", state.disabled)
    disabled = {} if isinstance(state.disabled, Unavailable) else state.disabled
    references = [each.stack for each in stage.settings.databases if each.stack]
    named = {each.stack for each in references}
    deployed = {each.stack for each in mainpipeline.deploy_actions(body)}
    for each in mainpipeline.obstacles(body, name, named & deployed, disabled):
        yield Check(_KIND, f"stage {each.stage} of {name}", WARNING, each.what, each.fix)


def _in_stack(
    stage: AcceptanceStage,
    state: AcceptanceState,
    database: Database,
    reference: StackReference,
    seen: Deployed,
) -> Check:
    """Check the stack of P_STACK_NAME, its cluster, and what that was restored from."""
    deployer = next((each for each in state.stacks if each.name == reference.stack), None)
    if deployer and deployer.elsewhere:
        return Check(
            _KIND,
            database.name,
            WARNING,
            f"stack {reference.stack} is not seen: the pipeline deploys it {deployer.elsewhere}, and the refresh "
            f"looks in account {stage.account}, {stage.region}",
            f"unset it, and the refresh goes by the newest successful deploy action: {_set(stage, database, '')}",
            blind=True,
        )
    for part in (seen.stack, seen.cluster, seen.deployment):
        if isinstance(part, Unavailable):
            return unavailable(_KIND, database.name, part)
    assert not isinstance(seen.deployment, Unavailable)
    assert not isinstance(seen.stack, Unavailable)
    if seen.deployment.unknown:
        return _unknown(stage, state, database, seen.deployment)
    if seen.stack is None or seen.stack.status == "REVIEW_IN_PROGRESS":
        return _missing_stack(stage, state, database, reference)
    # Nothing is looked at for a database whose *current* does not exist yet.
    unreadable = unreadable_stack(reference, seen.stack)
    if unreadable:
        return _unknown(stage, state, database, unreadable)
    logical_id = reference.cluster_in(seen.stack.clusters)
    if seen.cluster is None:
        return _missing_cluster(stage, database, reference, seen.stack.clusters)
    reading = _reading(state, reference.stack, logical_id)
    other = _proposal(state, database)
    # If no cluster reads *current*, the checks of the templates say so.
    if other and reading and reading.parameter not in (None, database.current_parameter):
        return Check(
            _KIND,
            database.name,
            PROBLEM,
            f"cluster {logical_id} of stack {reference.stack} is restored from {reading.parameter}, not from "
            f"{database.current_parameter}",
            _set(stage, database, other),
        )
    assert isinstance(seen.cluster, dict)
    created, value = seen.cluster.get("ClusterCreateTime"), seen.deployment.value
    since = f", created {when(stage, created)}" if created else ""
    restored = f", restored from {value}" if value else ""
    return Check(
        _KIND,
        database.name,
        OK,
        f"cluster {seen.cluster['DBClusterIdentifier']} of stack {reference}{since}{restored}",
    )


def _missing_stack(
    stage: AcceptanceStage, state: AcceptanceState, database: Database, reference: StackReference
) -> Check:
    pipeline = state.existing_pipeline
    actions = mainpipeline.deploy_actions(pipeline[1]) if pipeline else ()
    if reference.stack in {each.stack for each in actions}:
        found = f"stack {reference.stack} has not been deployed by the pipeline yet"
        fix = "nothing before the pipeline's first run"
        return Check(_KIND, database.name, WARNING, found, fix)
    return Check(
        _KIND,
        database.name,
        PROBLEM,
        f"stack {reference.stack} does not exist in account {stage.account}, {stage.region}, and no action of the "
        "pipeline deploys it",
        _set(stage, database, _proposal(state, database) or "…"),
    )


def _missing_cluster(
    stage: AcceptanceStage,
    database: Database,
    reference: StackReference,
    clusters: Mapping[str, str],
) -> Check:
    logical_id = reference.cluster_in(clusters)
    if logical_id in clusters:
        return Check(
            _KIND,
            database.name,
            PROBLEM,
            f"cluster {clusters[logical_id]} of stack {reference} does not exist any more",
            f"pin another snapshot with deploy, which creates a new cluster: aurora-refresh console --stage {stage.name}",
        )
    found = " or ".join(f"{reference.stack}/{each}" for each in sorted(clusters))
    return Check(
        _KIND,
        database.name,
        PROBLEM,
        f"stack {reference.stack} has no DB cluster {logical_id}".rstrip()
        + f"; it has {found or 'none'}",
        f"name the stack that has it, perhaps a nested one: {_set(stage, database, found or '…')}",
    )


def _unknown(
    stage: AcceptanceStage, state: AcceptanceState, database: Database, deployment: Deployment
) -> Check:
    """Report what the status reports as a problem, unless a deployment in progress is the reason."""
    if deployment.is_deploying:
        return Check(_KIND, database.name, WARNING, f"{deployment.unknown}", _AGAIN)
    fix = Reason.DEPLOYED_UNKNOWN.next_step
    seen = state.deployed[database.name]
    if database.stack and (seen.stack is None or seen.cluster is None):
        fix = _set(stage, database, _proposal(state, database) or "…")
    if database.stack and isinstance(seen.stack, SeenStack):
        name, clusters = database.stack.stack, sorted(seen.stack.clusters)
        if seen.stack.status == "UPDATE_ROLLBACK_FAILED":
            fix = f"aws cloudformation continue-update-rollback --stack-name {name}"
        elif seen.stack.status == "ROLLBACK_FAILED":
            fix = f"aws cloudformation delete-stack --stack-name {name}, and run the pipeline again"
        elif database.stack.logical_id is None and len(clusters) > 1:
            fix = f"one of these: {_set(stage, database, ' or '.join(f'{name}/{each}' for each in clusters))}"
    seen_ = f"it cannot be seen what is deployed: {deployment.unknown}"
    return Check(_KIND, database.name, PROBLEM, seen_, fix)


def _without_stack(
    stage: AcceptanceStage, state: AcceptanceState, database: Database, seen: Deployed
) -> Iterator[Check]:
    """Warn that the refresh sees less, and check what it sees."""
    if state.existing_pipeline is None:
        return  # reported already
    away = [each for each in state.stacks if each.elsewhere]
    if away and len(away) == len(state.stacks):
        yield Check(
            _KIND,
            database.name,
            WARNING,
            f"its cluster is not seen: the pipeline deploys stack {away[0].name} {away[0].elsewhere}. The refresh "
            "goes by the newest successful deploy action alone",
            f"compare it with the status by hand: aurora-refresh console --stage {stage.name}",
            blind=True,
        )
    else:
        setting = f"{database.name.upper()}_STACK_NAME"
        yield Check(
            _KIND,
            database.name,
            WARNING,
            f"{setting} is not set: the refresh goes by the newest successful deploy action alone, and cannot tell "
            "whether that restored anything",
            _set(stage, database, _proposal(state, database) or "…"),
        )
    if isinstance(seen.deployment, Unavailable):
        yield unavailable(_KIND, database.name, seen.deployment)
    elif seen.deployment.unknown:
        yield _unknown(stage, state, database, seen.deployment)


def _preparation(
    stage: AcceptanceStage, database: Database, machine: str, seen: Deployed
) -> Iterator[Check]:
    """Check the state machine, its last execution, and what it may need of the cluster."""
    setting = f"{database.name.upper()}_AFTER_RESTORE"
    change = to_change(stage.name, f"{setting}=…")
    if isinstance(seen.machine, Unavailable):
        yield unavailable(_KIND, machine, seen.machine)
    elif seen.machine is None:
        yield Check(_KIND, machine, PROBLEM, f"{setting} names it, but it does not exist", change)
    elif seen.machine != "ACTIVE":
        yield Check(_KIND, machine, PROBLEM, f"is {seen.machine}", change)
    else:
        yield Check(_KIND, machine, OK, "is ACTIVE")
    if isinstance(seen.preparation, Unavailable):
        yield unavailable(_KIND, f"preparation of {database.name}", seen.preparation)
    elif seen.preparation and seen.preparation.state == "not-prepared":
        found = f"the data is not prepared: {seen.preparation.execution_arn} is {seen.preparation.status}"
        fix = Reason.NOT_PREPARED.next_step
        yield Check(_KIND, f"preparation of {database.name}", PROBLEM, found, fix)
    if not isinstance(seen.cluster, dict):
        return
    name = seen.cluster["DBClusterIdentifier"]
    if seen.cluster["Engine"].startswith("aurora") and not seen.cluster.get("HttpEndpointEnabled"):
        found = "its Data API is not enabled, so a state machine cannot send it SQL by itself"
        fix = "write EnableHttpEndpoint: true for the cluster in the template, if the state machine needs it"
        yield Check(_KIND, f"cluster {name}", WARNING, found, fix)
    if "MasterUserSecret" not in seen.cluster:
        found = "RDS keeps no secret of its master user, so the state machine gets no secret_arn"
        fix = "write ManageMasterUserPassword: true for the cluster in the template"
        yield Check(_KIND, f"cluster {name}", WARNING, found, fix)


def _reading(state: AcceptanceState, stack: str, cluster: str) -> mainpipeline.Reading | None:
    """Return where the cluster's snapshot comes from; None if its template does not tell."""
    found = (
        reading
        for each in state.stacks
        if each.name == stack and isinstance(each.template, dict)
        for reading in mainpipeline.readings(each.template, each.given)
        if reading.cluster == cluster
    )
    return next(found, None)


def _proposal(state: AcceptanceState, database: Database) -> str | None:
    """Return the stack and the cluster whose template reads the database's *current*, if one does."""
    for stack in state.stacks:
        template = stack.template if isinstance(stack.template, dict) else {}
        for parameter, place in mainpipeline.places(stack.name, template, stack.given):
            if parameter == database.current_parameter:
                return place
    return None


def _set(stage: AcceptanceStage, database: Database, value: str) -> str:
    return to_change(stage.name, f"{database.name.upper()}_STACK_NAME={value}")
