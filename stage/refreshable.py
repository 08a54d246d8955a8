"""Whether there is something to restore, and somebody who would restore it. Pure.

Parameters and what they hold, the main pipeline and how it reads *current*, production's shares and their keys.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from shlex import quote

from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.hold import PLACEHOLDER
from chalicelib.domain.ledger import Run
from chalicelib.domain.results import age_hours, arn_of, hidden, value_of
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, pin_rejection, rejection
from chalicelib.notifications import NEXT_STEPS
from chalicelib.usecases.promote import held, wrong_names, wrong_pipeline
from stage import mainpipeline
from stage.checks import OK, PROBLEM, VERDICT, WARNING, Check, unseen, when
from stage.config import Stage
from stage.facts import Facts, Json, Seen, Shares, Stack, Unseen
from stage.stacks import BEFORE, stack_name

# "SharePolicy encrypted snapshots", Aurora User Guide.
_KEY_ACTIONS = (
    *("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt"),
    *("kms:GenerateDataKey*", "kms:ReEncrypt*"),
)


_NEXT_RUN = "the next run of the pipeline, whoever starts it, restores what this writes to current"
# A refusal for want of these is of the identity in use alone, and says nothing about the key.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_OWN_POLICIES = ("identity-based policy", "permissions boundary", "session policy")


def parameters(stage: Stage, facts: Facts) -> Iterator[Check]:
    """Every parameter there is to be, its type, and what it holds."""
    if isinstance(facts.parameters, Unseen):
        yield unseen("parameter", "all", facts.parameters)
        return
    settings, values = stage.settings, facts.values
    wrong = wrong_pipeline(settings, values)
    yield _parameter(
        stage,
        facts,
        settings.pipeline_parameter,
        stage.pipeline_arn.rpartition(":")[2],
        str(wrong) if wrong else None,
        f"holds {value_of(values, settings.pipeline_parameter)}",
    )
    for database in settings.databases:
        yield _latest(stage, facts, database)
        yield _current(stage, facts, database)
    if settings.hold_parameter:
        yield _hold(stage, facts, settings.hold_parameter)


def _parameter(
    stage: Stage, facts: Facts, name: str, value: str, wrong: str | None, holds: str
) -> Check:
    """A parameter that there must be; ``value`` is one that it might hold, and the fixes write."""
    assert not isinstance(facts.parameters, Unseen)
    if name not in facts.parameters:
        return Check(
            "parameter",
            name,
            PROBLEM,
            "there is no such parameter",
            _create(facts, stage, name, value),
        )
    kind = facts.parameters[name]["Type"]
    if kind != "String":
        return Check(
            "parameter",
            name,
            PROBLEM,
            f"is a {kind}, which neither this application nor CloudFormation reads as text; its history is lost when "
            "it is made anew",
            f"aws ssm delete-parameter --name {name} && {_put(name, value, overwrite=False)}",
        )
    if wrong:
        return Check("parameter", name, PROBLEM, wrong, _put(name, value))
    return Check("parameter", name, OK, holds)


def _latest(stage: Stage, facts: Facts, database: Database) -> Check:
    name = database.latest_parameter
    plain = _parameter(stage, facts, name, PLACEHOLDER, None, "")
    if plain.status != OK:
        return plain
    value = facts.values[name].value
    if value == PLACEHOLDER:
        at = when(stage, stage.settings.next_update(facts.now))
        return Check(
            "parameter",
            name,
            WARNING,
            f"holds the placeholder {value!r}: no snapshot has been recorded yet",
            f"nothing before the first update, which comes {at}",
        )
    wrong = [
        str(each)
        for each in wrong_names(stage.settings, facts.values)
        if each.reason == "no-latest" and str(each).startswith(f"{name} ")
    ]
    if wrong:
        return Check("parameter", name, PROBLEM, wrong[0], _put(name, PLACEHOLDER))
    found = facts.candidates.get(database.name)
    if isinstance(found, Unseen):
        return unseen("parameter", name, found)
    if isinstance(found, Refused):
        newest = _restorable(facts, database)
        return Check(
            "parameter",
            name,
            WARNING if found.reason == "copy-pending" else PROBLEM,
            f"the schedule would not promote it: {found}",
            _put(name, newest)
            if newest and newest != value and not database.copy_policy
            else NEXT_STEPS[found.reason],
        )
    assert found is not None
    return Check("parameter", name, OK, f"{value}, {age_hours(found, facts.now)} hours old")


def _current(stage: Stage, facts: Facts, database: Database) -> Check:
    name = database.current_parameter
    newest = _restorable(facts, database)
    plain = _parameter(stage, facts, name, newest or PLACEHOLDER, None, "")
    if plain.status != OK:
        deploys = (plain.fix or "").startswith("make deploy")
        return plain if deploys else replace(plain, fix=_moving(plain.fix if newest else None))
    value = facts.values[name].value
    fix = _moving(_put(name, newest) if newest else None)
    if newest:
        fix = (
            f"pin a snapshot of production's, in make console STAGE={stage.name} or by hand; {fix}"
        )
    if value == PLACEHOLDER:
        return Check(
            "parameter",
            name,
            WARNING,
            f"holds the placeholder {value!r}, which the main pipeline cannot restore",
            f"nothing if the pipeline does not run before the first refresh; otherwise {fix}",
        )
    arn = arn_of(value)
    if arn is None:
        seen = f"holds {hidden(value)}, not the ARN of a DB cluster snapshot; the next run would read it"
        return Check("parameter", name, PROBLEM, seen, fix)
    parsed = SnapshotArn.parse(arn)
    assert parsed is not None
    if parsed.account not in (database.criteria.account, stage.account):
        return Check(
            "parameter",
            name,
            PROBLEM,
            f"{arn} is of account {parsed.account}, and production is {database.criteria.account}: the next run "
            "of the pipeline would restore a stranger's data",
            fix,
        )
    if parsed.region != stage.region:
        return Check(
            "parameter",
            name,
            PROBLEM,
            f"{arn} is in {parsed.region}, and the main pipeline restores in {stage.region}, where it is not",
            fix,
        )
    found = facts.present.get(database.name)
    if isinstance(found, Unseen):
        return unseen("parameter", name, found)
    if found is None:
        return Check(
            "parameter",
            name,
            WARNING,
            f"{arn} does not exist any more, or is no longer shared: it cannot be restored again",
            "nothing if a refresh comes before the next change of the pipeline's template; otherwise "
            f"{fix}",
        )
    broken = pin_rejection(found, database.criteria)
    if broken:
        return Check("parameter", name, PROBLEM, f"{arn}: {broken.detail}", fix)
    return Check("parameter", name, OK, f"{arn}, {age_hours(found, facts.now)} hours old")


def _hold(stage: Stage, facts: Facts, name: str) -> Check:
    assert not isinstance(facts.parameters, Unseen)
    if name not in facts.parameters:
        return Check("parameter", name, OK, "is not there, which means no hold")
    plain = _parameter(stage, facts, name, PLACEHOLDER, None, "")
    if plain.status != OK:
        return plain
    lift = _put(name, PLACEHOLDER)
    try:
        hold = held(stage.settings, facts.values, facts.now)
    except ValueError as error:
        return Check("parameter", name, PROBLEM, str(error), lift)
    if hold:
        seen = f"on hold until {hold.until} by {hold.by}: {hold.reason}"
        return Check(
            "parameter", name, WARNING, seen, f"nothing if it is still wanted; else {lift}"
        )
    return Check("parameter", name, OK, "no hold")


def pipeline(stage: Stage, facts: Facts) -> Iterator[Check]:
    """The main pipeline: that it is there, that it may be started, its mode, and its last run."""
    own = stage.pipeline_arn.rpartition(":")[2]
    parameter = stage.settings.pipeline_parameter
    wrong = wrong_pipeline(stage.settings, facts.values)
    named = None if wrong else facts.values[parameter].value
    for name in dict.fromkeys(each for each in (named, own) if each):
        body = facts.pipelines[name]
        if isinstance(body, Unseen):
            yield unseen("pipeline", name, body)
        elif body is None:
            there = (
                f"{parameter} holds {name!r}" if name == named else "the stage's policies name it"
            )
            yield Check(
                "pipeline",
                name,
                PROBLEM,
                f"there is no such pipeline in {stage.region}, and {there}",
                _put(parameter, own)
                if name != own
                else f"make configure STAGE={stage.name} MAIN_PIPELINE_ARN=… with the ARN of the pipeline that "
                f"there is, and then make deploy STAGE={stage.name}",
            )
        elif name == own:
            yield from _mode(name, body)
    if named and named != own and isinstance(facts.pipelines[named], dict):
        yield Check(
            "pipeline",
            named,
            PROBLEM,
            f"{parameter} holds {named!r}, but the functions may start {own} alone",
            f"{_put(parameter, own)}; or make configure STAGE={stage.name} MAIN_PIPELINE_ARN="
            f"{stage.pipeline_arn.rpartition(':')[0]}:{named}, and then make deploy STAGE={stage.name}",
        )
    known = [name for name, body in facts.pipelines.items() if isinstance(body, dict)]
    if known:
        yield _last_run(stage, known[0], facts.runs)


def _mode(name: str, body: Json) -> Iterator[Check]:
    mode = body.get("executionMode", "SUPERSEDED")
    if mode == "PARALLEL":
        yield Check(
            "pipeline",
            name,
            PROBLEM,
            "its execution mode is PARALLEL: two runs may restore at once",
            f"aws codepipeline get-pipeline --name {name} --query '{{pipeline: pipeline}}' > pipeline.json, write "
            '"executionMode": "SUPERSEDED" there, and aws codepipeline update-pipeline --cli-input-json '
            "file://pipeline.json",
        )
    else:
        yield Check("pipeline", name, OK, f"is there, and runs in mode {mode}")


def _last_run(stage: Stage, name: str, runs: Seen[Sequence[Run]]) -> Check:
    if isinstance(runs, Unseen):
        return unseen("pipeline", "last run", runs)
    if not runs:
        return Check("pipeline", "last run", OK, "none yet")
    run = runs[0]
    seen = f"{run.execution_id}: {run.status} since {when(stage, run.updated)}"
    if run.status in ("Failed", "Stopped", "Cancelled"):
        return Check(
            "pipeline",
            "last run",
            WARNING,
            seen,
            f"see why: aws codepipeline list-action-executions --pipeline-name {name} --filter "
            f"pipelineExecutionId={run.execution_id}",
        )
    return Check("pipeline", "last run", OK, seen)


_BY_HAND = "hold its template against docs/main-pipeline.md"


def reading(stage: Stage, facts: Facts) -> Iterator[Check]:
    """How the pipeline's stacks read *current*, as far as that can be seen."""
    if not any(isinstance(body, dict) for body in facts.pipelines.values()):
        return  # told already
    found = [
        (stack.name, each)
        for stack in facts.stacks
        if isinstance(stack.template, dict)
        for each in mainpipeline.readings(stack.template, stack.given)
    ]
    right = {each.parameter: f"{each.cluster} of stack {name}" for name, each in found}
    wrong = [
        Check("template", name, PROBLEM, misread, _read_rightly(stage))
        for name, each in found
        if (misread := _misread(stage, each))
    ]
    blind = [*_untold(facts.stacks)]
    for name, each in found:
        if each.parameter is None and not each.wrong:
            seen = f"where {each.cluster} takes its SnapshotIdentifier from cannot be told"
            blind.append(Check("template", name, WARNING, seen, _BY_HAND))
    unread = [
        each.current_parameter
        for each in stage.settings.databases
        if each.current_parameter not in right
    ]
    for name in (database.current_parameter for database in stage.settings.databases):
        if name in right:
            yield Check("template", name, OK, f"is read at every update by {right[name]}")
    # What is not the stage's own may well be restored in another way.
    yield from wrong if unread else (each for each in wrong if "which is latest" in each.seen)
    yield from blind
    if not wrong and not blind:
        seen = (
            "nothing was seen that reads it: the pipeline deploys no stack, or none with a cluster"
        )
        yield from (Check("template", name, WARNING, seen, _BY_HAND) for name in unread)
    for stack in facts.stacks:
        yield from _faults(stack)


def _untold(stacks: Sequence[Stack]) -> Iterator[Check]:
    for stack in stacks:
        if isinstance(stack.template, Unseen):
            yield unseen("template", stack.name, stack.template)
        elif stack.template is None:
            yield Check(
                "template",
                stack.name,
                WARNING,
                "how it reads current could not be looked at: the stack has not been deployed yet",
                f"run the doctor again after the pipeline's first run; until then {_BY_HAND}",
            )


def _misread(stage: Stage, each: mainpipeline.Reading) -> str | None:
    """What is wrong with where a cluster's snapshot comes from."""
    if each.wrong:
        return f"{each.cluster} {each.wrong}"
    databases = stage.settings.databases
    if each.parameter in [database.latest_parameter for database in databases]:
        told = "which is latest: the next ordinary run restores by accident"
        return f"{each.cluster} reads {each.parameter}, {told}"
    if each.parameter and each.parameter not in [one.current_parameter for one in databases]:
        return f"{each.cluster} reads {each.parameter}, which is no parameter of this stage"
    return None


def _read_rightly(stage: Stage) -> str:
    names = " or ".join(each.current_parameter for each in stage.settings.databases)
    return (
        f"give the template a parameter of Type: {mainpipeline.READS_AT_EVERY_UPDATE} with Default: {names}, "
        "and write SnapshotIdentifier: !Ref for it, as infrastructure/main-pipeline.yaml does"
    )


def _faults(stack: Stack) -> Iterator[Check]:
    template = stack.template if isinstance(stack.template, dict) else {}
    clusters = dict.fromkeys(
        each.cluster for each in mainpipeline.readings(template, stack.given) if each.parameter
    )
    for cluster in clusters:
        for fault in mainpipeline.faults(template, cluster):
            status = PROBLEM if fault.fails else WARNING
            yield Check("template", stack.name, status, fault.what, fault.fix)
    if stack.mode == "REPLACE_ON_FAILURE":
        yield Check(
            "template",
            stack.name,
            WARNING,
            "its action's mode is REPLACE_ON_FAILURE: a stack that could not roll back is deleted, and the "
            "database with it",
            "write ActionMode: CREATE_UPDATE",
        )


def shares(stage: Stage, facts: Facts) -> Iterator[Check]:
    """What production shares, the verdict on it, and the newest eligible one's key."""
    for database in stage.settings.databases:
        seen = facts.shares[database.name]
        if isinstance(seen, Unseen):
            yield unseen("share", database.name, seen)
            continue
        yield _choice(stage, facts.now, database, seen)
        if isinstance(seen.newest, Snapshot):
            yield _key(stage, seen.newest, seen)
        yield from _verdicts(database, seen)


def _verdicts(database: Database, seen: Shares) -> Iterator[Check]:
    """Each of production's shares, the newest first: one that has no time yet is only being made."""
    made = datetime.max.replace(tzinfo=UTC)
    for share in sorted(
        seen.productions, key=lambda each: (each.created or made, each.arn), reverse=True
    ):
        broken = rejection(share, database.criteria)
        told = f"rejected: {broken.detail}" if broken else "eligible"
        if share == seen.newest:
            told = "eligible, and the newest"
        yield Check(VERDICT, share.arn, OK, f"for {database.name}: {told}")


def _choice(stage: Stage, now: datetime, database: Database, seen: Shares) -> Check:
    rejected = dict(seen.choice.rejected)
    counts = ", ".join(f"{count} for {reason}" for reason, count in sorted(rejected.items()))
    told = f"{seen.total - sum(rejected.values())} of {seen.total} shares are eligible; rejected: "
    told += counts or "none"
    if isinstance(seen.newest, Refused):
        return Check(
            "share",
            database.name,
            PROBLEM,
            f"{seen.newest} ({told})",
            _share(stage, database, seen),
        )
    age = seen.newest.age(now)
    told = f"{seen.newest.arn}, {age_hours(seen.newest, now)} hours old, is the newest; {told}"
    if stage.settings.max_age and age > stage.settings.max_age:
        return Check(
            "share",
            database.name,
            PROBLEM,
            f"{told}; the schedule promotes nothing older than {stage.settings.max_age.days} days",
            NEXT_STEPS["snapshot-stale"],
        )
    return Check("share", database.name, OK, told)


def _share(stage: Stage, database: Database, seen: Shares) -> str:
    assert isinstance(seen.newest, Refused)
    prefix = database.name.upper()
    if seen.choice.ambiguous:
        clusters = sorted(seen.choice.clusters)
        return (
            f"make configure STAGE={stage.name} {prefix}_SOURCE_CLUSTER={clusters[0]} (or "
            f"{', '.join(clusters[1:])}), and then make deploy STAGE={stage.name}"
        )
    if seen.total == seen.choice.rejected.get("account", 0):
        return (
            f"in production ({database.criteria.account}): aws rds modify-db-cluster-snapshot-attribute "
            "--db-cluster-snapshot-identifier … --attribute-name restore --values-to-add "
            f"{stage.account}"
        )
    told = {"engine": f"{prefix}_ENGINE", "version": f"{prefix}_ENGINE_VERSION"}
    told["cluster"] = f"{prefix}_SOURCE_CLUSTER"
    asked = [f"{name}=…" for reason, name in told.items() if reason in seen.choice.rejected]
    if not asked:
        return NEXT_STEPS["no-eligible-snapshot"]
    return (
        f"if the stage asks for the wrong ones: make configure STAGE={stage.name} {' '.join(asked)}, and then "
        f"make deploy STAGE={stage.name}; otherwise share the right ones"
    )


def _key(stage: Stage, newest: Snapshot, seen: Shares) -> Check:
    if isinstance(seen.key_arn, Unseen):
        return unseen("key", newest.arn, seen.key_arn)
    if seen.key_arn is None:
        return Check("key", newest.arn, OK, "is not encrypted, so no key is needed")
    arn, key = seen.key_arn, seen.key
    again = (
        f"in production ({newest.account}): copy the snapshot under a customer-managed key (aws rds "
        "copy-db-cluster-snapshot --kms-key-id …) and share that"
    )
    if arn.endswith(":alias/aws/rds") or (isinstance(key, dict) and key["KeyManager"] == "AWS"):
        seen_ = f"encrypts {newest.arn} and is production's default key aws/rds, which no other account can use"
        return Check("key", arn, PROBLEM, seen_, again)
    if isinstance(key, Unseen):
        if not key.denied or any(each in key.why for each in _OWN_POLICIES):
            return unseen("key", arn, key)
        return Check(
            "key",
            arn,
            PROBLEM,
            f"encrypts {newest.arn}, and its policy does not let account {stage.account} describe it: most likely "
            "it cannot be restored",
            f"in production ({newest.account}), add to the key's policy {_key_statement(stage)}; if it is the default "
            f"key aws/rds, which has no policy to change, {again}",
        )
    if key is None:
        return Check(
            "key", arn, PROBLEM, f"encrypts {newest.arn} and does not exist any more", again
        )
    if key["KeyState"] != "Enabled":
        return Check(
            "key",
            arn,
            PROBLEM,
            f"encrypts {newest.arn} and is {key['KeyState']}",
            f"in production ({newest.account}): aws kms enable-key --key-id {arn} (before it: aws kms "
            "cancel-key-deletion, if it is to be deleted)",
        )
    return Check(
        "key", arn, OK, f"encrypts {newest.arn}; customer-managed, enabled, and open to us"
    )


def copy_keys(stage: Stage, facts: Facts) -> Iterator[Check]:
    """The keys that copies are made under."""
    for database in stage.settings.databases:
        if database.copy_policy:
            key = database.copy_policy.key
            yield _copy_key(
                stage,
                f"{database.name.upper()}_COPY_KMS_KEY_ID",
                key,
                facts.copy_keys[database.name],
            )


def _copy_key(stage: Stage, setting: str, key: str, seen: Seen[Json | None]) -> Check:
    other = (
        f"make configure STAGE={stage.name} {setting}=…, and then make deploy STAGE={stage.name}"
    )
    if isinstance(seen, Unseen):
        return unseen("copy key", key, seen)
    if seen is None:
        told = f"{setting} names it, and it does not exist in {stage.account}, {stage.region}"
        return Check("copy key", key, PROBLEM, told, other)
    if seen["KeyManager"] == "AWS":
        return Check("copy key", key, PROBLEM, "is AWS's own, and no key of one's own", other)
    if seen["KeyState"] != "Enabled":
        return Check(
            "copy key",
            key,
            PROBLEM,
            f"is {seen['KeyState']}",
            f"aws kms enable-key --key-id {seen['Arn']} (before it: aws kms cancel-key-deletion, if it is to be "
            "deleted)",
        )
    return Check("copy key", key, OK, "customer-managed and enabled")


def _key_statement(stage: Stage) -> str:
    partition = stage.partition
    return json.dumps(
        {
            "Sid": "UseByAcceptance",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:{partition}:iam::{stage.account}:root"},
            "Action": [*_KEY_ACTIONS],
            "Resource": "*",
        }
    )


def _moving(command: str | None) -> str:
    """How *current* is mended by a command that writes it; None where there is nothing to write."""
    if command is None:
        # Not the placeholder, which would fail the pipeline's next run.
        return (
            "have production share a snapshot that can be restored here first (see share and key), and run the "
            "doctor again"
        )
    return f"{_NEXT_RUN}: {command}"


def _put(name: str, value: str, *, overwrite: bool = True) -> str:
    over = " --overwrite" if overwrite else ""
    return f"aws ssm put-parameter --name {name} --type String --value {quote(value)}{over}"


def _create(facts: Facts, stage: Stage, name: str, value: str) -> str:
    """Deploying creates what was never there, but not what was deleted from under its stack."""
    if facts.own_stacks.get(stack_name(stage.name, BEFORE)) is None:
        return f"make deploy STAGE={stage.name}"
    return _put(name, value, overwrite=False)


def _restorable(facts: Facts, database: Database) -> str | None:
    """A snapshot to write where another one is wrong: what *latest* names, else the newest that can be read."""
    candidate = facts.candidates.get(database.name)
    if isinstance(candidate, Snapshot):
        return candidate.arn
    seen = facts.shares[database.name]
    if isinstance(seen, Unseen) or isinstance(seen.newest, Refused):
        return None
    readable = seen.key_arn is None or (
        isinstance(seen.key, dict) and seen.key["KeyManager"] != "AWS"
    )
    return seen.newest.arn if readable else None
