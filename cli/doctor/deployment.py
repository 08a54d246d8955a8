"""Check what `aurora-refresh deploy` makes: functions and their roles, the API, schedules, alarms."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from chalicelib import settings
from chalicelib.domain.errors import AwsError
from chalicelib.domain.functions import API, RESTORE, UPDATE
from chalicelib.domain.results import Json
from cli import stacks
from cli.doctor.checks import Check, Verdict, check, due, ok, problem, unavailable, warning
from cli.look import AcceptanceLook, Look, known
from cli.policies import FUNCTIONS, Policy, file_name
from cli.stages import AcceptanceStage

# Only one invocation at a time may move *current*, or share and delete.
SINGLE = tuple(name for name, entry in FUNCTIONS.items() if "reserved_concurrency" in entry)


class Wanted(NamedTuple):
    """What a function should have; its `role` is None if Chalice makes one with the policy."""

    variables: Mapping[str, str]
    policy: Policy
    role: str | None = None


def functions(look: Look, wanted: Mapping[str, Wanted]) -> Iterator[Check]:
    """Check the deployed functions and their roles."""
    shown = [known(look.function, name) for name in look.function_names.values()]
    if len({each["CodeSha256"] for each in shown if each and "CodeSha256" in each}) > 1:
        several = "differ in their code: a deployment did not finish, so their rules may contradict each other"
        yield Check("function", "all", *problem(several, look.deploy))
    for function, name in look.function_names.items():
        yield from _function(name, look, wanted[function])
        if configuration := known(look.function, name):
            yield from _concurrency(f"{name} concurrency", look, name, is_single=function in SINGLE)
            arn, given = configuration["Role"], wanted[function].role
            if given:
                yield from _given_role(given, look, function, arn)
            else:
                yield from _role(arn.rpartition("/")[2], look, wanted[function].policy)


@check("function")
def _function(name: str, look: Look, wanted: Wanted) -> Verdict:
    found = look.function(name)
    if found is None:
        return problem("is not deployed", look.deploy)
    if look.is_outdated(name):
        return problem("never runs: its handler is the first edition's", look.deploy)
    if found.get("State") == "Failed":
        reason = found.get("StateReason", "no reason given")
        return problem(f"cannot be invoked: {reason}", look.deploy)
    if found.get("LastUpdateStatus") == "Failed":
        reason = found.get("LastUpdateStatusReason", "no reason given")
        return problem(
            f"runs an older version, because its last update failed: {reason}", look.deploy
        )
    environment = found.get("Environment", {})
    if error := environment.get("Error"):
        raise AwsError("kms:Decrypt", name, error.get("ErrorCode", ""), error.get("Message", ""))
    differing = wanted.variables.items() ^ environment.get("Variables", {}).items()
    # Others may add variables of their own, such as those of a layer.
    ours = {*wanted.variables, *settings.names_of(look.stage.variables)}
    # Names only: somebody may have put a secret into a value. An empty one counts as not set.
    if names := sorted({name for name, value in differing if value and name in ours}):
        seen = f"was deployed with other settings than the stage's: {', '.join(names)}"
        return problem(seen, look.deploy)
    return ok("is deployed with the stage's settings")


@check("function")
def _concurrency(_subject: str, look: Look, name: str, *, is_single: bool) -> Verdict:
    path = "ReservedConcurrentExecutions"
    reserved = look.one("lambda:GetFunctionConcurrency", path, FunctionName=name)
    fix = f"aws lambda delete-function-concurrency --function-name {name}"
    if is_single:
        fix = f"aws lambda put-function-concurrency --function-name {name} --reserved-concurrent-executions 1"
    if reserved == 0:  # which only people set
        return problem("was stopped by hand: its reserved concurrency is 0, so it never runs", fix)
    if is_single and reserved != 1:
        seen = f"reserved concurrency is {reserved or 'none'}, so two may run at once"
        return problem(seen, fix)
    return ok(f"{reserved or 'none'} reserved")


@check("role")
def _role(name: str, look: Look, wanted: Policy) -> Iterator[Verdict]:
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
def _given_role(role: str, look: Look, function: str, runs_as: str) -> Verdict:
    name = look.function_names[function]
    if runs_as != role:
        return problem(f"should be the role of {name}, which runs as {runs_as}", look.deploy)
    seen = f"is your own: whether it allows what {function} needs is not checked"
    fix = f"compare its policies with .chalice/{file_name(look.stage.name, function)}"
    return warning(seen, fix)


@check("API")
def rest_api(_subject: str, look: AcceptanceLook) -> Verdict:
    """Check that there is one REST API if it is wanted, and none otherwise."""
    apis, is_wanted = look.rest_apis(), look.stage.settings.pin_api_enabled
    if is_wanted and not apis:
        return problem("is not deployed", look.deploy)
    if is_wanted and f":{apis[0]}/" not in look.invokers(look.function_names[API]):
        return problem(f"{apis[0]} has no permission to invoke its function", look.deploy)
    if is_wanted and not look.one("apigateway:GetStages", "item", restApiId=apis[0]):
        return problem(f"{apis[0]} has no stage, so it cannot be called", look.deploy)
    if len(apis) > is_wanted:
        found = f"the stage's function is invoked by {', '.join(apis)}, but should have "
        delete = f"aws apigateway delete-rest-api --rest-api-id {apis[-1]}"
        wanted = "one API" if is_wanted else "none"
        return warning(found + wanted, f"delete what is not used, for instance: {delete}")
    return ok(", ".join(apis) or "none, as configured")


def schedules(look: Look) -> Iterator[Check]:
    """Check the rules that invoke the functions, and say when they fire next."""
    stage = look.stage
    next_times = {}
    if isinstance(stage, AcceptanceStage):
        given = stage.settings
        update, restore = (due(stage, x, look.now) for x in (given.updates, given.restores))
        next_times[UPDATE] = f"; next update {update}"
        next_times[RESTORE] = f"; next restore {restore}, unless on hold"
    for function, rule in stage.settings.rules.items():
        name = look.function_names[function]
        expression = rule if isinstance(rule, str) else ""
        next_time = next_times.get(function, "")
        yield from _rule(stacks.rule_name(name), look, name, expression, next_time)


@check("schedule")
def _rule(name: str, look: Look, function: str, expression: str, next_time: str) -> Verdict:
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
        if f'"{body["Arn"]}"' not in look.invokers(function):
            return problem(f"has no permission to invoke {function}", deploy)
    return ok(f"enabled, {expression or 'on pipeline events'}{next_time}")


def alarms(look: Look) -> Iterator[Check]:
    """Check the stage's alarms."""
    try:
        found = look.alarms()
    except AwsError as error:
        yield Check("alarm", "all", *unavailable(error))
        return
    for name, wanted in stacks.alarms(look.stage).items():
        yield from _alarm(name, look, wanted, found.get(name))


@check("alarm")
def _alarm(name: str, look: Look, wanted: Json, alarm: Json | None) -> Verdict:
    if alarm is None:
        return problem("does not exist", look.deploy)
    topics = {*wanted.get("AlarmActions", [])}
    if lacking := ", ".join(topics.difference(alarm.get("AlarmActions", []))):
        return problem(f"does not notify {lacking}", look.deploy)
    if alarm["StateValue"] == "ALARM":
        seen = f"is on: {alarm.get('StateReason', 'no reason given')}"
        if name.endswith("-overdue"):
            fix = "wait for the first scheduled run; if it is past, find out why the rule did not fire"
            return warning(seen, fix)
        return problem(
            seen, "see what happened in the functions' logs, or in an acceptance stage's status"
        )
    if not alarm.get("ActionsEnabled", True):
        fix = f"aws cloudwatch enable-alarm-actions --alarm-names {name}"
        return warning("its actions are disabled, so it would notify nobody", fix)
    return ok(f"is {alarm['StateValue']}")
