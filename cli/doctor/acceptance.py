"""Check an acceptance stage: parameters, main pipeline, shares, keys."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from shlex import quote
from typing import Any

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment
from chalicelib.domain.errors import Refused
from chalicelib.domain.parameters import PLACEHOLDER, arn_of, hidden, snapshot_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import hours
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, pin_rejection, rejection
from chalicelib.usecases.checks import hold_today, pipeline_problem
from chalicelib.usecases.status import LONG_RUN
from cli.doctor.checks import (
    OK,
    VERDICT,
    Check,
    Verdict,
    check,
    disabled,
    due,
    ok,
    own_key,
    problem,
    unavailable,
    warning,
    when,
)
from cli.doctor.look import AcceptanceLook, Shares, Unavailable, known
from cli.stages import AcceptanceStage, to_change

# A denial because of these concerns only the identity in use, and says nothing about the key.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_OWN_POLICIES = ("identity-based policy", "permissions boundary", "session policy")


# --- parameters -----------------------------------------------------------------------------------


def parameters(look: AcceptanceLook) -> Iterator[Check]:
    """Check that every parameter exists, its type and its value."""
    settings = look.stage.settings
    try:
        look.parameters()
    except Unavailable as what:
        yield Check("parameter", "all", *unavailable(what))
        return
    yield from _pipeline_name(settings.pipeline_parameter, look)
    for database in settings.databases:
        yield from _latest(database.latest_parameter, look, database)
        yield from _current(database.current_parameter, look, database)
    if settings.hold_parameter:
        yield from _hold(settings.hold_parameter, look)


def _unusable(look: AcceptanceLook, name: str, value: str) -> Verdict | None:
    """Return what is wrong with a parameter whatever it holds; the fixes write the value."""
    found, create = look.parameters().get(name), _put(name, value, overwrite=value != PLACEHOLDER)
    if found is None:
        fix = look.deploy if look.is_new else create
        return problem("does not exist", fix)
    if found["Type"] == "String":
        return None
    unread = "which neither this application nor CloudFormation reads as text"
    return problem(
        f"is a {found['Type']}, {unread}; recreating it loses its history",
        f"aws ssm delete-parameter --name {name} && {create}",
    )


@check("parameter")
def _pipeline_name(name: str, look: AcceptanceLook) -> Verdict:
    if unusable := _unusable(look, name, look.stage.pipeline):
        return unusable
    if wrong := pipeline_problem(look.stage.settings, look.values):
        return problem(str(wrong), _put(name, look.stage.pipeline))
    return ok(f"holds {look.values[name].value}")


@check("parameter")
def _latest(name: str, look: AcceptanceLook, database: Database) -> Verdict:
    if unusable := _unusable(look, name, PLACEHOLDER):
        return unusable
    value = look.values[name].value
    if value == PLACEHOLDER:
        settings = look.stage.settings
        at = due(look.stage, settings.update_schedule, settings.next_update(look.now))
        return warning(
            f"holds the placeholder {value!r}: no snapshot has been recorded yet",
            f"nothing before the first update: {at}",
        )
    if arn_of(value) is None:
        return problem(_no_arn(value), _put(name, PLACEHOLDER))
    found = look.candidate(database)
    if isinstance(found, Snapshot):
        return ok(f"{value}, {hours(found.age(look.now))} hours old")
    newest, fix = _restorable(look, database), found.reason.next_step
    if newest and newest.arn != value and not database.copy_policy and not _is_stale(look, newest):
        fix = _put(name, newest.arn)
    judge = warning if found.reason == Reason.COPY_PENDING else problem
    return judge(f"the schedule would not promote it: {found}", fix)


@check("parameter")
def _current(name: str, look: AcceptanceLook, database: Database) -> Verdict:
    stage, share, deployed = look.stage, _restorable(look, database), _deployed(look, database)
    newest = share.arn if share else None
    wanted = deployed or newest
    if unusable := _unusable(look, name, wanted or PLACEHOLDER):
        if name not in look.values and look.is_new:
            return unusable  # `aurora-refresh deploy` creates it
        return unusable._replace(fix=_moving(wanted, deployed, unusable.fix))
    value = look.values[name].value
    if value == deployed:
        wanted = newest
    fix = _moving(wanted, deployed, _put(name, str(wanted)))
    if wanted and wanted != deployed:
        fix = f"pin one of production's snapshots, in aurora-refresh console --stage {stage.name} or by hand; {fix}"
    if value == PLACEHOLDER:
        seen = f"holds the placeholder {value!r}, which the main pipeline cannot restore"
        if deployed:
            return problem(seen, fix)
        before = "nothing if the pipeline does not run before the first refresh"
        return warning(seen, f"{before}; otherwise {fix}")
    if foreign := _foreign(stage, database, value):
        return problem(foreign, fix)
    snapshot = look.present(database, value)
    if snapshot is None:
        return warning(
            f"{value} no longer exists, or is no longer shared: it cannot be restored again",
            f"nothing if a refresh comes before the next change of the pipeline's template; otherwise {fix}",
        )
    if broken := pin_rejection(snapshot, database.criteria):
        return problem(f"{value}: {broken.detail}", fix)
    return ok(f"{value}, {hours(snapshot.age(look.now))} hours old")


def _deployed(look: AcceptanceLook, database: Database) -> str | None:
    """Return what is deployed, as far as that can be seen; without *current*, its stack still tells."""
    deployment = known(look.deployment, database) or Deployment()
    if deployment.unknown or deployment.value:
        return arn_of(deployment.value)
    stack = known(look.deployed_stack, database)
    return arn_of(stack.value_of(database.current_parameter)) if stack else None


def _foreign(stage: AcceptanceStage, database: Database, value: str) -> str | None:
    """Return why the value names no snapshot that the main pipeline may restore."""
    arn, production = SnapshotArn.parse(value), database.criteria.account
    if arn is None:
        return f"{_no_arn(value)}; the next run would read it"
    if arn.account not in (production, stage.account):
        stranger = "the next run of the pipeline would restore a stranger's data"
        return f"{value} is of account {arn.account}, production is {production}: {stranger}"
    if arn.region != stage.region:
        return f"{value} is in {arn.region}, but the main pipeline restores in {stage.region}"
    return None


@check("parameter")
def _hold(name: str, look: AcceptanceLook) -> Verdict:
    if name not in look.parameters():
        return ok("does not exist: no hold")
    if unusable := _unusable(look, name, PLACEHOLDER):
        return unusable
    lift = _put(name, PLACEHOLDER)
    try:
        hold = hold_today(look.stage.settings, look.values, look.now)
    except ValueError as error:
        return problem(str(error), lift)
    if hold:
        fix = f"if it is still needed, do nothing; otherwise {lift}"
        return warning(f"on hold until {hold.until} by {hold.by}: {hold.reason}", fix)
    return ok("no hold")


def _moving(wanted: str | None, deployed: str | None, command: str | None) -> str:
    """Return how to fix *current* by a command that writes the wanted value, if there is one."""
    if wanted is None:
        # Not the placeholder, which would fail the pipeline's next run.
        return (
            "have production share a snapshot that can be restored here first (see share and key), and run the "
            "doctor again"
        )
    if wanted == deployed:
        return f"this writes what is deployed to current, so that nothing is restored: {command}"
    next_run = "the next run of the pipeline, whoever starts it,"
    return f"{next_run} restores what this writes to current: {command}"


def _put(name: str, value: str, *, overwrite: bool = True) -> str:
    over = " --overwrite" if overwrite else ""
    return f"aws ssm put-parameter --name {name} --type String --value {quote(value)}{over}"


def _no_arn(value: str) -> str:
    return f"holds {hidden(value)}, not the ARN of a DB cluster snapshot"


def _restorable(look: AcceptanceLook, database: Database) -> Snapshot | None:
    """Return a snapshot to replace a wrong one: what *latest* names, or the newest readable share."""
    if snapshot_of(look.values, database.latest_parameter):
        candidate = known(look.candidate, database)
        if isinstance(candidate, Snapshot):
            return candidate
    if look.stage.settings.source_region:
        return None  # a share of another Region can only be copied
    return known(_readable_share, look, database)


def _readable_share(look: AcceptanceLook, database: Database) -> Snapshot | None:
    newest = look.shares()[database.name].newest
    if isinstance(newest, Refused):
        return None
    arn = look.share_key(newest)
    key = look.key(arn) if arn else None
    return newest if arn is None or (key and key["KeyManager"] != "AWS") else None


def _is_stale(look: AcceptanceLook, snapshot: Snapshot) -> bool:
    limit = look.stage.settings.max_age
    return limit is not None and snapshot.age(look.now) > limit


# --- the main pipeline ----------------------------------------------------------------------------


def pipeline(look: AcceptanceLook) -> Iterator[Check]:
    """Check that the main pipeline exists and may be started, its mode and its runs."""
    for name in look.pipeline_names:
        yield from _pipeline(name, look)
    if look.existing_pipeline:
        yield from _runs("runs", look, look.existing_pipeline[0])


@check("pipeline")
def _pipeline(name: str, look: AcceptanceLook) -> Verdict:
    stage, body = look.stage, look.pipeline(name)
    own, parameter = stage.pipeline, stage.settings.pipeline_parameter
    holds, put = f"{parameter} holds {name!r}", _put(parameter, own)
    if body is None and name != own:
        return problem(f"does not exist in {stage.region}, but {holds}", put)
    if body is None:
        fix = to_change(stage.name, "MAIN_PIPELINE_ARN=… with the ARN of the existing pipeline")
        return problem(f"does not exist in {stage.region}, but the stage's policies name it", fix)
    if name != own:
        arn = f"{stage.pipeline_arn.removesuffix(own)}{name}"
        fix = f"{put}; or {to_change(stage.name, f'MAIN_PIPELINE_ARN={arn}')}"
        return problem(f"{holds}, but the functions may start only {own}", fix)
    mode = body.get("executionMode", "SUPERSEDED")
    if mode == "PARALLEL":
        return problem(
            "its execution mode is PARALLEL: two runs may restore at once",
            f"aws codepipeline get-pipeline --name {name} --query '{{pipeline: pipeline}}' > pipeline.json, set "
            '"executionMode": "SUPERSEDED" there, and aws codepipeline update-pipeline --cli-input-json '
            "file://pipeline.json",
        )
    return ok(f"exists, with execution mode {mode}")


@check("pipeline")
def _runs(_subject: str, look: AcceptanceLook, name: str) -> Iterator[Verdict]:
    """Judge the last run, and earlier ones that are in progress for long: no refresh starts beside them."""
    runs = look.runs()
    if not runs:
        yield ok("none yet")
    for run in runs:
        since = run.started if run.in_progress else run.updated
        seen = f"{run.execution_id}: {run.status} since {when(look.stage, since)}"
        if run.in_progress and look.now - run.started > LONG_RUN:
            state = f"aws codepipeline get-pipeline-state --name {name}"
            yield warning(seen, f"see where it waits: {state}")
        elif run == runs[0] and run.status in ("Failed", "Stopped", "Cancelled"):
            yield warning(
                seen,
                f"see why: aws codepipeline list-action-executions --pipeline-name {name} --filter "
                f"pipelineExecutionId={run.execution_id}",
            )
        elif run == runs[0]:
            yield ok(seen)


# --- shares and keys ------------------------------------------------------------------------------


def shares(look: AcceptanceLook) -> Iterator[Check]:
    """Check production's shares, and the key of the newest eligible one."""
    for database in look.stage.settings.databases:
        yield from _choice(database.name, look, database)
        if seen := (known(look.shares) or {}).get(database.name):
            if isinstance(seen.newest, Snapshot):
                arn = known(look.share_key, seen.newest) or seen.newest.arn
                yield from _key(arn, look, seen.newest)
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


@check("share")
def _choice(_name: str, look: AcceptanceLook, database: Database) -> Verdict:
    seen, limit = look.shares()[database.name], look.stage.settings.max_age
    if isinstance(seen.newest, Refused):
        why = str(seen.newest).removeprefix(f"{database.name}: ")
        return problem(why, _share(look.stage, database, seen))
    rejected = dict(seen.choice.rejected)
    counts = ", ".join(f"{count} for {reason}" for reason, count in sorted(rejected.items()))
    eligible = seen.total - sum(rejected.values())
    summary = f"{eligible} of {seen.total} shares are eligible; rejected: {counts or 'none'}"
    age = hours(seen.newest.age(look.now))
    summary = f"{seen.newest.arn}, {age} hours old, is the newest; {summary}"
    if limit and _is_stale(look, seen.newest):
        stale = f"{summary}; the schedule promotes nothing older than {limit.days} days"
        return problem(stale, Reason.SNAPSHOT_STALE.next_step)
    return ok(summary)


def _share(stage: AcceptanceStage, database: Database, seen: Shares) -> str:
    """Return how to make one of the shares eligible."""
    if seen.choice.ambiguous:
        cluster, *others = sorted(seen.choice.clusters)
        answer = f"{database.setting('SOURCE_CLUSTER')}={cluster} (or {', '.join(others)})"
        return to_change(stage.name, answer)
    if seen.total == seen.choice.rejected.get("account", 0):
        return (
            f"in production ({database.criteria.account}): aws rds modify-db-cluster-snapshot-attribute "
            "--db-cluster-snapshot-identifier … --attribute-name restore --values-to-add "
            f"{stage.account}"
        )
    settings = {"engine": "ENGINE", "version": "ENGINE_VERSION", "cluster": "SOURCE_CLUSTER"}
    wrong = [name for reason, name in settings.items() if reason in seen.choice.rejected]
    if not wrong:
        return Reason.NO_ELIGIBLE_SNAPSHOT.next_step
    change = to_change(stage.name, " ".join(f"{database.setting(name)}=…" for name in wrong))
    return f"if the stage's settings are wrong: {change}; otherwise share the right ones"


@check("key")
def _key(arn: str, look: AcceptanceLook, newest: Snapshot) -> Verdict:
    """Judge the key of the newest share; without one, `arn` is the share's."""
    if look.share_key(newest) is None:
        return ok("is not encrypted, so no key is needed")
    stage, encrypts = look.stage, f"encrypts {newest.arn} and"
    in_production = f"in production ({newest.account})"
    again = (
        f"{in_production}: copy the snapshot under a customer-managed key (aws rds "
        "copy-db-cluster-snapshot --kms-key-id …) and share that"
    )
    default = f"{encrypts} is production's default key aws/rds, which no other account can use"
    if arn.endswith(":alias/aws/rds"):
        return problem(default, again)
    try:
        key = look.key(arn, stage.settings.source_region)
    except Unavailable as what:
        if not what.denied or any(each in what.why for each in _OWN_POLICIES):
            raise
        return problem(
            f"encrypts {newest.arn}, but its policy does not let account {stage.account} describe it: the "
            "snapshot can probably not be restored",
            f"{in_production}, add to the key's policy {_statements(stage)}; if it is the default key "
            f"aws/rds, which has no policy to change, {again}",
        )
    if key is None:
        return problem(f"{encrypts} no longer exists", again)
    if key["KeyManager"] == "AWS":
        return problem(default, again)
    if wrong := disabled({**key, "Arn": arn}, f"{encrypts} "):
        return wrong._replace(fix=f"{in_production}: {wrong.fix}")
    may = "this account may describe it; whether it may use it shows only at a restore or copy"
    return ok(f"encrypts {newest.arn}; customer-managed and enabled; {may}")


def copy_keys(look: AcceptanceLook) -> Iterator[Check]:
    """Check the keys of copies."""
    for database in look.stage.settings.databases:
        if database.copy_policy:
            setting = database.setting("COPY_KMS_KEY_ID")
            yield from check("copy key")(own_key)(database.copy_policy.key, look, setting)


def _statements(stage: AcceptanceStage) -> str:
    regions = dict.fromkeys((stage.settings.source_region or stage.region, stage.region))
    return json.dumps(key_statements(stage.partition, stage.account, regions))


def key_statements(partition: str, account: str, regions: Iterable[str]) -> list[dict[str, Any]]:
    """Return what production's key policy needs: see docs/production.md, which quotes it.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/USER_CopyDBClusterSnapshot.CrossAccount.html
    """
    allow = {"Effect": "Allow", "Principal": {"AWS": f"arn:{partition}:iam::{account}:root"}}
    used = ("CreateGrant", "Decrypt", "GenerateDataKey*", "ReEncrypt*")
    through_rds = {"kms:ViaService": [f"rds.{each}.amazonaws.com" for each in regions]}
    return [
        {
            "Sid": "AcceptanceRestoresSnapshots",
            **allow,
            "Action": [f"kms:{each}" for each in used],
            "Resource": "*",
            "Condition": {"StringEquals": through_rds},
        },
        {"Sid": "AcceptanceDescribesKey", **allow, "Action": "kms:DescribeKey", "Resource": "*"},
    ]
