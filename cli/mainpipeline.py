"""What the main pipeline deploys and where, what delays it, and how its template reads *current*.

Pure. docs/main-pipeline.md explains the faults.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.stages import AcceptanceStage, Json
from cli.templates import evaluated

CLUSTERS = ("AWS::RDS::DBCluster", "AWS::DocDB::DBCluster", "AWS::Neptune::DBCluster")
INSTANCES = ("AWS::RDS::DBInstance", "AWS::DocDB::DBInstance", "AWS::Neptune::DBInstance")
READS_AT_EVERY_UPDATE = "AWS::SSM::Parameter::Value<String>"

_DYNAMIC = re.compile(r"\{\{resolve:ssm:([^:}]+)(?::[^}]*)?\}\}")


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a cluster's snapshot comes from.

    `parameter` is the stored parameter that CloudFormation reads at every update. If it is None,
    `wrong` says what the template does instead; it is empty if that is unknown.
    """

    cluster: str
    parameter: str | None
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class DeployAction:
    """An action that deploys a stack; `region` and `account` are None if they are the pipeline's."""

    stack: str
    mode: str
    region: str | None
    account: str | None

    def elsewhere(self, stage: AcceptanceStage) -> str:
        """Return where the stack is; "" if that is the stage's account and Region."""
        place = (self.account or stage.account, self.region or stage.region)
        if place != (stage.account, stage.region):
            return f"in account {place[0]}, {place[1]}"
        return "under a name that only the run knows" if "#{" in self.stack else ""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps a run from restoring at once, or lets it restore nothing or twice."""

    stage: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What makes refreshes fail (`fails`) or have a side effect although *current* is read correctly."""

    fails: bool
    what: str
    fix: str


def given(described: Json) -> dict[str, str]:
    """Return the values of a stack's parameters, as DescribeStacks describes it."""
    parameters = described.get("Parameters", [])
    return {each["ParameterKey"]: each["ParameterValue"] for each in parameters}


def deploy_actions(pipeline: Json) -> Iterator[DeployAction]:
    """Yield the actions that deploy CloudFormation stacks."""
    for stage in pipeline["stages"]:
        for action in stage["actions"]:
            given, kind = action.get("configuration", {}), action["actionTypeId"]
            deploys = (kind["category"], kind["provider"]) == ("Deploy", "CloudFormation")
            if deploys and "StackName" in given:
                yield DeployAction(
                    given["StackName"],
                    given.get("ActionMode", ""),
                    action.get("region"),
                    # The role that CodePipeline assumes for the action is in the stack's account.
                    action["roleArn"].split(":")[4] if "roleArn" in action else None,
                )


def obstacles(
    pipeline: Json, name: str, stacks: Collection[str], disabled: Mapping[str, str]
) -> Iterator[Obstacle]:
    """Yield what is in front of the stages that deploy the stacks, and what is in those stages.

    Without `stacks` it is every stage with a deploy action; without such an action any stage may
    deploy. `disabled` has the reasons of disabled transitions by the stage that they lead to.
    """
    orders = [_deploys_at(stage, stacks) for stage in pipeline["stages"]]
    deploying = [number for number, order in enumerate(orders) if order]
    last = max(deploying, default=len(orders) - 1)
    for number, stage in enumerate(pipeline["stages"][: last + 1]):
        own, order = stage["name"], orders[number]
        if own in disabled:
            yield Obstacle(
                own,
                f"the transition into it is disabled ({disabled[own]}): the run of a refresh waits there, and "
                "restores whenever somebody enables it",
                f"aws codepipeline enable-stage-transition --pipeline-name {name} --stage-name {own} "
                "--transition-type Inbound",
            )
        for action in stage["actions"]:
            is_in_front = number < last or action.get("runOrder", 1) < (order or 0)
            if action["actionTypeId"]["category"] == "Approval" and is_in_front:
                yield Obstacle(
                    own,
                    f"its action {action['name']} waits for an approval before the database is deployed: a "
                    "refresh restores when somebody approves, also at noon",
                    f"move {action['name']} behind the action that deploys the database, or see that it is "
                    "approved within the maintenance window",
                )
        if "SKIP" in _results(stage, "beforeEntry", "onFailure"):
            yield Obstacle(
                own,
                "a condition may skip it: a run then succeeds without restoring, and the refresh is reported as "
                "nothing-restored",
                f"give the conditions of stage {own} the result FAIL",
            )
        if order and "ROLLBACK" in _results(stage, "onFailure", "onSuccess"):
            yield Obstacle(
                own,
                "it rolls back automatically: the roll-back deploys an older template but reads current again, so "
                "it may restore what has just failed",
                f"remove the result ROLLBACK from stage {own}",
            )


def _deploys_at(stage: Json, stacks: Collection[str]) -> int | None:
    """Return the last position at which a stage deploys one of the stacks; None if it deploys none."""
    return max(
        (
            action.get("runOrder", 1)
            for action in stage["actions"]
            if action["actionTypeId"]["category"] == "Deploy"
            and (not stacks or action.get("configuration", {}).get("StackName") in stacks)
        ),
        default=None,
    )


def _results(stage: Json, *whens: str) -> set[str]:
    """Return the results that a stage's conditions may have."""
    declared = [stage.get(when, {}) for when in whens]
    conditions = [each for when in declared for each in when.get("conditions", [])]
    return {each.get("result", "") for each in [*declared, *conditions]}


def readings(template: Json, given: Mapping[str, str]) -> Iterator[Reading]:
    """Yield the reading of each restored cluster; `given` has the template's parameter values."""
    declared = template.get("Parameters", {})
    for name, body in _resources(evaluated(template, given), CLUSTERS):
        properties = body.get("Properties", {})
        if "SnapshotIdentifier" not in properties:
            continue
        for value in _branches(properties["SnapshotIdentifier"]):
            yield _reading(name, value, declared, given)


def clusters(template: Json) -> list[str]:
    """Return the logical ids of the template's DB clusters."""
    return [name for name, _ in _resources(template, CLUSTERS)]


def places(stack: str, template: Json, given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each parameter from which a cluster is restored, and STACK or STACK/LOGICAL-ID of it."""
    is_only = len(clusters(evaluated(template, given))) == 1
    for reading in readings(template, given):
        if reading.parameter:
            yield reading.parameter, stack if is_only else f"{stack}/{reading.cluster}"


def faults(template: Json, cluster: str, given: Mapping[str, str]) -> Iterator[Fault]:
    """Yield the faults of a restored cluster; what cannot be told is none."""
    template = evaluated(template, given)
    body = template["Resources"][cluster]
    properties = body.get("Properties", {})
    fixed = [(cluster, "DBClusterIdentifier", properties)]
    fixed += [
        (name, "DBInstanceIdentifier", each["Properties"])
        for name, each in _resources(template, INSTANCES)
        if each.get("Properties", {}).get("DBClusterIdentifier") == {"Ref": cluster}
    ]
    for name, identifier, declared in fixed:
        if identifier in declared and not _is_open(declared[identifier]):
            yield Fault(
                fails=True,
                what=f"{name} has a {identifier}, which the old one still has when the new one is created: "
                "every refresh fails",
                fix=f"remove {identifier} from {name} in the template; this replaces it, so do it in a "
                "refresh's night",
            )
    if "EngineVersion" not in properties:
        yield Fault(
            fails=False,
            what=f"{cluster} has no EngineVersion: the Region's default is used, and a restore fails if that "
            "is older than the snapshot's",
            fix=f"give {cluster} production's exact EngineVersion",
        )
    if "KmsKeyId" not in properties:
        yield Fault(
            fails=False,
            what=f"{cluster} has no KmsKeyId: acceptance's data stays under production's key, and is lost with "
            "that key's grant",
            fix=f"give {cluster} the KmsKeyId of acceptance's own key; this replaces it, so do it in a "
            "refresh's night",
        )
    if "MasterUsername" in properties and not _is_open(properties["MasterUsername"]):
        yield Fault(
            fails=False,
            what=f"{cluster} has a MasterUsername besides its SnapshotIdentifier: if the latter is removed, an empty "
            "cluster replaces the data, whereas the update would fail without MasterUsername",
            fix=f"remove MasterUsername from {cluster}: the snapshot has it",
        )
    if _is_true(properties.get("DeletionProtection")):
        yield Fault(
            fails=False,
            what=f"{cluster} has DeletionProtection: each refresh keeps the old cluster, and its costs",
            fix=f"write DeletionProtection: false for {cluster}, and protect the stack instead: "
            "aws cloudformation update-termination-protection --enable-termination-protection",
        )
    if body.get("UpdateReplacePolicy", "Delete") != "Delete":
        yield Fault(
            fails=False,
            what=f"{cluster} has UpdateReplacePolicy {body['UpdateReplacePolicy']}: each refresh leaves one "
            "more snapshot or cluster behind, until the quota is used up",
            fix=f"write UpdateReplacePolicy: Delete for {cluster}",
        )
    managed = properties.get("ManageMasterUserPassword")
    if body["Type"] == CLUSTERS[0] and not (_is_true(managed) or isinstance(managed, dict)):
        yield Fault(
            fails=False,
            what=f"{cluster} does not set ManageMasterUserPassword: acceptance's database "
            "keeps production's password",
            fix=f"write ManageMasterUserPassword: true for {cluster}",
        )


def _resources(template: Json, types: Sequence[str]) -> Iterator[tuple[str, Json]]:
    for name, body in template.get("Resources", {}).items():
        if isinstance(body, dict) and body.get("Type") in types:
            yield name, body


def _branches(value: Any) -> Iterator[Any]:
    """Yield the values that a property may have if its condition cannot be told, without AWS::NoValue."""
    if isinstance(value, dict) and isinstance(value.get("Fn::If"), list):
        for branch in value["Fn::If"][1:]:
            yield from _branches(branch)
    elif value != {"Ref": "AWS::NoValue"}:
        yield value


def _reading(cluster: str, value: Any, declared: Json, given: Mapping[str, str]) -> Reading:
    if "{{resolve:ssm:" in json.dumps(value, default=str):
        match = _DYNAMIC.search(value) if isinstance(value, str) else None
        return Reading(
            cluster,
            None,
            f"reads {match[1] if match else 'a parameter'} as {{{{resolve:ssm:…}}}}, which CloudFormation compares as text: "
            "it is never restored again",
        )
    if isinstance(value, str):
        return Reading(
            cluster, None, "has a constant snapshot in the template: it is never restored again"
        )
    name = value.get("Ref") if isinstance(value, dict) and value.keys() == {"Ref"} else None
    parameter = declared.get(str(name))
    if not isinstance(parameter, dict):
        return Reading(cluster, None)
    held = given.get(str(name), str(parameter.get("Default", "")))
    if parameter["Type"] == READS_AT_EVERY_UPDATE:
        return Reading(cluster, held)
    return Reading(
        cluster,
        None,
        f"takes its snapshot from the template's parameter {name} of type {parameter['Type']}, which is "
        "the text itself, not the value in Parameter Store",
    )


def _is_open(value: Any) -> bool:
    """Return whether a condition that cannot be told decides whether a property is there."""
    return isinstance(value, dict) and "Fn::If" in value


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
