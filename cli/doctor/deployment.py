"""Check what `aurora-refresh deploy` makes: functions and roles, schedules, the topic, alarms. Pure."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from shlex import quote
from typing import Any

from chalicelib.domain.functions import (
    API,
    FINAL_STATES,
    FOLLOW_SHARES,
    POLL,
    RECONCILE,
    RESTORE,
    SHARE,
    UPDATE,
)
from chalicelib.domain.parameters import Parameter
from chalicelib.usecases.checks import hold_today
from cli import restapi
from cli.doctor.checks import OK, PROBLEM, WARNING, Check, enable_key, unavailable, when
from cli.doctor.state import (
    AcceptanceState,
    Function,
    Observed,
    Role,
    Rule,
    State,
    TopicKey,
    Unavailable,
    listed,
)
from cli.policies import FUNCTIONS, USE_TOPIC_KEY, Policy, file_name
from cli.stacks import (
    AFTER,
    BEFORE,
    NOTIFICATION_ALARM,
    function_names,
    invocations,
    own_topic,
    proposed_topic,
    stack_name,
)
from cli.stages import AcceptanceStage, Json, Stage, to_change, to_deploy

# Only one invocation at a time may move *current*, or share and delete.
SINGLE = tuple(name for name, entry in FUNCTIONS.items() if "reserved_concurrency" in entry)
# AWS keeps this many concurrent executions for functions that reserve none.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
_KEPT_UNRESERVED = 100
_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
_PATTERN = {
    "source": ["aws.codepipeline"],
    "detail-type": ["CodePipeline Pipeline Execution State Change"],
    "detail": {"state": list(FINAL_STATES)},
}


def undeployed(stage: Stage) -> Check:
    """Report a stage of which nothing is in the account."""
    seen = "has not been deployed: no function and no stack of it is in the account"
    return Check("stage", stage.name, PROBLEM, seen, to_deploy(stage.name))


def needed(stage: Stage, state: State) -> Iterator[Check]:
    """Check what a first deployment needs and does not create."""
    if state.unreserved is not None:
        yield _unreserved(stage, state.unreserved)
    is_created = state.topic is not None and state.topic.body is None and own_topic(stage)
    if not is_created:
        yield from topic(stage, state)


def own_stacks(stage: Stage, state: State) -> Iterator[Check]:
    """Check the stacks around the functions; their resources are checked one by one."""
    for name, status in state.own_stacks.items():
        if isinstance(status, Unavailable):
            yield unavailable("stack", name, status)
        elif status is None:
            seen = "does not exist, which is right only if it would be empty"
            yield Check("stack", name, WARNING, seen, to_deploy(stage.name))
        elif status in _SETTLED:
            yield Check("stack", name, OK, f"is {status}")
        elif status.endswith("_IN_PROGRESS"):
            fix = "run the doctor again once that operation has ended"
            yield Check("stack", name, WARNING, f"is {status}", fix)
        else:
            yield Check("stack", name, PROBLEM, f"is {status}", to_deploy(stage.name))


def functions(
    stage: Stage, state: State, wanted: Mapping[str, Mapping[str, Any]]
) -> Iterator[Check]:
    """Check the deployed functions; `wanted` has what each would be if it were deployed now."""
    deploy = to_deploy(stage.name)
    asynchronous = invocations(stage)
    for function, seen in state.functions.items():
        configuration = seen.configuration
        if isinstance(configuration, Unavailable):
            yield unavailable("function", seen.name, configuration)
            continue
        if configuration is None:
            yield Check("function", seen.name, PROBLEM, "is not deployed", deploy)
            continue
        error = configuration.get("Environment", {}).get("Error")
        if error:
            denied = Unavailable("kms:Decrypt", error.get("Message", ""), denied=True)
            yield unavailable("function", f"{seen.name} settings", denied)
            continue
        yield from _configured(stage, seen, configuration, wanted[function])
        if function == API and seen.concurrency == 0:
            yield _stopped(seen, WARNING, f"aws lambda delete-function-concurrency {_named(seen)}")
        if function in SINGLE:
            yield _concurrency(stage, function, seen, wanted[function])
        if seen.name in asynchronous:
            yield _asynchronous(stage, seen, asynchronous[seen.name], _remake(stage, state))
    if state.unreserved is not None:
        yield _unreserved(stage, state.unreserved)


def _configured(
    stage: Stage, seen: Function, configuration: Json, wanted: Mapping[str, Any]
) -> Iterator[Check]:
    deploy = to_deploy(stage.name)
    wrong = [*_function(stage, configuration, wanted)]
    yield from (Check("function", seen.name, PROBLEM, each, deploy) for each in wrong)
    if not wrong:
        found = f"{configuration['Runtime']}, {configuration['MemorySize']} MB, {configuration['Timeout']} s"
        yield Check("function", seen.name, OK, f"is active, with the stage's settings: {found}")
    # Each deployment takes the runtime of its own Python: a newer one is a colleague's, and as good.
    if _version(configuration["Runtime"]) < _version(wanted["Runtime"]):
        found = f"its Runtime is {configuration['Runtime']}, older than {wanted['Runtime']}"
        fix = f"with {wanted['Runtime']} or newer: make setup, and then {deploy}"
        yield Check("function", f"{seen.name} runtime", WARNING, found, fix)


def _function(stage: Stage, configuration: Json, wanted: Mapping[str, Any]) -> Iterator[str]:
    if configuration["State"] != "Active":
        yield f"is {configuration['State']}: {configuration.get('StateReason', 'no reason given')}"
    if configuration.get("LastUpdateStatus", "Successful") != "Successful":
        reason = configuration.get("LastUpdateStatusReason", "no reason given")
        yield f"its last update is {configuration['LastUpdateStatus']}: {reason}"
    variables = {name: value for name, value in stage.variables.items() if value}
    there = configuration.get("Environment", {}).get("Variables", {})
    # Names only: somebody may have put a secret into a value.
    differing = sorted(
        name
        for name in variables.keys() | there.keys()
        if variables.get(name) != (there.get(name) or None)
    )
    if differing:
        yield f"was deployed with other settings than the stage's: {', '.join(differing)}"
    for name in ("Architectures", "MemorySize", "Timeout"):
        if configuration[name] != wanted[name]:
            yield f"its {name} is {_shown(configuration[name])} instead of {_shown(wanted[name])}"


def _version(runtime: str) -> tuple[int, ...]:
    """Return the Python version of a runtime such as `python3.11`."""
    return tuple(map(int, runtime.removeprefix("python").split(".")))


def _named(seen: Function) -> str:
    return f"--function-name {seen.name}"


def _stopped(seen: Function, status: str, start: str) -> Check:
    """Report a reservation of 0, which only people make."""
    found = "was stopped by hand: its reserved concurrency is 0, so it never runs"
    fix = f"nothing, if that is still wanted; otherwise {start}"
    return Check("function", f"{seen.name} concurrency", status, found, fix)


def _shown(value: Any) -> str:
    return ", ".join(map(str, listed(value)))


def _concurrency(stage: Stage, function: str, seen: Function, wanted: Mapping[str, Any]) -> Check:
    if isinstance(seen.concurrency, Unavailable):
        return unavailable("function", f"{seen.name} concurrency", seen.concurrency)
    if seen.concurrency == 1:
        return Check(
            "function", f"{seen.name} concurrency", OK, "1 reserved: only one runs at a time"
        )
    if seen.concurrency == 0:
        return _stopped(seen, PROBLEM, _reserve(seen))
    reserved = "none" if seen.concurrency is None else str(seen.concurrency)
    found = f"reserved concurrency is {reserved}, so two may run at once"
    if wanted["reserved_concurrency"] != 1:
        entry = f'"reserved_concurrency": 1 for {function} in .chalice/config.json'
        fix = f"set {entry}, and then {to_deploy(stage.name)}"
    else:
        fix = _reserve(seen)
    return Check("function", f"{seen.name} concurrency", PROBLEM, found, fix)


def _reserve(seen: Function) -> str:
    return f"aws lambda put-function-concurrency {_named(seen)} --reserved-concurrent-executions 1"


def _asynchronous(stage: Stage, seen: Function, wanted: Json, remake: str) -> Check:
    subject = f"{seen.name} retries"
    if isinstance(seen.asynchronous, Unavailable):
        return unavailable("function", subject, seen.asynchronous)
    if seen.asynchronous is None:
        found = "Lambda's defaults: events up to six hours old, and no notification of lost events"
        return Check("function", subject, WARNING, found, remake)
    destination = seen.asynchronous.get("DestinationConfig", {}).get("OnFailure", {})
    if stage.settings.topic_arn and destination.get("Destination") != stage.settings.topic_arn:
        found = "does not notify the topic of events that failed for good"
        return Check("function", subject, WARNING, found, remake)
    found, right = _retries(seen.asynchronous), _retries(wanted)
    if found != right:
        return Check("function", subject, WARNING, f"{found}, instead of {right}", remake)
    return Check("function", subject, OK, found)


def _retries(settings: Json) -> str:
    retries = settings.get("MaximumRetryAttempts", 2)
    age = settings.get("MaximumEventAgeInSeconds", 21_600)
    return f"{retries} retries, of events up to {age} s old"


def _unreserved(stage: Stage, seen: Observed[int | None]) -> Check:
    if isinstance(seen, Unavailable):
        return unavailable("function", "concurrency of the account", seen)
    assert seen is not None
    wanted = sum(function in SINGLE for function in function_names(stage))
    if seen >= _KEPT_UNRESERVED + wanted:
        return Check("function", "concurrency of the account", OK, f"{seen} unreserved")
    return Check(
        "function",
        "concurrency of the account",
        PROBLEM,
        f"{seen} executions are unreserved: {wanted} cannot be reserved, as AWS keeps {_KEPT_UNRESERVED}",
        "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
        "--desired-value 1000",
    )


def roles(stage: Stage, state: State, wanted: Mapping[str, Policy]) -> Iterator[Check]:
    """Compare each role's policies with the one that its function needs."""
    for function, seen in state.functions.items():
        if seen.role is not None:
            yield from _role(stage, seen.role, wanted[function])


def _role(stage: Stage, role: Role, wanted: Policy) -> Iterator[Check]:
    deploy = to_deploy(stage.name)
    if isinstance(role.inline, Unavailable):
        yield unavailable("role", role.name, role.inline)
    else:
        statements = [each for policy in role.inline for each in listed(policy["Statement"])]
        lacking = [each["Sid"] for each in wanted["Statement"] if each not in statements]
        if lacking:
            seen = f"lacks statements that its function needs: {', '.join(lacking)}"
            yield Check("role", role.name, PROBLEM, seen, deploy)
        elif role.inline != [wanted]:
            yield Check(
                "role",
                role.name,
                WARNING,
                "its inline policies have more than the stage's settings need",
                f"delete what was added by hand: aws iam list-role-policies --role-name {role.name}; then "
                f"{deploy}",
            )
        else:
            yield Check("role", role.name, OK, "has the policy that the stage's settings need")
    if isinstance(role.attached, Unavailable):
        yield unavailable("role", f"{role.name} attached policies", role.attached)
    elif role.attached:
        yield Check(
            "role",
            f"{role.name} attached policies",
            WARNING,
            f"grants more than its function needs: {', '.join(role.attached)}",
            " && ".join(
                f"aws iam detach-role-policy --role-name {role.name} --policy-arn {arn}"
                for arn in role.attached
            ),
        )


def rest_api(stage: AcceptanceStage, state: AcceptanceState) -> Iterator[Check]:
    """Check the REST API: exactly one if it is wanted."""
    apis, name = state.rest_apis, "REST API"
    if isinstance(apis, Unavailable):
        yield unavailable("API", name, apis)
    elif not stage.settings.pin_api_enabled:
        for api in apis:
            seen = f"{api} exists although PIN_API_ENABLED is false"
            yield Check("API", name, WARNING, seen, restapi.deletion(api))
    elif not apis:
        yield Check("API", name, PROBLEM, "is not deployed", to_deploy(stage.name))
    elif len(apis) == 1:
        yield Check("API", name, OK, f"only {apis[0]} invokes the stage's function")
    else:
        yield Check(
            "API",
            name,
            WARNING,
            f"{', '.join(apis)} all invoke the stage's function: callers may use one that nothing updates",
            f"delete all but the one that {restapi.record_of(stage.name)} names on the deploying machine: "
            f"{restapi.deletion('…')}",
        )


def schedules(stage: Stage, state: State, values: Mapping[str, Parameter]) -> Iterator[Check]:
    """Check the rules that invoke the functions, and say when they fire next."""
    expressions = (
        _expressions(stage, state.now, values)
        if isinstance(stage, AcceptanceStage)
        else {
            SHARE: (str(stage.settings.schedule.utc), "takes snapshots"),
            FOLLOW_SHARES: (POLL, "shares and deletes them"),
        }
    )
    for function, rule in state.rules.items():
        yield _rule(stage, rule, state.functions[function], *expressions.get(function, ("", "")))


def _expressions(
    stage: AcceptanceStage, now: datetime, values: Mapping[str, Parameter]
) -> dict[str, tuple[str, str]]:
    """Return each schedule's expression and what it does next, by function."""
    settings = stage.settings
    try:
        restore = when(stage, settings.next_restore(now, hold_today(settings, values, now)))
    except ValueError:
        restore = "never, while the hold cannot be read"
    if settings.restore_schedule.is_rate:
        restore = "unknown, because the rule counts by itself"
    update = when(stage, settings.next_update(now))
    if settings.update_schedule.is_rate:
        update = "unknown, because the rule counts by itself"
    return {
        UPDATE: (str(settings.update_schedule.utc), f"next update {update}"),
        RESTORE: (str(settings.restore_schedule.utc), f"next restore {restore}"),
        RECONCILE: (POLL, "looks at what is deployed"),
    }


def _rule(stage: Stage, rule: Rule, function: Function, expression: str, purpose: str) -> Check:
    for seen, fix in _rule_problems(stage, rule, function, expression):
        return Check("schedule", rule.name, PROBLEM, seen, fix)
    for each in (rule.body, rule.targets, function.invokers):
        if isinstance(each, Unavailable):
            return unavailable("schedule", rule.name, each)
    enabled = f"enabled, {expression}; {purpose}" if expression else "enabled, for the ends of runs"
    return Check("schedule", rule.name, OK, enabled)


def _rule_problems(
    stage: Stage, rule: Rule, function: Function, expression: str
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with its fix, the most important first; skip what is unavailable."""
    deploy = to_deploy(stage.name)
    if rule.body is None:
        yield "does not exist", deploy
    if not isinstance(rule.body, dict):
        return
    if rule.body["State"] != "ENABLED":
        yield "is disabled", f"aws events enable-rule --name {rule.name}"
    found = rule.body.get("ScheduleExpression")
    if expression and found != expression:
        yield f"fires at {found} instead of {expression}", deploy
    if not expression and json.loads(rule.body.get("EventPattern") or "{}") != _PATTERN:
        yield "does not match exactly the ends of the pipeline's runs", deploy
    if not isinstance(function.configuration, dict):
        return  # reported already
    arn = function.configuration["FunctionArn"]
    if isinstance(rule.targets, list) and arn not in rule.targets:
        yield f"invokes {', '.join(rule.targets) or 'nothing'} instead of {function.name}", deploy
    invokers = function.invokers
    if not isinstance(invokers, Unavailable) and not _may_invoke(invokers, rule.body["Arn"]):
        yield f"is not allowed to invoke {function.name}", deploy


def _may_invoke(policy: str | None, rule: str) -> bool:
    """Return whether the function's own policy lets EventBridge invoke it for that rule."""
    statements = json.loads(policy)["Statement"] if policy else []
    return any(
        each["Effect"] == "Allow"
        # "*" if everybody may.
        and each.get("Principal") == {"Service": "events.amazonaws.com"}
        and rule in each.get("Condition", {}).get("ArnLike", {}).values()
        for each in statements
    )


def topic(stage: Stage, state: State) -> Iterator[Check]:
    """Check whether anybody receives notifications."""
    arn = stage.settings.topic_arn
    subscribe = f"aws sns subscribe --topic-arn {arn} --protocol email --notification-endpoint …"
    if arn is None or state.topic is None:
        yield Check(
            "topic",
            "NOTIFICATION_TOPIC_ARN",
            WARNING,
            "is not set: failures notify nobody",
            f"{to_change(stage.name, f'NOTIFICATION_TOPIC_ARN={proposed_topic(stage)}')} EMAIL=…",
        )
        return
    seen = state.topic
    if isinstance(seen.body, Unavailable):
        yield unavailable("topic", arn, seen.body)
        return
    if seen.body is None:
        yield Check(
            "topic",
            arn,
            PROBLEM,
            "does not exist",
            f"{to_deploy(stage.name)} EMAIL=…"
            if state.own_stacks.get(stack_name(stage.name, BEFORE)) is None
            else f"aws sns create-topic --name {arn.rpartition(':')[2]} && {subscribe}",
        )
        return
    if isinstance(seen.subscriptions, Unavailable):
        yield unavailable("topic", arn, seen.subscriptions)
        return
    waiting = [
        each for each in seen.subscriptions if not each["SubscriptionArn"].startswith("arn:")
    ]
    confirmed = len(seen.subscriptions) - len(waiting)
    if confirmed:
        yield Check("topic", arn, OK, f"{confirmed} confirmed subscriptions")
    elif not waiting:
        yield Check("topic", arn, WARNING, "has no subscriptions", subscribe)
    for each in waiting:
        yield Check(
            "topic",
            f"{each['Protocol']} {each['Endpoint']}",
            WARNING,
            f"has not confirmed the subscription to {arn}, and receives nothing",
            "click the link in the message that AWS sent; it is valid for two days, after which "
            f"{subscribe.replace('…', quote(each['Endpoint']))} sends another",
        )


def topic_keys(stage: Stage, state: State) -> Iterator[Check]:
    """Check that functions and alarms may use the keys that the topics are under."""
    for topic, seen in state.topic_keys.items():
        if isinstance(seen, TopicKey):
            yield _topic_key(stage, topic, seen)
        elif seen is not None and topic != stage.settings.topic_arn:  # which is reported already
            yield unavailable("topic key", topic, seen)


def _topic_key(stage: Stage, topic: str, seen: TopicKey) -> Check:
    key = seen.body
    if isinstance(key, Unavailable):
        return unavailable("topic key", seen.name, key)
    replace_key = (
        f"aws sns set-topic-attributes --topic-arn {topic} --attribute-name KmsMasterKeyId "
        f"--attribute-value …, and then {to_change(stage.name)}"
    )
    if key is None:
        found = f"does not exist, so nothing can be published to {topic}"
        return Check("topic key", seen.name, PROBLEM, found, replace_key)
    arn, has_alarms = key["Arn"], topic == stage.settings.topic_arn
    if key["KeyState"] != "Enabled":
        return Check("topic key", arn, PROBLEM, f"is {key['KeyState']}", enable_key(arn))
    if key["KeyManager"] == "AWS":
        if has_alarms:
            found = (
                f"is managed by AWS, so that no alarm reaches {topic}: use a customer-managed key"
            )
            return Check("topic key", arn, PROBLEM, found, replace_key)
        return Check("topic key", arn, OK, "is managed by AWS, and functions may use it")
    if arn not in stage.topic_keys:
        found = f"the functions' roles may not use it for {topic}"
        return Check("topic key", arn, PROBLEM, found, to_change(stage.name))
    if isinstance(seen.policy, Unavailable):
        return unavailable("topic key", arn, seen.policy)
    lacking = [
        (who, principal)
        for who, principal in (
            ("the account's roles", {"AWS": f"arn:{stage.partition}:iam::{stage.account}:root"}),
            *([("CloudWatch", {"Service": "cloudwatch.amazonaws.com"})] if has_alarms else []),
        )
        if not _lets_use(seen.policy or {}, principal)
    ]
    if not lacking:
        users = "functions and alarms" if has_alarms else "functions"
        return Check("topic key", arn, OK, f"{users} may use it for {topic}")
    who, principal = lacking[0]
    what = "alarm" if who == "CloudWatch" else "notification"
    statement = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": USE_TOPIC_KEY,
        "Resource": "*",
    }
    return Check(
        "topic key",
        arn,
        PROBLEM,
        f"does not let {who} use it, so that no {what} reaches {topic}",
        f"add to the key's policy: {json.dumps(statement)}",
    )


def _lets_use(policy: Policy, principal: Mapping[str, str]) -> bool:
    """Return whether the key's policy lets the principal publish; conditions are not looked at."""
    ((kind, name),) = principal.items()

    def is_meant(statement: Json) -> bool:
        named = statement.get("Principal", {})
        return named == "*" or bool({name, "*"} & {*listed(named.get(kind, []))})

    allowed = [
        pattern
        for each in listed(policy.get("Statement", []))
        if each["Effect"] == "Allow" and is_meant(each)
        for pattern in listed(each.get("Action", []))
    ]
    return all(
        any(fnmatchcase(action.rstrip("*"), pattern) for pattern in allowed)
        for action in USE_TOPIC_KEY
    )


def alarms(stage: Stage, state: State, names: Iterable[str]) -> Iterator[Check]:
    """Check the stage's alarms."""
    if isinstance(state.alarms, Unavailable):
        yield unavailable("alarm", "all", state.alarms)
        return
    for name in names:
        alarm = state.alarms.get(name)
        if alarm is None:
            yield Check("alarm", name, PROBLEM, "does not exist", _remake(stage, state))
        elif alarm["StateValue"] == "ALARM" and name.endswith("-overdue"):
            seen = f"is on: {alarm.get('StateReason', 'no reason given')}"
            fix = "nothing before the first scheduled run; afterwards find out why the rule did not fire"
            yield Check("alarm", name, WARNING, seen, fix)
        elif alarm["StateValue"] == "ALARM":
            yield Check(
                "alarm",
                name,
                PROBLEM,
                f"is on: {alarm.get('StateReason', 'no reason given')}",
                f"see what happened: aurora-refresh console --stage {stage.name}"
                if isinstance(stage, AcceptanceStage)
                else "see the functions' logs",
            )
        elif not alarm["ActionsEnabled"]:
            fix = f"aws cloudwatch enable-alarm-actions --alarm-names {name}"
            yield Check(
                "alarm", name, WARNING, "its actions are disabled, so it would notify nobody", fix
            )
        elif (
            stage.settings.topic_arn
            and stage.settings.topic_arn not in alarm["AlarmActions"]
            and not name.endswith(NOTIFICATION_ALARM)
        ):
            yield Check("alarm", name, WARNING, "does not notify the topic", _remake(stage, state))
        else:
            yield Check("alarm", name, OK, f"is {alarm['StateValue']}")


def _remake(stage: Stage, state: State) -> str:
    """Return how to restore what the stack holds: CloudFormation does not notice changes by others."""
    deploy, after = to_deploy(stage.name), stack_name(stage.name, AFTER)
    if not isinstance(state.own_stacks.get(after), str):
        return deploy
    deleted = " && ".join(
        f"aws cloudformation {each} --stack-name {after}"
        for each in ("delete-stack", "wait stack-delete-complete")
    )
    return f"{deleted} && {deploy}"


def given_roles(stage: Stage, state: State, given: Mapping[str, str]) -> Iterator[Check]:
    """Check that functions run as the roles that `manage_iam_role: false` gives them."""
    for function, arn in given.items():
        seen = state.functions[function]
        if not isinstance(seen.configuration, dict):
            continue  # reported already
        if seen.configuration["Role"] != arn:
            found = f"runs as {seen.configuration['Role']}, but .chalice/config.json says {arn}"
            yield Check("role", seen.name, PROBLEM, found, to_deploy(stage.name))
        else:
            yield Check(
                "role",
                arn,
                WARNING,
                f"is your own: whether it allows what {function} needs is not checked",
                f"compare its policies with .chalice/{file_name(stage.name, function)}",
            )
