"""Check what the refresh looks at: each database's stack and cluster, and the way to them."""

from collections.abc import Collection, Iterator

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, StackReference
from chalicelib.domain.reasons import Reason
from chalicelib.usecases.deployments import unreadable_stack
from cli import mainpipeline
from cli.cloudformation import LEFT_OVER, deletion
from cli.doctor.checks import Check, Verdict, check, ok, problem, unavailable, warning, when
from cli.doctor.look import AcceptanceLook, Unavailable, known
from cli.mainpipeline import DeployedStack
from cli.stages import AcceptanceStage, Json, to_change

_CERTAIN = 3  # that an action deploys a database
# Actions of CodePipeline that deploy stacks under other names than those that they are given.
_INDIRECT = ("CloudFormationStackSet", "CloudFormationStackInstances", "ServiceCatalog")
# Left by a creation or a deletion that failed.
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
_ONLY_DELETABLE = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")


def databases(look: AcceptanceLook) -> Iterator[Check]:
    """Check for each database that the refresh sees what is deployed, and that it is prepared."""
    stage = look.stage
    for database in stage.settings.databases:
        if database.stack:
            yield from _in_stack(database.name, look, database, database.stack)
        elif look.existing_pipeline:  # otherwise reported already
            yield from _without_stack(database.name, look, database)
        if database.after_restore:
            yield from _machine(database.after_restore, look, database)
            yield from _preparation(f"preparation of {database.name}", look, database)
            if cluster := known(look.deployed_cluster, database):
                yield from _cluster(f"cluster {cluster['DBClusterIdentifier']}", cluster)
    if not any(database.after_restore for database in stage.settings.databases):
        hint = "is not set for any database: production's personal data arrives unmasked"
        yield Check("deployment", "P_AFTER_RESTORE", *ok(hint))


def obstacles(look: AcceptanceLook) -> Iterator[Check]:
    """Check what delays a run on its way to the stage that deploys, or makes that stage unreliable.

    That is the last stage that deploys a stack of P_STACK_NAME. If no action names such a stack, it is
    the last with an action that may deploy a database. Actions elsewhere count only if all stacks are.
    """
    if look.existing_pipeline is None:
        return  # reported already
    name, body = look.existing_pipeline
    try:
        states = look.one("codepipeline:GetPipelineState", "stageStates", name=name) or ()
    except Unavailable as what:
        yield Check("deployment", f"transitions of {name}", *unavailable(what))
        states = ()
    inbound = {each["stageName"]: each.get("inboundTransitionState", {}) for each in states}
    stacks = {_root(look, each.stack.stack) for each in look.stage.settings.databases if each.stack}
    is_elsewhere = _elsewhere(look) is not None
    positions = [
        (_likelihood(action, stacks), number, action.get("runOrder", 1))
        for number, stage in enumerate(body["stages"])
        for action in stage["actions"]
        if is_elsewhere or not mainpipeline.elsewhere(look.stage, action)
    ]
    best = max((likelihood for likelihood, *_ in positions), default=0)
    # The last of each stage.
    orders = {number: order for found, number, order in sorted(positions) if best and found == best}
    last = max(orders, default=-1)
    for number, stage in enumerate(body["stages"][: last + 1]):
        own, before = stage["name"], orders[last] if number == last else None
        subject = f"stage {own} of {name}"
        yield from _transition(subject, name, own, inbound.get(own, {}))
        yield from _approvals(subject, stage, before, is_certain=best == _CERTAIN)
        yield from _conditions(subject, stage, deploys=number in orders)


def _root(look: AcceptanceLook, stack: str) -> str:
    """Return the stack with which a nested stack is deployed, or the stack itself."""
    template = known(look.template, look.place(stack))
    return (template and template.root) or stack


def _likelihood(action: Json, stacks: Collection[str]) -> int:
    """Return how likely an action deploys a database that is in one of the stacks, if there are any."""
    stack, kind = mainpipeline.stack_of(action), action["actionTypeId"]
    if stack in stacks:
        return _CERTAIN
    if kind["category"] == "Deploy":
        is_open = "#{" in (stack or "") or kind["provider"] in _INDIRECT
        return 2 if is_open or not stacks else 0
    return 1 if kind["category"] in ("Build", "Test", "Invoke", "Compute") else 0


@check("deployment")
def _transition(_subject: str, pipeline: str, stage: str, state: Json) -> Iterator[Verdict]:
    if not state.get("enabled", True):
        reason = state.get("disabledReason", "no reason given")
        yield warning(
            f"the transition into it is disabled ({reason}): the run of a refresh waits there, and restores "
            "whenever somebody enables it",
            f"aws codepipeline enable-stage-transition --pipeline-name {pipeline} --stage-name {stage} "
            "--transition-type Inbound",
        )


@check("deployment")
def _approvals(
    _subject: str, stage: Json, before: int | None, *, is_certain: bool
) -> Iterator[Verdict]:
    """Warn of approvals whose run order is lower than `before`; of all if that is None."""
    for action in stage["actions"]:
        is_in_front = before is None or action.get("runOrder", 1) < before
        if action["actionTypeId"]["category"] == "Approval" and is_in_front:
            name, fix = action["name"], "see that it is approved within the maintenance window"
            if is_certain:
                holds = "waits for an approval before the database is deployed"
                fix = f"move {name} behind the action that deploys the database, or {fix}"
            else:
                holds = "may hold up the database: it waits for an approval"
                fix = f"if the database is deployed after it, {fix}"
            later = "a refresh restores when somebody approves, also at noon"
            yield warning(f"its action {name} {holds}; {later}", fix)


@check("deployment")
def _conditions(_subject: str, stage: Json, *, deploys: bool) -> Iterator[Verdict]:
    if "SKIP" in _results(stage, "beforeEntry", "onFailure"):
        yield warning(
            "a condition may skip it: a run then succeeds without restoring, and the refresh is reported as "
            "nothing-restored",
            f"give the conditions of stage {stage['name']} the result FAIL",
        )
    if deploys and "ROLLBACK" in _results(stage, "onFailure", "onSuccess"):
        yield warning(
            "it rolls back automatically: the roll-back deploys an older template but reads current again, so "
            "it may restore what has just failed",
            f"remove the result ROLLBACK from stage {stage['name']}",
        )


def _results(stage: Json, *whens: str) -> set[str]:
    """Return the results that a stage's conditions may have."""
    declared = [stage.get(when, {}) for when in whens]
    conditions = [each for when in declared for each in when.get("conditions", [])]
    return {each.get("result", "") for each in [*declared, *conditions]}


@check("deployment")
def _in_stack(
    _name: str, look: AcceptanceLook, database: Database, reference: StackReference
) -> Verdict:
    """Judge the stack of P_STACK_NAME, its cluster, and what that was restored from."""
    stage, name = look.stage, reference.stack
    place = look.place(name)
    if place.elsewhere:
        here = f"the refresh looks in account {stage.account}, {stage.region}"
        unset = f"unset it, and the refresh relies on the newest successful deploy action: {_set(stage, database, '')}"
        seen = f"stack {name} is not seen: the pipeline deploys it {place.elsewhere}, and {here}"
        return warning(seen, unset, blind=True)
    stack, cluster = look.deployed_stack(database), look.deployed_cluster(database)
    if stack and stack.status in _ONLY_DELETABLE and place.mode != mainpipeline.REPLACES:
        fix = f"{deletion(name)}, and run the pipeline again once {database.current_parameter} names a snapshot"
        if stack.clusters:
            fix = f"this deletes the database, {', '.join(stack.clusters.values())}: {fix}"
        return problem(f"stack {name} is {stack.status}: CloudFormation cannot update it", fix)
    deployment = look.deployment(database)
    if deployment.unknown:
        return _unknown(look, database, deployment)
    if stack is None or stack.status in LEFT_OVER:
        return _missing_stack(look, database, place)
    # Nothing is looked at for a database whose *current* does not exist yet.
    if unreadable := unreadable_stack(reference, stack):
        return _unknown(look, database, unreadable)
    logical_id = reference.cluster_in(stack.clusters)
    if cluster is None and logical_id in stack.clusters:
        return problem(
            f"cluster {stack.clusters[logical_id]} of stack {reference} no longer exists",
            f"pin another snapshot with deploy, which creates a new cluster: aurora-refresh console --stage {stage.name}",
        )
    if cluster is None:
        found = " or ".join(f"{name}/{each}" for each in sorted(stack.clusters))
        missing = f"stack {name} has no DB cluster {logical_id}".rstrip()
        fix = f"name the stack that has it, perhaps a nested one: {_set(stage, database, found or '…')}"
        return problem(f"{missing}; it has {found or 'none'}", fix)
    # If no cluster reads *current*, the checks of the templates say so.
    read, other = _parameter_of(look, place, logical_id), look.places(database)
    if other and read not in (None, database.current_parameter):
        instead = f"is restored from {read}, not from {database.current_parameter}"
        fix = _set(stage, database, other[0])
        return problem(f"cluster {logical_id} of stack {name} {instead}", fix)
    created, value = cluster.get("ClusterCreateTime"), deployment.value
    since = f", created {when(stage, created)}" if created else ""
    restored = f", restored from {value}" if value else ""
    return ok(f"cluster {cluster['DBClusterIdentifier']} of stack {reference}{since}{restored}")


def _missing_stack(look: AcceptanceLook, database: Database, stack: DeployedStack) -> Verdict:
    stage = look.stage
    if stack.mode:
        seen = f"stack {stack.name} has not been deployed by the pipeline yet"
        return warning(seen, "nothing before the pipeline's first run")
    where = f"account {stage.account}, {stage.region}"
    return problem(
        f"stack {stack.name} does not exist in {where}, and no action of the pipeline deploys it",
        _propose(look, database),
    )


def _unknown(look: AcceptanceLook, database: Database, deployment: Deployment) -> Verdict:
    """Return what the status reports as a problem, unless a deployment in progress is the reason."""
    if deployment.is_deploying:
        fix = "run the doctor again once that operation has ended"
        return warning(str(deployment.unknown), fix)
    fix = Reason.DEPLOYED_UNKNOWN.next_step
    stack = look.deployed_stack(database)
    if database.stack and (stack is None or look.deployed_cluster(database) is None):
        fix = _propose(look, database)
    if database.stack and stack:
        name, clusters = database.stack.stack, sorted(stack.clusters)
        if stack.status == "UPDATE_ROLLBACK_FAILED":
            fix = f"aws cloudformation continue-update-rollback --stack-name {name}"
        elif database.stack.logical_id is None and len(clusters) > 1:
            either = " or ".join(f"{name}/{each}" for each in clusters)
            fix = f"one of these: {_set(look.stage, database, either)}"
    return problem(f"cannot determine what is deployed: {deployment.unknown}", fix)


@check("deployment")
def _without_stack(_name: str, look: AcceptanceLook, database: Database) -> Iterator[Verdict]:
    """Warn that the refresh sees less, and judge what it sees."""
    alone = "the newest successful deploy action alone"
    if stack := _elsewhere(look):
        place = f"the pipeline deploys stack {stack.name} {stack.elsewhere}"
        console = f"aurora-refresh console --stage {look.stage.name}"
        seen = f"its cluster is not seen: {place}. The refresh relies on {alone}"
        yield warning(seen, f"compare it with the status by hand: {console}", blind=True)
    else:
        setting = database.setting("STACK_NAME")
        seen = f"the refresh relies on {alone}, and cannot tell whether that restored anything"
        yield warning(f"{setting} is not set: {seen}", _propose(look, database))
    deployment = look.deployment(database)
    if deployment.unknown:
        yield _unknown(look, database, deployment)


@check("deployment")
def _machine(arn: str, look: AcceptanceLook, database: Database) -> Verdict:
    setting = database.setting("AFTER_RESTORE")
    change = to_change(look.stage.name, f"{setting}=…")
    machine = look.one("states:DescribeStateMachine", "@", stateMachineArn=arn)
    if machine is None:
        return problem(f"{setting} names it, but it does not exist", change)
    if machine["type"] == "EXPRESS":
        # https://docs.aws.amazon.com/step-functions/latest/dg/express-at-least-once-execution.html
        unseen = "its executions cannot be looked at, and each poll would start another one"
        return problem(f"is EXPRESS, not STANDARD: {unseen}", change)
    status = machine.get("status", "ACTIVE")
    return ok("is ACTIVE") if status == "ACTIVE" else problem(f"is {status}", change)


@check("deployment")
def _preparation(_subject: str, look: AcceptanceLook, database: Database) -> Iterator[Verdict]:
    found = look.preparation(database)
    if found and found.state == "not-prepared":
        yield problem(f"the data is not prepared: {found}", Reason.NOT_PREPARED.next_step)


@check("deployment")
def _cluster(_subject: str, cluster: Json) -> Iterator[Verdict]:
    """Judge what a state machine may need of the cluster."""
    if cluster["Engine"].startswith("aurora") and not cluster.get("HttpEndpointEnabled"):
        yield warning(
            "its Data API is not enabled, so a state machine cannot send it SQL by itself",
            "write EnableHttpEndpoint: true for the cluster in the template, if the state machine needs it",
        )
    if "MasterUserSecret" not in cluster and cluster["Engine"] != "neptune":
        yield warning(
            "RDS keeps no secret of its master user, so the state machine gets no secret_arn",
            "write ManageMasterUserPassword: true for the cluster in the template",
        )


def _elsewhere(look: AcceptanceLook) -> DeployedStack | None:
    """Return the first of the stacks if all are in another account or Region."""
    stacks = look.stacks()
    return next(iter(stacks), None) if all(each.elsewhere for each in stacks) else None


def _parameter_of(look: AcceptanceLook, stack: DeployedStack, cluster: str) -> str | None:
    """Return the parameter that a cluster is restored from; None if its template does not tell."""
    template = known(look.template, stack)
    readings = mainpipeline.readings(template) if template else ()
    return next((each.parameter for each in readings if each.cluster == cluster), None)


def _propose(look: AcceptanceLook, database: Database) -> str:
    return _set(look.stage, database, next(iter(look.places(database)), "…"))


def _set(stage: AcceptanceStage, database: Database, value: str) -> str:
    return to_change(stage.name, f"{database.setting('STACK_NAME')}={value}")
