"""Check how the main pipeline's templates read *current*, and what makes refreshes fail or cost something.

docs/main-pipeline.md explains the faults.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cli import mainpipeline
from cli.doctor.checks import OK, Check, Verdict, check, problem, warning
from cli.doctor.look import AcceptanceLook, known
from cli.mainpipeline import DeployedStack, StackTemplate
from cli.stages import AcceptanceStage
from cli.templates import NO_VALUE

_BY_HAND = "compare its template with docs/main-pipeline.md"
# The name in a reference to a resource or a parameter.
_REFERENCE = re.compile(r'(?:"Ref": "|"Fn::GetAtt": \[?"|\$\{)([\w:]+)')
_INSTANCES = ("AWS::RDS::DBInstance", "AWS::DocDB::DBInstance", "AWS::Neptune::DBInstance")


def reading(look: AcceptanceLook) -> Iterator[Check]:
    """Check how the pipeline's stacks read *current*, as far as that can be seen."""
    if look.existing_pipeline is None:
        return  # reported already
    stage, stacks = look.stage, look.stacks()
    templates = {stack: template for stack in stacks if (template := known(look.template, stack))}
    found = [
        (stack.name, each)
        for stack, template in templates.items()
        for each in mainpipeline.readings(template)
    ]
    right = {each.parameter: f"{each.cluster} of stack {name}" for name, each in found}
    latest = {database.latest_parameter for database in stage.settings.databases}
    currents = [database.current_parameter for database in stage.settings.databases]
    unread = [name for name in currents if name not in right]
    named = {*_named(stage, templates)}
    wrong = [
        (name, f"{cluster} is deployed without a SnapshotIdentifier: it is never restored")
        for name, cluster in sorted(named - {(name, each.cluster) for name, each in found})
    ]
    blind = [one for stack in stacks for one in _unreadable(stack.name, look, stack)]
    for name, each in found:
        # Other clusters may well be restored in another way, but never from *latest*.
        is_own = unread or (not each.parameter and (name, each.cluster) in named)
        if (misread := _misread(stage, each)) and (is_own or each.parameter in latest):
            wrong.append((name, misread))
        elif is_own and not each.parameter and not misread:
            seen = f"the source of {each.cluster}'s SnapshotIdentifier is not seen in the template"
            rightly = f"to have it checked, {_read_rightly(stage)}"
            blind.append(Check("template", name, *warning(seen, rightly, blind=True)))
    for name in currents:
        if name in right:
            yield Check("template", name, OK, f"is read at every update by {right[name]}")
    for name, misread in wrong:
        yield Check("template", name, *problem(misread, _read_rightly(stage)))
    yield from blind
    if not wrong and not blind:
        seen = "nothing was found that reads it: only templates of CloudFormation are checked"
        yield from (Check("template", name, *warning(seen, _BY_HAND)) for name in unread)
    for stack in stacks:
        yield from _faults(stack.name, stack, templates.get(stack))


@check("template")
def _unreadable(_name: str, look: AcceptanceLook, stack: DeployedStack) -> Iterator[Verdict]:
    if look.template(stack):
        return
    if stack.elsewhere:
        seen = f"how it reads current is not seen: the pipeline deploys it {stack.elsewhere}"
        yield warning(seen, _BY_HAND, blind=True)
    else:
        yield warning(
            "how it reads current is unknown: the stack has not been deployed yet",
            f"run the doctor again after the pipeline's first run; until then {_BY_HAND}",
        )


def _named(
    stage: AcceptanceStage, templates: Mapping[DeployedStack, StackTemplate]
) -> Iterator[tuple[str, str]]:
    """Yield the stack and the logical id of each cluster that P_STACK_NAME names, if that is one."""
    references = [each.stack for each in stage.settings.databases if each.stack]
    for stack, template in templates.items():
        for reference in references:
            clusters = template.resources(mainpipeline.CLUSTERS)
            meant = [each for each in clusters if reference.logical_id in (None, each)]
            if reference.stack == stack.name and len(meant) == 1:
                yield stack.name, meant[0]


def _misread(stage: AcceptanceStage, each: mainpipeline.Reading) -> str | None:
    """Return what is wrong with the source of a cluster's snapshot."""
    if each.wrong:
        return f"{each.cluster} {each.wrong}"
    databases = stage.settings.databases
    if each.parameter in [database.latest_parameter for database in databases]:
        effect = "the next ordinary run would restore by accident"
        return f"{each.cluster} reads {each.parameter}, which is latest: {effect}"
    if each.parameter and each.parameter not in [one.current_parameter for one in databases]:
        return f"{each.cluster} reads {each.parameter}, which is not a parameter of this stage"
    return None


def _read_rightly(stage: AcceptanceStage) -> str:
    names = " or ".join(each.current_parameter for each in stage.settings.databases)
    return (
        f"give the template a parameter of Type: {mainpipeline.READS_AT_EVERY_UPDATE} with Default: {names}, "
        "and write SnapshotIdentifier: !Ref for it, as infrastructure/main-pipeline.yaml does"
    )


@check("template")
def _faults(_name: str, stack: DeployedStack, template: StackTemplate | None) -> Iterator[Verdict]:
    if template:
        readings = mainpipeline.readings(template)
        for cluster in dict.fromkeys(each.cluster for each in readings if each.parameter):
            yield from _cluster_faults(stack.name, template, cluster)
    if stack.mode == mainpipeline.REPLACES:
        yield warning(
            f"its action's mode is {stack.mode}: a stack that could not roll back is deleted, and the database with it",
            "write ActionMode: CREATE_UPDATE",
        )


def _cluster_faults(stack: str, template: StackTemplate, cluster: str) -> Iterator[Verdict]:
    """Yield the faults of a restored cluster; what cannot be determined is no fault."""
    body = template.resources(mainpipeline.CLUSTERS)[cluster]
    properties = body.get("Properties", {})
    fixed = [(cluster, "DBClusterIdentifier", properties)]
    fixed += [
        (name, "DBInstanceIdentifier", each["Properties"])
        for name, each in template.resources(_INSTANCES).items()
        if each.get("Properties", {}).get("DBClusterIdentifier") == {"Ref": cluster}
    ]
    protect = f"aws cloudformation update-termination-protection --enable-termination-protection --stack-name {stack}"
    a_night = "this replaces it, so do it in a refresh's night"
    # At a refresh, only these may change: resources, and what the snapshot is read from.
    changing = {*template.body["Resources"], *_references(properties["SnapshotIdentifier"])}
    for name, identifier, declared in fixed:
        values = [*mainpipeline.branches(declared.get(identifier, NO_VALUE))]
        if not any(each == NO_VALUE or changing & _references(each) for each in values):
            yield problem(
                f"{name} has a {identifier}, which the old one still has when the new one is created: "
                "every refresh fails",
                f"remove {identifier} from {name} in the template; {a_night}",
            )
    policy = body.get("UpdateReplacePolicy", "Delete")
    managed = properties.get("ManageMasterUserPassword")
    side_effects = {
        "has no EngineVersion: the Region's default is used, and a restore fails if that is older than the "
        "snapshot's": (
            "EngineVersion" not in properties,
            f"give {cluster} production's exact EngineVersion",
        ),
        "has no KmsKeyId: acceptance's data stays under production's key, and is lost with that key's "
        "grant": (
            "KmsKeyId" not in properties,
            f"give {cluster} the KmsKeyId of acceptance's own key; {a_night}",
        ),
        "has a MasterUsername besides its SnapshotIdentifier: if the latter is removed, an empty cluster "
        "replaces the data, whereas the update would fail without MasterUsername": (
            NO_VALUE not in mainpipeline.branches(properties.get("MasterUsername", NO_VALUE)),
            f"remove MasterUsername from {cluster}: the snapshot has it",
        ),
        "has DeletionProtection: each refresh keeps the old cluster, and its costs": (
            _is_true(properties.get("DeletionProtection")),
            f"write DeletionProtection: false for {cluster}, and protect the stack instead: {protect}",
        ),
        f"has UpdateReplacePolicy {policy}: each refresh leaves one more snapshot or cluster behind, until "
        "the quota is used up": (
            policy != "Delete",
            f"write UpdateReplacePolicy: Delete for {cluster}",
        ),
        "does not set ManageMasterUserPassword: acceptance's database keeps production's password": (
            body["Type"] == mainpipeline.CLUSTERS[0]
            and "MasterUserPassword" not in properties  # beside which RDS refuses it
            and not (_is_true(managed) or isinstance(managed, dict)),
            f"write ManageMasterUserPassword: true for {cluster}",
        ),
    }
    for what, (is_there, fix) in side_effects.items():
        if is_there:
            yield warning(f"{cluster} {what}", fix)


def _references(value: Any) -> set[str]:
    return {*_REFERENCE.findall(json.dumps(value, default=str))}


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
