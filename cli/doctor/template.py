"""Check how the main pipeline's templates read *current*, and what makes refreshes fail or cost something.

docs/main-pipeline.md explains the faults.
"""

from collections.abc import Iterator
from typing import Any

from chalicelib.domain.database import Database
from cli import mainpipeline
from cli.doctor.checks import Check, Verdict, check, ok, problem, warning
from cli.doctor.look import AcceptanceLook, known
from cli.mainpipeline import DeployedStack, Reading, StackTemplate
from cli.stages import to_change
from cli.templates import NO_VALUE

_BY_HAND = "compare its template with docs/main-pipeline.md"
_INSTANCES = ("AWS::RDS::DBInstance", "AWS::DocDB::DBInstance", "AWS::Neptune::DBInstance")


def reading(look: AcceptanceLook) -> Iterator[Check]:
    """Check how the pipeline's stacks read *current*, as far as that can be seen."""
    if look.structure is None:
        return  # reported already
    for database in look.stage.settings.databases:
        yield from _reads(database.current_parameter, look, database)
    for stack in look.stacks():
        yield from _faults(stack.name, stack, known(look.template, stack))


@check("template")
def _reads(current: str, look: AcceptanceLook, database: Database) -> Iterator[Verdict]:
    """Judge the cluster that P_STACK_NAME names; without it, any that the pipeline deploys."""
    own, databases = database.stack, look.stage.settings.databases
    others = {each.current_parameter for each in databases if each != database}
    stacks = [each for each in look.stacks() if own is None or each.name == own.stack]
    templates = [(stack, look.template(stack)) for stack in stacks]
    found = [
        (f"{each.cluster} of stack {stack.name}", each)
        for stack, template in templates
        for each in (mainpipeline.readings(template) if template else ())
        if (own.logical_id in (None, each.cluster) if own else each.parameter not in others)
    ]
    if right := [cluster for cluster, each in found if each.parameter == current]:
        yield ok(f"is read at every update by {', '.join(right)}")
        return
    unseen = [stack for stack, template in templates if template is None]
    yield from (_misread(look, database, cluster, each) for cluster, each in found)
    yield from map(_unseen, unseen)
    if found or unseen:
        return
    if own:
        missing = f"no cluster of stack {own} has a SnapshotIdentifier: it is never restored"
        yield problem(missing, _read_rightly(look, database))
    else:
        seen = "nothing was found that reads it: only templates of CloudFormation are checked"
        yield warning(seen, _BY_HAND)


def _misread(look: AcceptanceLook, database: Database, cluster: str, each: Reading) -> Verdict:
    """Judge a cluster that does not read *current*."""
    fix = _read_rightly(look, database)
    if each.wrong:
        return problem(f"{cluster} {each.wrong}", fix)
    if each.parameter is None:
        return warning(f"the source of {cluster}'s snapshot is not seen", fix, blind=True)
    if each.parameter == database.latest_parameter:
        effect = "the next ordinary run would restore by accident"
        return problem(f"{cluster} reads {each.parameter}, which is latest: {effect}", fix)
    return problem(f"{cluster} reads {each.parameter} instead", fix)


def _unseen(stack: DeployedStack) -> Verdict:
    if stack.elsewhere:
        seen = f"how stack {stack.name} reads it is not seen: the pipeline deploys it"
        return warning(f"{seen} {stack.elsewhere}", _BY_HAND, blind=True)
    return warning(
        f"stack {stack.name}, which is to read it, has not been deployed yet",
        f"run the doctor again after the pipeline's first run; until then {_BY_HAND}",
    )


def _read_rightly(look: AcceptanceLook, database: Database) -> str:
    if places := known(look.places, database):
        name = database.setting("STACK_NAME")
        return (
            f"name the cluster that reads it: {to_change(look.stage.name, f'{name}={places[0]}')}"
        )
    return (
        f"give the template a parameter of Type: {mainpipeline.READS_AT_EVERY_UPDATE} with Default: "
        f"{database.current_parameter}, and write SnapshotIdentifier: !Ref for it, as "
        "infrastructure/main-pipeline.yaml does"
    )


@check("template")
def _faults(_name: str, stack: DeployedStack, template: StackTemplate | None) -> Iterator[Verdict]:
    for each in mainpipeline.readings(template) if template else ():
        if template and each.parameter:
            yield from _fixed_names(template, each.cluster)
            yield from _side_effects(stack.name, template, each.cluster)
    if stack.mode == mainpipeline.REPLACES:
        yield warning(
            f"its action's mode is {stack.mode}: a stack that could not roll back is deleted, and the database with it",
            "write ActionMode: CREATE_UPDATE",
        )


def _fixed_names(template: StackTemplate, cluster: str) -> Iterator[Verdict]:
    """Yield each name that would be the same at the next refresh; one that cannot be determined is none."""
    clusters, instances = map(template.resources, (mainpipeline.CLUSTERS, _INSTANCES))
    declared = [(cluster, "DBClusterIdentifier", clusters[cluster]["Properties"])]
    declared += [
        (name, "DBInstanceIdentifier", each["Properties"])
        for name, each in instances.items()
        if each.get("Properties", {}).get("DBClusterIdentifier") == {"Ref": cluster}
    ]
    for name, identifier, properties in declared:
        values = mainpipeline.branches(properties.get(identifier, NO_VALUE))
        if all(isinstance(each, str) for each in values):
            yield problem(
                f"{name} has a {identifier}, which the old one still has when the new one is created: "
                "every refresh fails",
                f"remove {identifier} from {name} in the template; this replaces it, so do it in a refresh's night",
            )


def _side_effects(stack: str, template: StackTemplate, cluster: str) -> Iterator[Verdict]:
    """Yield what each refresh does besides; what cannot be determined is no fault."""
    body = template.resources(mainpipeline.CLUSTERS)[cluster]
    properties, policy = body["Properties"], body.get("UpdateReplacePolicy", "Delete")
    managed = properties.get("ManageMasterUserPassword")
    protect = f"aws cloudformation update-termination-protection --enable-termination-protection --stack-name {stack}"
    side_effects = {
        "has no EngineVersion: the Region's default is used, and a restore fails if that is older than the "
        "snapshot's": (
            "EngineVersion" not in properties,
            f"give {cluster} production's exact EngineVersion",
        ),
        "has no KmsKeyId: acceptance's data stays under production's key, and is lost with that key's "
        "grant": (
            "KmsKeyId" not in properties,
            f"give {cluster} the KmsKeyId of acceptance's own key; this replaces it, so do it in a refresh's night",
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


def _is_true(value: Any) -> bool:
    return str(value).lower() == "true"
