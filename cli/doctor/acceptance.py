"""Check an acceptance stage: parameters, main pipeline and its template, shares, keys. Pure."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from shlex import quote

from chalicelib.domain.database import Database
from chalicelib.domain.errors import Refused
from chalicelib.domain.ledger import Run
from chalicelib.domain.parameters import PLACEHOLDER, arn_of, hidden, value_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import hours
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, pin_rejection, rejection
from chalicelib.usecases.checks import hold_today, pipeline_problem
from cli import mainpipeline
from cli.doctor.checks import (
    OK,
    PROBLEM,
    VERDICT,
    WARNING,
    Check,
    enable_key,
    own_key,
    unavailable,
    when,
)
from cli.doctor.state import AcceptanceState, Observed, Shares, Stack, Unavailable
from cli.stacks import BEFORE, stack_name
from cli.stages import AcceptanceStage, Json, to_change, to_deploy

# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-share-snapshot.html
_KEY_ACTIONS = (
    *("kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt"),
    *("kms:GenerateDataKey*", "kms:ReEncrypt*"),
)


_NEXT_RUN = "the next run of the pipeline, whoever starts it, restores what this writes to current"
# A denial because of these concerns only the identity in use, and says nothing about the key.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_OWN_POLICIES = ("identity-based policy", "permissions boundary", "session policy")


def parameters(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check that every parameter exists, its type and its value."""
    if isinstance(state.parameters, Unavailable):
        yield unavailable("parameter", "all", state.parameters)
        return
    settings, values = stage.settings, state.values
    wrong = pipeline_problem(settings, values)
    yield _parameter(
        stage,
        state,
        settings.pipeline_parameter,
        stage.pipeline,
        str(wrong) if wrong else None,
        f"holds {value_of(values, settings.pipeline_parameter)}",
    )
    for database in settings.databases:
        yield _latest(stage, state, database)
        yield _current(stage, state, database)
    if settings.hold_parameter:
        yield _hold(stage, state, settings.hold_parameter)


def _parameter(
    stage: AcceptanceStage,
    state: AcceptanceState,
    name: str,
    value: str,
    wrong: str | None,
    holds: str,
) -> Check:
    """Check a required parameter; `value` is the one that the fixes write."""
    assert not isinstance(state.parameters, Unavailable)
    if name not in state.parameters:
        return Check(
            "parameter",
            name,
            PROBLEM,
            "does not exist",
            _create(state, stage, name, value),
        )
    kind = state.parameters[name]["Type"]
    if kind != "String":
        return Check(
            "parameter",
            name,
            PROBLEM,
            f"is a {kind}, which neither this application nor CloudFormation reads as text; recreating it loses "
            "its history",
            f"aws ssm delete-parameter --name {name} && {_put(name, value, overwrite=False)}",
        )
    if wrong:
        return Check("parameter", name, PROBLEM, wrong, _put(name, value))
    return Check("parameter", name, OK, holds)


def _latest(stage: AcceptanceStage, state: AcceptanceState, database: Database) -> Check:
    name = database.latest_parameter
    plain = _parameter(stage, state, name, PLACEHOLDER, None, "")
    if plain.status != OK:
        return plain
    value = state.values[name].value
    if value == PLACEHOLDER:
        at = when(stage, stage.settings.next_update(state.now))
        return Check(
            "parameter",
            name,
            WARNING,
            f"holds the placeholder {value!r}: no snapshot has been recorded yet",
            f"nothing before the first update: {at}",
        )
    if arn_of(value) is None:
        return Check("parameter", name, PROBLEM, _no_arn(value), _put(name, PLACEHOLDER))
    found = state.candidates.get(database.name)
    if isinstance(found, Unavailable):
        return unavailable("parameter", name, found)
    if isinstance(found, Refused):
        newest = _restorable(stage, state, database)
        return Check(
            "parameter",
            name,
            WARNING if found.reason == "copy-pending" else PROBLEM,
            f"the schedule would not promote it: {found}",
            _put(name, newest)
            if newest and newest != value and not database.copy_policy
            else found.reason.next_step,
        )
    assert found is not None
    return Check("parameter", name, OK, f"{value}, {hours(found.age(state.now))} hours old")


def _current(stage: AcceptanceStage, state: AcceptanceState, database: Database) -> Check:
    name = database.current_parameter
    newest = _restorable(stage, state, database)
    plain = _parameter(stage, state, name, newest or PLACEHOLDER, None, "")
    if plain.status != OK:
        if name not in state.values and _is_new(stage, state):
            return plain  # `aurora-refresh deploy` creates it
        return replace(plain, fix=_moving(plain.fix if newest else None))
    value = state.values[name].value
    fix = _moving(_put(name, newest) if newest else None)
    if newest:
        fix = f"pin one of production's snapshots, in aurora-refresh console --stage {stage.name} or by hand; {fix}"
    if value == PLACEHOLDER:
        return Check(
            "parameter",
            name,
            WARNING,
            f"holds the placeholder {value!r}, which the main pipeline cannot restore",
            f"nothing if the pipeline does not run before the first refresh; otherwise {fix}",
        )
    if foreign := _foreign(stage, database, value):
        return Check("parameter", name, PROBLEM, foreign, fix)
    found = state.present.get(database.name)
    if isinstance(found, Unavailable):
        return unavailable("parameter", name, found)
    if found is None:
        return Check(
            "parameter",
            name,
            WARNING,
            f"{value} no longer exists, or is no longer shared: it cannot be restored again",
            "nothing if a refresh comes before the next change of the pipeline's template; otherwise "
            f"{fix}",
        )
    broken = pin_rejection(found, database.criteria)
    if broken:
        return Check("parameter", name, PROBLEM, f"{value}: {broken.detail}", fix)
    return Check("parameter", name, OK, f"{value}, {hours(found.age(state.now))} hours old")


def _foreign(stage: AcceptanceStage, database: Database, value: str) -> str | None:
    """Return why the value names no snapshot that the main pipeline may restore."""
    arn = SnapshotArn.parse(value)
    if arn is None:
        return f"{_no_arn(value)}; the next run would read it"
    if arn.account not in (database.criteria.account, stage.account):
        return (
            f"{value} belongs to account {arn.account}, but production is {database.criteria.account}: "
            "the next run of the pipeline would restore a stranger's data"
        )
    if arn.region != stage.region:
        return f"{value} is in {arn.region}, but the main pipeline restores in {stage.region}"
    return None


def _hold(stage: AcceptanceStage, state: AcceptanceState, name: str) -> Check:
    assert not isinstance(state.parameters, Unavailable)
    if name not in state.parameters:
        return Check("parameter", name, OK, "does not exist: no hold")
    plain = _parameter(stage, state, name, PLACEHOLDER, None, "")
    if plain.status != OK:
        return plain
    lift = _put(name, PLACEHOLDER)
    try:
        hold = hold_today(stage.settings, state.values, state.now)
    except ValueError as error:
        return Check("parameter", name, PROBLEM, str(error), lift)
    if hold:
        seen = f"on hold until {hold.until} by {hold.by}: {hold.reason}"
        return Check(
            "parameter", name, WARNING, seen, f"nothing if it is still wanted; otherwise {lift}"
        )
    return Check("parameter", name, OK, "no hold")


def pipeline(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check that the main pipeline exists and may be started, its mode and its last run."""
    own = stage.pipeline
    parameter = stage.settings.pipeline_parameter
    wrong = pipeline_problem(stage.settings, state.values)
    named = None if wrong else state.values[parameter].value
    for name in dict.fromkeys(each for each in (named, own) if each):
        body = state.pipelines[name]
        if isinstance(body, Unavailable):
            yield unavailable("pipeline", name, body)
        elif body is None:
            source = (
                f"{parameter} holds {name!r}" if name == named else "the stage's policies name it"
            )
            yield Check(
                "pipeline",
                name,
                PROBLEM,
                f"does not exist in {stage.region}, but {source}",
                _put(parameter, own)
                if name != own
                else to_change(
                    stage.name, "MAIN_PIPELINE_ARN=… with the ARN of the existing pipeline"
                ),
            )
        elif name == own:
            yield from _mode(name, body)
    if named and named != own and isinstance(state.pipelines[named], dict):
        yield Check(
            "pipeline",
            named,
            PROBLEM,
            f"{parameter} holds {named!r}, but the functions may start only {own}",
            f"{_put(parameter, own)}; or "
            + to_change(
                stage.name, f"MAIN_PIPELINE_ARN={stage.pipeline_arn.removesuffix(own)}{named}"
            ),
        )
    if state.existing_pipeline:
        yield _last_run(stage, state.existing_pipeline[0], state.runs)


def _mode(name: str, body: Json) -> Iterator[Check]:
    mode = body.get("executionMode", "SUPERSEDED")
    if mode == "PARALLEL":
        yield Check(
            "pipeline",
            name,
            PROBLEM,
            "its execution mode is PARALLEL: two runs may restore at once",
            f"aws codepipeline get-pipeline --name {name} --query '{{pipeline: pipeline}}' > pipeline.json, set "
            '"executionMode": "SUPERSEDED" there, and aws codepipeline update-pipeline --cli-input-json '
            "file://pipeline.json",
        )
    else:
        yield Check("pipeline", name, OK, f"exists, with execution mode {mode}")


def _last_run(stage: AcceptanceStage, name: str, runs: Observed[Sequence[Run]]) -> Check:
    if isinstance(runs, Unavailable):
        return unavailable("pipeline", "last run", runs)
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


_BY_HAND = "compare its template with docs/main-pipeline.md"


def reading(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check how the pipeline's stacks read *current*, as far as that can be seen."""
    if state.existing_pipeline is None:
        return  # reported already
    found = [
        (stack.name, each)
        for stack in state.stacks
        if isinstance(stack.template, dict)
        for each in mainpipeline.readings(stack.template, stack.given)
    ]
    right = {each.parameter: f"{each.cluster} of stack {name}" for name, each in found}
    latest = {database.latest_parameter for database in stage.settings.databases}
    wrong = {
        each: Check("template", name, PROBLEM, misread, _read_rightly(stage))
        for name, each in found
        if (misread := _misread(stage, each))
    }
    blind = [*_unreadable(state.stacks)]
    for name, each in found:
        if each.parameter is None and not each.wrong:
            seen = f"the source of {each.cluster}'s SnapshotIdentifier is unknown"
            blind.append(Check("template", name, WARNING, seen, _BY_HAND))
    unread = [
        each.current_parameter
        for each in stage.settings.databases
        if each.current_parameter not in right
    ]
    for name in (database.current_parameter for database in stage.settings.databases):
        if name in right:
            yield Check("template", name, OK, f"is read at every update by {right[name]}")
    # Other clusters may well be restored in another way, but never from *latest*.
    yield from (check for each, check in wrong.items() if unread or each.parameter in latest)
    yield from blind
    if not wrong and not blind:
        seen = (
            "nothing was found that reads it: the pipeline deploys no stack, or none with a cluster"
        )
        yield from (Check("template", name, WARNING, seen, _BY_HAND) for name in unread)
    for stack in state.stacks:
        yield from _faults(stack)


def _unreadable(stacks: Sequence[Stack]) -> Iterator[Check]:
    for stack in stacks:
        if isinstance(stack.template, Unavailable):
            yield unavailable("template", stack.name, stack.template)
        elif stack.elsewhere:
            yield Check(
                "template",
                stack.name,
                WARNING,
                f"how it reads current is not seen: the pipeline deploys it {stack.elsewhere}",
                _BY_HAND,
                blind=True,
            )
        elif stack.template is None:
            yield Check(
                "template",
                stack.name,
                WARNING,
                "how it reads current is unknown: the stack has not been deployed yet",
                f"run the doctor again after the pipeline's first run; until then {_BY_HAND}",
            )


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


def _faults(stack: Stack) -> Iterator[Check]:
    template = stack.template if isinstance(stack.template, dict) else {}
    clusters = dict.fromkeys(
        each.cluster for each in mainpipeline.readings(template, stack.given) if each.parameter
    )
    for cluster in clusters:
        for fault in mainpipeline.faults(template, cluster, stack.given):
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


def shares(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check production's shares, and the key of the newest eligible one."""
    for database in stage.settings.databases:
        seen = state.shares[database.name]
        if isinstance(seen, Unavailable):
            yield unavailable("share", database.name, seen)
            continue
        yield _choice(stage, state.now, database, seen)
        if isinstance(seen.newest, Snapshot):
            yield _key(stage, seen.newest, seen)
        yield from _verdicts(database, seen)


def _verdicts(database: Database, seen: Shares) -> Iterator[Check]:
    """Yield the verdict on each share, newest first; one without a time is still being made."""
    made = datetime.max.replace(tzinfo=UTC)
    for share in sorted(
        seen.productions, key=lambda each: (each.created or made, each.arn), reverse=True
    ):
        broken = rejection(share, database.criteria)
        verdict = f"rejected: {broken.detail}" if broken else "eligible"
        if share == seen.newest:
            verdict = "eligible, and the newest"
        yield Check(VERDICT, share.arn, OK, f"for {database.name}: {verdict}")


def _choice(stage: AcceptanceStage, now: datetime, database: Database, seen: Shares) -> Check:
    rejected = dict(seen.choice.rejected)
    counts = ", ".join(f"{count} for {reason}" for reason, count in sorted(rejected.items()))
    eligible = seen.total - sum(rejected.values())
    summary = f"{eligible} of {seen.total} shares are eligible; rejected: {counts or 'none'}"
    if isinstance(seen.newest, Refused):
        return Check(
            "share",
            database.name,
            PROBLEM,
            f"{seen.newest} ({summary})",
            _share(stage, database, seen),
        )
    age = seen.newest.age(now)
    summary = (
        f"{seen.newest.arn}, {hours(seen.newest.age(now))} hours old, is the newest; {summary}"
    )
    if stage.settings.max_age and age > stage.settings.max_age:
        return Check(
            "share",
            database.name,
            PROBLEM,
            f"{summary}; the schedule promotes nothing older than {stage.settings.max_age.days} days",
            Reason.SNAPSHOT_STALE.next_step,
        )
    return Check("share", database.name, OK, summary)


def _share(stage: AcceptanceStage, database: Database, seen: Shares) -> str:
    assert isinstance(seen.newest, Refused)
    prefix = database.name.upper()
    if seen.choice.ambiguous:
        clusters = sorted(seen.choice.clusters)
        others = ", ".join(clusters[1:])
        return to_change(stage.name, f"{prefix}_SOURCE_CLUSTER={clusters[0]} (or {others})")
    if seen.total == seen.choice.rejected.get("account", 0):
        return (
            f"in production ({database.criteria.account}): aws rds modify-db-cluster-snapshot-attribute "
            "--db-cluster-snapshot-identifier … --attribute-name restore --values-to-add "
            f"{stage.account}"
        )
    settings = {
        "engine": f"{prefix}_ENGINE",
        "version": f"{prefix}_ENGINE_VERSION",
        "cluster": f"{prefix}_SOURCE_CLUSTER",
    }
    answers = [f"{name}=…" for reason, name in settings.items() if reason in seen.choice.rejected]
    if not answers:
        return Reason.NO_ELIGIBLE_SNAPSHOT.next_step
    return (
        f"if the stage's settings are wrong: {to_change(stage.name, ' '.join(answers))}; otherwise share "
        "the right ones"
    )


def _key(stage: AcceptanceStage, newest: Snapshot, seen: Shares) -> Check:
    if isinstance(seen.key_arn, Unavailable):
        return unavailable("key", newest.arn, seen.key_arn)
    if seen.key_arn is None:
        return Check("key", newest.arn, OK, "is not encrypted, so no key is needed")
    arn, key = seen.key_arn, seen.key
    again = (
        f"in production ({newest.account}): copy the snapshot under a customer-managed key (aws rds "
        "copy-db-cluster-snapshot --kms-key-id …) and share that"
    )
    if arn.endswith(":alias/aws/rds") or (isinstance(key, dict) and key["KeyManager"] == "AWS"):
        found = f"encrypts {newest.arn} and is production's default key aws/rds, which no other account can use"
        return Check("key", arn, PROBLEM, found, again)
    if isinstance(key, Unavailable):
        if not key.denied or any(each in key.why for each in _OWN_POLICIES):
            return unavailable("key", arn, key)
        return Check(
            "key",
            arn,
            PROBLEM,
            f"encrypts {newest.arn}, but its policy does not let account {stage.account} describe it: the "
            "snapshot can probably not be restored",
            f"in production ({newest.account}), add to the key's policy {_key_statement(stage)}; if it is the default "
            f"key aws/rds, which has no policy to change, {again}",
        )
    if key is None:
        return Check("key", arn, PROBLEM, f"encrypts {newest.arn} and no longer exists", again)
    if key["KeyState"] != "Enabled":
        return Check(
            "key",
            arn,
            PROBLEM,
            f"encrypts {newest.arn} and is {key['KeyState']}",
            f"in production ({newest.account}): {enable_key(arn)}",
        )
    return Check(
        "key",
        arn,
        OK,
        f"encrypts {newest.arn}; customer-managed, enabled, and open to this account",
    )


def copy_keys(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check the keys of copies."""
    for database in stage.settings.databases:
        if database.copy_policy:
            setting = f"{database.name.upper()}_COPY_KMS_KEY_ID"
            key = database.copy_policy.key
            yield own_key(stage, "copy key", setting, key, state.copy_keys[database.name])


def _key_statement(stage: AcceptanceStage) -> str:
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
    """Return how to fix *current* by a command that writes it; None if nothing can be restored."""
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


def _is_new(stage: AcceptanceStage, state: AcceptanceState) -> bool:
    """Return whether the stage has never been deployed."""
    return state.own_stacks.get(stack_name(stage.name, BEFORE)) is None


def _no_arn(value: str) -> str:
    return f"holds {hidden(value)}, not the ARN of a DB cluster snapshot"


def _create(state: AcceptanceState, stage: AcceptanceStage, name: str, value: str) -> str:
    """Return how to create a parameter: deploying does not recreate one deleted from its stack."""
    if _is_new(stage, state):
        return to_deploy(stage.name)
    return _put(name, value, overwrite=False)


def _restorable(stage: AcceptanceStage, state: AcceptanceState, database: Database) -> str | None:
    """Return a snapshot to replace a wrong one: what *latest* names, or the newest readable share."""
    candidate = state.candidates.get(database.name)
    if isinstance(candidate, Snapshot):
        return candidate.arn
    seen = state.shares[database.name]
    if isinstance(seen, Unavailable) or isinstance(seen.newest, Refused):
        return None
    if stage.settings.source_region:
        return None  # a share of another Region can only be copied
    readable = seen.key_arn is None or (
        isinstance(seen.key, dict) and seen.key["KeyManager"] != "AWS"
    )
    return seen.newest.arn if readable else None
