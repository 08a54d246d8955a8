"""Check what `aurora-refresh deploy` makes: stacks, functions and their roles, the API, schedules, alarms."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from chalicelib import settings
from chalicelib.domain.functions import (
    FOLLOW_SHARES,
    POLL,
    RECONCILE,
    RESTORE,
    SHARE,
    UPDATE,
)
from cli import restapi, stacks
from cli.cloudformation import LEFT_OVER, UPDATABLE, deletion, way_out
from cli.doctor.checks import (
    WARNING,
    Check,
    Verdict,
    check,
    due,
    ok,
    problem,
    unavailable,
    warning,
    when,
)
from cli.doctor.look import AcceptanceLook, Look, Unavailable, is_absent, known
from cli.policies import FUNCTIONS, Policy, file_name
from cli.stages import Json, ProductionStage, Stage, to_change

# Only one invocation at a time may move *current*, or share and delete.
SINGLE = tuple(name for name, entry in FUNCTIONS.items() if "reserved_concurrency" in entry)
# AWS keeps this many concurrent executions for functions that reserve none.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
_KEPT_UNRESERVED = 100
_DEFAULT_QUOTA = 1000  # of which a new account may have less

Look_ = Look[Stage]


@check("stack")
def stack(name: str, look: Look_) -> Verdict:
    """Judge a stack of `aurora-refresh package`; what is in it is checked one by one."""
    found, deploy = look.stack(name), look.deploy
    if found is None:
        return warning("does not exist, which is right only if it would be empty", deploy)
    status = found["StackStatus"]
    if status in UPDATABLE:
        return ok(f"is {status}")
    if status.endswith("_IN_PROGRESS") and status not in LEFT_OVER:
        return warning(f"is {status}", "run the doctor again once that operation has ended")
    return problem(f"is {status}", f"{way_out(name, status)} && {deploy}")


# --- functions and their roles ---------------------------------------------------------------------


class Wanted(NamedTuple):
    """What a function is to have; its `role` is None if Chalice makes one with the policy."""

    variables: Mapping[str, str]
    policy: Policy
    role: str | None = None


def functions(look: Look_, wanted: Mapping[str, Wanted]) -> Iterator[Check]:
    """Check the deployed functions and their roles."""
    for function, name in look.function_names.items():
        yield from _function(name, look, wanted[function])
        if known(look.function, name):
            yield from _concurrency(f"{name} concurrency", look, name, is_single=function in SINGLE)
    for function, name in look.function_names.items():
        if configuration := known(look.function, name):
            arn, given = configuration["Role"], wanted[function].role
            if given:
                yield from _given_role(given, look, function, arn)
            else:
                yield from _role(arn.rpartition("/")[2], look, wanted[function].policy)
    if any(is_absent(look.function, name) for name in look.function_names.values()):
        yield from unreserved("concurrency of the account", look)


@check("function")
def _function(name: str, look: Look_, wanted: Wanted) -> list[Verdict]:
    found = look.function(name)
    if found is None:
        return [problem("is not deployed", look.deploy)]
    facts = f"{found['Runtime']}, {found['MemorySize']} MB, {found['Timeout']} s"
    right = ok(f"is active, with the stage's settings: {facts}")
    return [*_wrong(look, found, wanted)] or [right]


def _wrong(look: Look_, found: Json, wanted: Wanted) -> Iterator[Verdict]:
    """Yield what is wrong with a function's state, and what differs from the stage.

    https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    """
    state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
    if state == "Pending" or update == "InProgress":
        yield warning("is still being changed", "run the doctor again once that has ended")
    elif (state, update) != ("Active", "Successful"):
        why = found.get("StateReason") or found.get("LastUpdateStatusReason") or "no reason given"
        yield problem(f"is {state}, and its last update is {update}: {why}", look.deploy)
    environment = found.get("Environment", {})
    if "Error" in environment:
        raise Unavailable("kms:Decrypt", environment["Error"].get("Message", ""), denied=True)
    differing = wanted.variables.items() ^ environment.get("Variables", {}).items()
    # Others may add variables of their own, such as those of a layer.
    ours = {*wanted.variables, *settings.names_of(look.stage.variables)}
    # Names only: somebody may have put a secret into a value. An empty one counts as not set.
    if names := sorted({name for name, value in differing if value and name in ours}):
        seen = f"was deployed with other settings than the stage's: {', '.join(names)}"
        yield problem(seen, look.deploy)


@check("function")
def _concurrency(_subject: str, look: Look_, name: str, *, is_single: bool) -> Verdict:
    path = "ReservedConcurrentExecutions"
    reserved = look.one("lambda:GetFunctionConcurrency", path, FunctionName=name)
    fix = f"aws lambda delete-function-concurrency --function-name {name}"
    if is_single:
        fix = f"aws lambda put-function-concurrency --function-name {name} --reserved-concurrent-executions 1"
    if reserved == 0:  # which only people make
        return problem("was stopped by hand: its reserved concurrency is 0, so it never runs", fix)
    if is_single and reserved != 1:
        seen = f"reserved concurrency is {reserved or 'none'}, so two may run at once"
        return problem(seen, fix)
    return ok(f"{reserved or 'none'} reserved")


@check("function")
def unreserved(_subject: str, look: Look_) -> Verdict:
    """Judge whether the account has the executions that functions which are missing reserve."""
    limit = look.one("lambda:GetAccountSettings", "AccountLimit")
    seen = limit["UnreservedConcurrentExecutions"]
    names = look.function_names
    wanted = sum(each in SINGLE and is_absent(look.function, names[each]) for each in names)
    lacking = _KEPT_UNRESERVED + wanted - seen
    if lacking <= 0:
        return ok(f"{seen} unreserved")
    return problem(
        f"{seen} executions are unreserved: {wanted} cannot be reserved, as AWS keeps {_KEPT_UNRESERVED}",
        "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
        f"--desired-value {max(_DEFAULT_QUOTA, limit['ConcurrentExecutions'] + lacking)}",
    )


@check("role")
def _role(name: str, look: Look_, wanted: Policy) -> Iterator[Verdict]:
    granted, path = look.statements(name), "Role.PermissionsBoundary.PermissionsBoundaryArn"
    lacking = [each["Sid"] for each in wanted["Statement"] if each not in granted]
    if lacking:
        seen = f"lacks statements that its function needs: {', '.join(lacking)}"
        yield problem(seen, look.deploy)
    else:
        yield ok("has the policy that the stage's settings need")
    if boundary := look.one("iam:GetRole", path, RoleName=name):
        seen = f"{boundary} limits the role: whether it allows what is needed is not checked"
        policies = f".chalice/policy-{look.stage.name}-*.json"
        yield warning(seen, f"compare that policy with the actions in {policies}")


@check("role")
def _given_role(role: str, look: Look_, function: str, runs_as: str) -> Verdict:
    name = look.function_names[function]
    if runs_as != role:
        return problem(f"is to be the role of {name}, which runs as {runs_as}", look.deploy)
    seen = f"is your own: whether it allows what {function} needs is not checked"
    fix = f"compare its policies with .chalice/{file_name(look.stage.name, function)}"
    return warning(seen, fix)


# --- the REST API ---------------------------------------------------------------------------------


@check("API")
def rest_api(_subject: str, look: AcceptanceLook) -> Verdict:
    """Check that there is one REST API if it is wanted, and none otherwise."""
    apis, is_wanted = look.rest_apis(), look.stage.settings.pin_api_enabled
    if is_wanted and not apis:
        return problem("is not deployed", look.deploy)
    if len(apis) > is_wanted:
        found = f"{', '.join(apis)} invoke the stage's function, which should have "
        fix = f"delete what is not used, for instance: {restapi.deletion(apis[-1])}"
        return warning(found + ("one API" if is_wanted else "none"), fix)
    return ok(", ".join(apis) or "none, as it is set")


# --- schedules ------------------------------------------------------------------------------------


def schedules(look: Look_) -> Iterator[Check]:
    """Check the rules that invoke the functions, and say when they fire next."""
    expressions = {RECONCILE: (POLL, ""), FOLLOW_SHARES: (POLL, "")}
    if isinstance(look, AcceptanceLook):
        expressions |= _expressions(look)
        yield from _missed_update(look)
    elif isinstance(look.stage, ProductionStage):
        expressions[SHARE] = (str(look.stage.settings.schedule.utc), "")
    for function, rule in stacks.rule_names(look.stage).items():
        name = look.function_names[function]
        yield from _rule(rule, look, name, *expressions.get(function, ("", "")))


def _missed_update(look: AcceptanceLook) -> Iterator[Check]:
    """Warn if the update that belongs to the next restore is skipped."""
    stage, settings = look.stage, look.stage.settings
    restore = settings.next_restore(look.now, None)
    if restore and (update := settings.skipped_update(restore)):
        seen = (
            f"the update of {when(stage, update)} is in an off-week, and so is skipped: the refresh of "
            f"{when(stage, restore)} restores what an earlier one has recorded"
        )
        anchor = f"REFRESH_ANCHOR_DATE={settings.window.date_of(update)}"
        yield Check("schedule", "UPDATE_SCHEDULE", WARNING, seen, to_change(stage.name, anchor))


def _expressions(look: AcceptanceLook) -> dict[str, tuple[str, str]]:
    """Return each schedule's expression and when it is due next, by function."""
    stage, settings = look.stage, look.stage.settings
    update = due(stage, settings.update_schedule, settings.next_update(look.now))
    restore = due(stage, settings.restore_schedule, settings.next_restore(look.now, None))
    return {
        UPDATE: (str(settings.update_schedule.utc), f"; next update {update}"),
        RESTORE: (str(settings.restore_schedule.utc), f"; next restore {restore}, unless on hold"),
    }


@check("schedule")
def _rule(name: str, look: Look_, function: str, expression: str, next_time: str) -> Verdict:
    deploy = look.deploy
    body = look.one("events:DescribeRule", "@", Name=name)
    if body is None:
        return problem("does not exist", deploy)
    if body["State"] != "ENABLED":
        return problem("is disabled", f"aws events enable-rule --name {name}")
    found = body.get("ScheduleExpression")
    if expression and found != expression:
        return problem(f"fires at {found} instead of {expression}", deploy)
    if configuration := known(look.function, function):  # otherwise reported already
        targets = look.all("events:ListTargetsByRule", "Targets[].Arn", Rule=name)
        if configuration["FunctionArn"] not in targets:
            instead = ", ".join(targets) or "nothing"
            return problem(f"invokes {instead} instead of {function}", deploy)
    return ok(f"enabled, {expression or 'for the ends of runs'}{next_time}")


# --- alarms ---------------------------------------------------------------------------------------


def alarms(look: Look_) -> Iterator[Check]:
    """Check the stage's alarms."""
    try:
        found = look.alarms()
    except Unavailable as what:
        yield Check("alarm", "all", *unavailable(what))
        return
    for name, alarm in found.items():
        yield from _alarm(name, look, alarm)


@check("alarm")
def _alarm(name: str, look: Look_, alarm: Json | None) -> Verdict:
    topic = look.stage.settings.topic_arn
    if alarm is None:
        return problem("does not exist", _remake(look))
    if alarm["StateValue"] == "ALARM":
        seen = f"is on: {alarm.get('StateReason', 'no reason given')}"
        if name.endswith("-overdue"):
            fix = "nothing before the first scheduled run; afterwards find out why the rule did not fire"
            return warning(seen, fix)
        return problem(
            seen, "see what happened in the functions' logs, or in an acceptance stage's status"
        )
    if not alarm.get("ActionsEnabled", True):
        fix = f"aws cloudwatch enable-alarm-actions --alarm-names {name}"
        return warning("its actions are disabled, so it would notify nobody", fix)
    is_silent = name.endswith(stacks.NOTIFICATION_ALARM)
    if topic not in (None, *alarm.get("AlarmActions", ())) and not is_silent:
        return warning("does not notify the topic", _remake(look))
    return ok(f"is {alarm['StateValue']}")


def _remake(look: Look_) -> str:
    """Return how to restore an alarm: CloudFormation would not notice changes by others."""
    after = stacks.stack_name(look.stage.name, stacks.AFTER)
    return f"{deletion(after)} && {look.deploy}" if look.packaged_stacks else look.deploy
