"""Check what the refresh looks at: each database's stack and cluster, and the pipeline's way to them."""

import json
from collections.abc import Collection, Iterator

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, StackReference
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Json
from cli import mainpipeline
from cli.doctor.checks import Check, Verdict, check, ok, problem, warning, when
from cli.look import AcceptanceLook, known
from cli.stages import AcceptanceStage, to_change


def databases(look: AcceptanceLook) -> Iterator[Check]:
    """Check for each database that the refresh sees what is deployed, and can prepare it."""
    stage = look.stage
    for database in stage.settings.databases:
        if database.stack:
            yield from _in_stack(database.name, look, database, database.stack)
        elif look.structure:  # otherwise reported already
            yield from _without_stack(database.name, look, database)
        if database.after_restore:
            yield from _machine(database.after_restore, look, database)
            if cluster := known(look.deployed_cluster, database):
                yield from _cluster(f"cluster {cluster['DBClusterIdentifier']}", cluster)
    if not any(database.after_restore for database in stage.settings.databases):
        hint = "is not set for any database: production's personal data arrives unmasked"
        fix = "mask it: docs/after-restore.md; if unmasked data is acceptable, do nothing"
        yield Check("deployment", "P_AFTER_RESTORE", *warning(hint, fix))


def obstacles(look: AcceptanceLook) -> Iterator[Check]:
    """Check what delays a run on its way to the stage that deploys, or makes that stage unreliable.

    That is the last one that deploys a stack of P_STACK_NAME. If no action names such a stack, it is
    the last one that does anything.
    """
    if look.structure is None:
        return  # reported already
    name, stages = look.stage.pipeline, look.structure["stages"]
    named = {each.stack.stack for each in look.stage.settings.databases if each.stack}
    actions = [
        (number, action.get("runOrder", 1), action)
        for number, stage in enumerate(stages)
        for action in stage["actions"]
        if action["actionTypeId"]["category"] != "Approval"
    ]
    deploying = [each for each in actions if mainpipeline.stack_of(each[2]) in named]
    here = [each for each in deploying if not mainpipeline.elsewhere(look.stage, each[2])]
    last, order = max((each[:2] for each in here or deploying or actions), default=(-1, 0))
    names = [stage["name"] for stage in stages[: last + 1]]
    yield from _transitions(f"transitions of {name}", look, names)
    for stage in stages[: last + 1]:
        before = order if stage == stages[last] else None
        yield from _hindrances(f"stage {stage['name']} of {name}", stage, before)


@check("deployment")
def _transitions(_subject: str, look: AcceptanceLook, stages: Collection[str]) -> Iterator[Verdict]:
    pipeline = look.stage.pipeline
    states = look.one("codepipeline:GetPipelineState", "stageStates", name=pipeline) or ()
    for state in states:
        stage, inbound = state["stageName"], state.get("inboundTransitionState", {})
        if stage in stages and not inbound.get("enabled", True):
            reason = inbound.get("disabledReason", "no reason given")
            yield warning(
                f"the one into stage {stage} is disabled ({reason}): the run of a refresh waits there, and "
                "restores whenever somebody enables it",
                f"aws codepipeline enable-stage-transition --pipeline-name {pipeline} --stage-name {stage} "
                "--transition-type Inbound",
            )


@check("deployment")
def _hindrances(_subject: str, stage: Json, deploys_at: int | None) -> Iterator[Verdict]:
    """Judge a stage, in which the action of this run order deploys the database, if one does."""
    for action in stage["actions"]:
        is_in_front = deploys_at is None or action.get("runOrder", 1) < deploys_at
        if action["actionTypeId"]["category"] == "Approval" and is_in_front:
            yield warning(
                f"its action {action['name']} waits for an approval: if the database is deployed after it, a "
                "refresh restores when somebody approves, even at noon",
                f"move {action['name']} after the action that deploys the database, or make sure that it is "
                "approved within the maintenance window",
            )
    if "DeploymentWindow" in json.dumps(stage.get("beforeEntry", {})):
        yield warning(
            "it has a DeploymentWindow: the run of a refresh waits until that opens, perhaps at noon",
            f"make sure that the DeploymentWindow of stage {stage['name']} is open in MAINTENANCE_WINDOW",
        )
    if deploys_at is not None and "SKIP" in _results(stage, "beforeEntry", "onFailure"):
        yield warning(
            "a condition may skip it: a run then succeeds without restoring, and the refresh is reported as "
            "nothing-restored",
            f"give the conditions of stage {stage['name']} the result FAIL",
        )
    if deploys_at is not None and "ROLLBACK" in _results(stage, "onFailure", "onSuccess"):
        yield warning(
            "it rolls back automatically: the rollback deploys an older template but reads current again, so "
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
    place = next(each for each in look.stacks() if each.name == name)
    stack = look.deployed_stack(database)
    if place.elsewhere and stack is None:
        here = f"the refresh looks in account {stage.account}, {stage.region}"
        settings = ["STACK_NAME", *(["AFTER_RESTORE"] if database.after_restore else [])]
        answers = " ".join(f"{database.setting(each)}=" for each in settings)
        unset = f"unset it, and the refresh relies on the newest successful deploy action: {to_change(stage.name, answers)}"
        seen = f"stack {name} is not seen: the pipeline deploys it {place.elsewhere}, and {here}"
        return warning(seen, unset, blind=True)
    if stack and stack.status == "ROLLBACK_COMPLETE":
        seen = f"stack {name} is ROLLBACK_COMPLETE: its creation failed, and it cannot be updated"
        delete = f"aws cloudformation delete-stack --stack-name {name}"
        return problem(seen, f"{delete}, and run the pipeline again")
    deployment = look.deployment(database)
    if deployment.unknown:
        return _unknown(look, database, deployment)
    if stack is None and place.in_pipeline:
        seen = f"stack {name} has not been deployed by the pipeline yet"
        return warning(seen, "wait for the pipeline's first run")
    is_deployed = look.structure is None or mainpipeline.may_deploy(look.structure, place)
    # A nested stack is deployed with its root.
    if not is_deployed and "RootId" not in (look.stack(name) or {}):
        seen = f"pipeline {stage.pipeline} does not deploy stack {name}: no refresh restores it"
        return problem(seen, to_change(stage.name, "MAIN_PIPELINE_ARN=…"))
    cluster = look.deployed_cluster(database)
    if cluster is None:
        name_it = _set(stage, database, look.other_place(database) or "…")
        return problem(
            f"stack {reference} has no DB cluster in account {stage.account}, {stage.region}",
            "if it was deleted, pin a snapshot with --deploy-now, which creates another one; otherwise name the "
            f"stack that has it, perhaps a nested one: {name_it}",
        )
    created, value = cluster.get("ClusterCreateTime"), deployment.value
    since = f", created {when(stage, created)}" if created else ""
    restored = f", restored from {value}" if value else ""
    return ok(f"cluster {cluster['DBClusterIdentifier']} of stack {reference}{since}{restored}")


def _unknown(look: AcceptanceLook, database: Database, deployment: Deployment) -> Verdict:
    """Return what the status reports as a problem, unless a deployment in progress is the reason."""
    if deployment.is_deploying:
        fix = "run the doctor again once that operation has ended"
        return warning(str(deployment.unknown), fix)
    proposed = look.other_place(database)
    fix = _set(look.stage, database, proposed) if proposed else Reason.DEPLOYED_UNKNOWN.next_step
    return problem(f"cannot determine what is deployed: {deployment.unknown}", fix)


@check("deployment")
def _without_stack(_name: str, look: AcceptanceLook, database: Database) -> Iterator[Verdict]:
    """Warn that the refresh relies on deploy actions alone, and judge what they show."""
    fix = _set(look.stage, database, look.other_place(database) or "…")
    stacks = look.stacks()
    # The setting cannot name a stack elsewhere.
    if stacks and all(each.elsewhere and "#{" not in each.name for each in stacks):
        fix = (
            f"compare it with the status by hand: aurora-refresh console --stage {look.stage.name}"
        )
    seen = "is not set, so the refresh relies on the newest successful deploy action alone"
    yield warning(f"{database.setting('STACK_NAME')} {seen}", fix)
    deployment = look.deployment(database)
    if deployment.unknown:
        yield _unknown(look, database, deployment)


@check("deployment")
def _machine(arn: str, look: AcceptanceLook, database: Database) -> Verdict:
    setting = database.setting("AFTER_RESTORE")
    change = to_change(look.stage.name, f"{setting}=…")
    machine = look.one(
        "states:DescribeStateMachine", "@", stateMachineArn=arn, includedData="METADATA_ONLY"
    )
    if machine is None:
        return problem(f"{setting} names it, but it does not exist", change)
    if machine["type"] == "EXPRESS":
        # https://docs.aws.amazon.com/step-functions/latest/dg/express-at-least-once-execution.html
        unseen = "its executions cannot be looked at, and each poll would start another one"
        return problem(f"is EXPRESS, not STANDARD: {unseen}", change)
    status = machine.get("status", "ACTIVE")
    return ok("is ACTIVE") if status == "ACTIVE" else problem(f"is {status}", change)


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


def _set(stage: AcceptanceStage, database: Database, value: str) -> str:
    return to_change(stage.name, f"{database.setting('STACK_NAME')}={value}")
