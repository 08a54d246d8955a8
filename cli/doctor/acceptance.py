"""Check an acceptance stage: parameters, main pipeline, shares, keys."""

import json
from collections.abc import Iterator
from shlex import quote

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.parameters import PLACEHOLDER, arn_of, snapshot_of, value_of, visible
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import span
from chalicelib.domain.snapshots import Snapshot, SnapshotArn, pin_rejection
from chalicelib.usecases.checks import hold_today, pipeline_problem
from cli.doctor.checks import Check, Verdict, check, due, ok, problem, unusable_key, warning
from cli.errors import DENIED
from cli.look import AcceptanceLook, known
from cli.policies import key_statements
from cli.stages import to_change

# A denial because of these says nothing about the key's policy.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
_OTHER_POLICIES = (
    "identity-based policy",
    "permissions boundary",
    "resource control policy",
    "service control policy",
    "session policy",
    "VPC endpoint policy",
)


def parameters(look: AcceptanceLook) -> Iterator[Check]:
    """Check that every parameter exists, and its value."""
    settings = look.stage.settings
    yield from _pipeline_name(settings.pipeline_parameter, look)
    for database in settings.databases:
        yield from _latest(database.latest_parameter, look, database)
        yield from _current(database.current_parameter, look, database)
    if settings.hold_parameter:
        yield from _hold(settings.hold_parameter, look)


@check("parameter")
def _pipeline_name(name: str, look: AcceptanceLook) -> Verdict:
    stage, put = look.stage, _put(name, look.stage.pipeline)
    if wrong := pipeline_problem(stage.settings, look.parameters()):
        return problem(str(wrong), put)
    if (value := look.values[name].value) != stage.pipeline:
        arn = f"{stage.pipeline_arn.removesuffix(stage.pipeline)}{value}"
        other = f"or, if that is right, {to_change(stage.name, f'MAIN_PIPELINE_ARN={arn}')}"
        seen = f"holds {value!r}, but the functions may start only {stage.pipeline}"
        return problem(seen, f"{put}; {other}")
    return ok(f"holds {value}")


@check("parameter")
def _latest(name: str, look: AcceptanceLook, database: Database) -> Verdict:
    value, put = value_of(look.parameters(), name), _put(name, PLACEHOLDER)
    if value is None:
        return problem("does not exist", look.deploy)
    if value == PLACEHOLDER:
        at = due(look.stage, look.stage.settings.updates, look.now)
        return warning(
            f"holds the placeholder {value!r}: no snapshot has been recorded yet",
            f"wait for the first update: {at}",
        )
    if arn_of(value) is None:
        return problem(_no_arn(value), put)
    try:
        found = look.candidate(database)
    except Refused as refused:
        judge = warning if refused.reason == Reason.COPY_PENDING else problem
        return judge(f"the schedule would not promote it: {refused}", refused.reason.next_step)
    return ok(f"{value}, {span(found.age(look.now))} old")


@check("parameter")
def _current(name: str, look: AcceptanceLook, database: Database) -> Verdict:
    value = value_of(look.parameters(), name)
    deployed = arn_of((known(look.deployment, database) or Deployment()).value)
    fix = _move(look, database, None if value == deployed else deployed)
    if value is None:
        return problem("does not exist", fix if deployed else look.deploy)
    if value == PLACEHOLDER:
        seen = f"holds the placeholder {value!r}, which the main pipeline cannot restore"
        if deployed:
            return problem(seen, fix)
        before = "do nothing if the pipeline does not run before the first refresh"
        return warning(seen, f"{before}; otherwise {fix}")
    arn = SnapshotArn.parse(value)
    if arn is None:
        return problem(f"{_no_arn(value)}; the next run reads it", fix)
    if not look.stage.may_restore(database, arn):
        seen = (
            f"{value} belongs to an unknown account or is in another Region: the next run reads it"
        )
        return problem(seen, fix)
    snapshot = look.present(database, value)
    if snapshot is None:
        return warning(
            f"{value} no longer exists, or is no longer shared: it cannot be restored again",
            f"do nothing if a refresh comes before the next change to the pipeline's template; otherwise {fix}",
        )
    if broken := pin_rejection(snapshot, database.criteria):
        return problem(f"{value}: {broken.detail}", fix)
    return ok(f"{value}, {span(snapshot.age(look.now))} old")


def _move(look: AcceptanceLook, database: Database, deployed: str | None) -> str:
    """Return how to correct *current*: write what is deployed, or else what *latest* holds."""
    name, latest = database.current_parameter, snapshot_of(look.values, database.latest_parameter)
    if deployed:
        return f"this writes what is deployed: {_put(name, deployed)}"
    if latest in (None, value_of(look.values, name)):
        # Not the placeholder, which would fail the pipeline's next run.
        return f"run the doctor again once {database.latest_parameter} names another snapshot"
    restores = "the pipeline's next run, whoever starts it, restores what this writes"
    return f"{restores}: {_put(name, latest)}"


@check("parameter")
def _hold(name: str, look: AcceptanceLook) -> Verdict:
    lift = _put(name, PLACEHOLDER)
    try:
        hold = hold_today(look.stage.settings, look.parameters(), look.now)
    except ValueError as error:
        return problem(str(error), lift)
    if hold:
        fix = f"if it is still needed, do nothing; otherwise {lift}"
        return warning(f"on hold until {hold.until} by {hold.by}: {hold.reason}", fix)
    return ok("no hold")


def _put(name: str, value: str) -> str:
    return f"aws ssm put-parameter --name {name} --type String --value {quote(value)} --overwrite"


def _no_arn(value: str) -> str:
    return f"holds {visible(value)}, not the ARN of a DB cluster snapshot"


@check("pipeline")
def pipeline(name: str, look: AcceptanceLook) -> Verdict:
    """Judge whether the main pipeline exists, and its mode."""
    body, stage = look.pipeline(name), look.stage
    if body is None:
        fix = to_change(stage.name, "MAIN_PIPELINE_ARN=… with the ARN of the existing pipeline")
        return problem(f"does not exist in {stage.region}", fix)
    mode = body.get("executionMode", "SUPERSEDED")
    if mode == "PARALLEL":
        return problem(
            "its execution mode is PARALLEL: two runs may restore at once",
            f"aws codepipeline get-pipeline --name {name} --query '{{pipeline: pipeline}}' > pipeline.json, set "
            '"executionMode": "SUPERSEDED" there, and aws codepipeline update-pipeline --cli-input-json '
            "file://pipeline.json",
        )
    return ok(f"exists, with execution mode {mode}")


def shares(look: AcceptanceLook) -> Iterator[Check]:
    """Check production's shares, and the key of the newest eligible one."""
    for database in look.stage.settings.databases:
        yield from _choice(database.name, look, database)
        if newest := known(look.newest, database):
            yield from _key(newest.arn, look, database, newest)


@check("share")
def _choice(_name: str, look: AcceptanceLook, database: Database) -> Verdict:
    stage, limit = look.stage, look.stage.settings.max_age
    try:
        newest = look.newest(database)
    except Refused as refused:
        settings = ("ENGINE", "ENGINE_VERSION", "SOURCE_CLUSTER")
        answers = " ".join(f"{database.setting(each)}=…" for each in settings)
        return problem(
            str(refused).removeprefix(f"{database.name}: "),
            f"if the stage's settings are wrong, {to_change(stage.name, answers)}; otherwise in production "
            f"({database.criteria.account}): aws rds modify-db-cluster-snapshot-attribute --attribute-name "
            f"restore --values-to-add {stage.account} --db-cluster-snapshot-identifier …",
        )
    age = newest.age(look.now)
    rejected = look.choices()[database.name].rejected
    counts = ", ".join(f"{count} for {reason}" for reason, count in sorted(rejected.items()))
    seen = f"{newest.arn}, {span(age)} old, is the newest; rejected: {counts or 'none'}"
    if limit and age > limit:
        stale = f"{seen}; the schedule promotes nothing older than {limit.days} days"
        return problem(stale, Reason.SNAPSHOT_STALE.next_step)
    return ok(seen)


@check("key")
def _key(_arn: str, look: AcceptanceLook, database: Database, newest: Snapshot) -> Verdict:
    """Judge the key of the newest share."""
    stage, production = look.stage, f"in production ({newest.account})"
    region, path = stage.settings.source_region, "DBClusterSnapshots[0].KmsKeyId"
    given = {"DBClusterSnapshotIdentifier": newest.arn, "IncludeShared": True}
    arn = look.one("rds:DescribeDBClusterSnapshots", path, region, **given)
    if arn is None:
        return ok("is not encrypted, so no key is needed")
    again = (
        "copy the snapshot under a customer-managed key (aws rds copy-db-cluster-snapshot --kms-key-id …) and share "
        "that"
    )
    try:
        key = look.key(arn, region)
    except AwsError as error:
        if error.code not in DENIED or any(each in error.message for each in _OTHER_POLICIES):
            raise
        regions = dict.fromkeys((region or stage.region, stage.region))
        statements = json.dumps(key_statements(stage.partition, stage.account, regions))
        return problem(
            f"the policy of its key {arn} does not let account {stage.account} describe it: it can probably not be "
            "restored",
            f"{production}, add to the key's policy {statements}; if it is the default key aws/rds, which "
            f"has no policy to change, {again}",
        )
    if wrong := unusable_key(key, again):
        seen, fix = f"its key {arn} {wrong.seen}", f"{production}: {wrong.fix}"
        return wrong._replace(seen=seen, fix=fix)
    if newest.engine == "neptune" and not database.copy_policy:
        # https://docs.aws.amazon.com/neptune/latest/userguide/backup-restore-share-snapshot.html
        seen = "is encrypted, and Neptune lets another account restore only a copy of it"
        return problem(seen, to_change(stage.name, f"{database.setting('COPY_KMS_KEY_ID')}=…"))
    may = "this account may describe it; only a restore or copy shows whether it may use it"
    return ok(f"its key {arn} is customer-managed and enabled; {may}")
