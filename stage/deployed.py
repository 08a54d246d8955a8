"""Whether what ``make deploy`` makes is there, and is what the stage says now. Pure.

Functions and their roles, the schedules with their next real dates, the topic and who listens, the alarms.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from shlex import quote
from typing import Any

from chalicelib.domain.functions import FINAL_STATES, POLL
from chalicelib.usecases.promote import held
from stage import restapi
from stage.checks import OK, PROBLEM, WARNING, Check, unseen, when
from stage.config import Stage
from stage.facts import Facts, Function, Json, Role, Rule, Seen, Unseen, listed
from stage.policies import API, COPIES, FOLLOW, RESTORE, UPDATE, Policy, actions
from stage.stacks import AFTER, BEFORE, RETRIES, event_ages, stack_name

# Of what a promotion moves there must never be two at once.
ALONE = (RESTORE, FOLLOW)
# AWS keeps as many concurrent executions for functions that reserve none.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
_KEPT_UNRESERVED = 100
_SETTLED = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE")
_PATTERN = {
    "source": ["aws.codepipeline"],
    "detail-type": ["CodePipeline Pipeline Execution State Change"],
    "detail": {"state": list(FINAL_STATES)},
}


def own_stacks(stage: Stage, facts: Facts) -> Iterator[Check]:
    """The stacks around the functions; what they hold is looked at piece by piece."""
    for name, state in facts.own_stacks.items():
        if isinstance(state, Unseen):
            yield unseen("stack", name, state)
        elif state is None:
            told = "there is no such stack, which is right only where it would hold nothing"
            yield Check("stack", name, WARNING, told, f"make deploy STAGE={stage.name}")
        elif state in _SETTLED:
            yield Check("stack", name, OK, f"is {state}")
        elif state.endswith("_IN_PROGRESS"):
            told = "when it has come to its end, run the doctor again"
            yield Check("stack", name, WARNING, f"is {state}", told)
        else:
            yield Check("stack", name, PROBLEM, f"is {state}", f"make deploy STAGE={stage.name}")


def functions(
    stage: Stage, facts: Facts, wanted: Mapping[str, Mapping[str, Any]]
) -> Iterator[Check]:
    """The deployed functions; ``wanted`` is what each would be if it were deployed now."""
    deploy, ages = f"make deploy STAGE={stage.name}", event_ages(stage)
    for function, seen in facts.functions.items():
        configuration = seen.configuration
        if isinstance(configuration, Unseen):
            yield unseen("function", seen.name, configuration)
            continue
        if configuration is None:
            yield Check("function", seen.name, PROBLEM, "is not deployed", deploy)
            continue
        error = configuration.get("Environment", {}).get("Error")
        if error:
            blind = Unseen("kms:Decrypt", error.get("Message", ""), denied=True)
            yield unseen("function", f"{seen.name} settings", blind)
            continue
        yield from _configured(stage, seen, configuration, wanted[function])
        if function == API and seen.concurrency == 0:
            yield _stopped(seen, WARNING, f"aws lambda delete-function-concurrency {_named(seen)}")
        if function in ALONE:
            yield _alone(stage, function, seen, wanted[function])
        if function != API:
            yield _asynchronous(stage, seen, ages[function], _remake(stage, facts))
    if facts.unreserved is not None:
        yield _unreserved(facts.unreserved)


def _configured(
    stage: Stage, seen: Function, configuration: Json, wanted: Mapping[str, Any]
) -> Iterator[Check]:
    deploy = f"make deploy STAGE={stage.name}"
    wrong = [*_function(stage, configuration, wanted)]
    yield from (Check("function", seen.name, PROBLEM, each, deploy) for each in wrong)
    if not wrong:
        told = f"{configuration['Runtime']}, {configuration['MemorySize']} MB, {configuration['Timeout']} s"
        yield Check("function", seen.name, OK, f"is active, with the stage's settings: {told}")
    # Each deployment takes the runtime of its own Python: a newer one is a colleague's, and as good.
    if _version(configuration["Runtime"]) < _version(wanted["Runtime"]):
        told = f"its Runtime is {configuration['Runtime']}, older than {wanted['Runtime']}"
        fix = f"with {wanted['Runtime']} or newer: make setup, and then {deploy}"
        yield Check("function", f"{seen.name} runtime", WARNING, told, fix)


def _function(stage: Stage, configuration: Json, wanted: Mapping[str, Any]) -> Iterator[str]:
    if configuration["State"] != "Active":
        yield f"is {configuration['State']}: {configuration.get('StateReason', 'no reason given')}"
    if configuration.get("LastUpdateStatus", "Successful") != "Successful":
        reason = configuration.get("LastUpdateStatusReason", "no reason given")
        yield f"its last update is {configuration['LastUpdateStatus']}: {reason}"
    variables = {name: value for name, value in stage.variables.items() if value}
    there = configuration.get("Environment", {}).get("Variables", {})
    # Their values stay untold: somebody may have put a secret there.
    differing = sorted(
        name
        for name in variables.keys() | there.keys()
        if variables.get(name) != (there.get(name) or None)
    )
    if differing:
        yield f"was deployed with other settings than the stage has now: {', '.join(differing)}"
    for name in ("Architectures", "MemorySize", "Timeout"):
        if configuration[name] != wanted[name]:
            yield f"its {name} is {_shown(configuration[name])}, and would be {_shown(wanted[name])}"


def _version(runtime: str) -> tuple[int, ...]:
    """The Python of a runtime such as ``python3.11``."""
    return tuple(map(int, runtime.removeprefix("python").split(".")))


def _named(seen: Function) -> str:
    return f"--function-name {seen.name}"


def _stopped(seen: Function, status: str, start: str) -> Check:
    """A reservation of none is a person's doing: no deployment makes one."""
    told = "stopped by hand: its reserved concurrency is 0, so it never runs"
    fix = f"nothing while it is to stand still; to let it run again, {start}"
    return Check("function", f"{seen.name} concurrency", status, told, fix)


def _shown(value: Any) -> str:
    return ", ".join(map(str, listed(value)))


def _alone(stage: Stage, function: str, seen: Function, wanted: Mapping[str, Any]) -> Check:
    if isinstance(seen.concurrency, Unseen):
        return unseen("function", f"{seen.name} concurrency", seen.concurrency)
    if seen.concurrency == 1:
        return Check("function", f"{seen.name} concurrency", OK, "1 reserved: never two at once")
    if seen.concurrency == 0:
        return _stopped(seen, PROBLEM, _reserve(seen))
    there = "none" if seen.concurrency is None else str(seen.concurrency)
    told = f"reserved concurrency is {there}: two may move current at once"
    if wanted["reserved_concurrency"] != 1:
        fix = f'write "reserved_concurrency": 1 for {function} in .chalice/config.json, and then '
        fix += f"make deploy STAGE={stage.name}"
    else:
        fix = _reserve(seen)
    return Check("function", f"{seen.name} concurrency", PROBLEM, told, fix)


def _reserve(seen: Function) -> str:
    return f"aws lambda put-function-concurrency {_named(seen)} --reserved-concurrent-executions 1"


def _asynchronous(stage: Stage, seen: Function, oldest: timedelta, remake: str) -> Check:
    subject = f"{seen.name} retries"
    if isinstance(seen.asynchronous, Unseen):
        return unseen("function", subject, seen.asynchronous)
    if seen.asynchronous is None:
        told = "Lambda's defaults: events up to six hours old, and what fails for good is told to nobody"
        return Check("function", subject, WARNING, told, remake)
    destination = seen.asynchronous.get("DestinationConfig", {}).get("OnFailure", {})
    if stage.settings.topic_arn and destination.get("Destination") != stage.settings.topic_arn:
        told = "what fails for good is not told to the topic"
        return Check("function", subject, WARNING, told, remake)
    retries = seen.asynchronous.get("MaximumRetryAttempts", 2)
    age = seen.asynchronous.get("MaximumEventAgeInSeconds", 21_600)
    told = f"{retries} retries, of events up to {age} s old"
    wanted = f"{RETRIES} retries, of events up to {oldest.total_seconds():.0f} s old"
    if told != wanted:
        return Check("function", subject, WARNING, f"{told}; the stage wants {wanted}", remake)
    return Check("function", subject, OK, told)


def _unreserved(seen: Seen[int | None]) -> Check:
    if isinstance(seen, Unseen):
        return unseen("function", "concurrency of the account", seen)
    assert seen is not None
    if seen >= _KEPT_UNRESERVED + len(ALONE):
        return Check("function", "concurrency of the account", OK, f"{seen} unreserved")
    return Check(
        "function",
        "concurrency of the account",
        PROBLEM,
        f"{seen} executions are unreserved: {len(ALONE)} cannot be reserved, as AWS keeps {_KEPT_UNRESERVED}",
        "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
        "--desired-value 1000",
    )


def roles(stage: Stage, facts: Facts, wanted: Mapping[str, Policy]) -> Iterator[Check]:
    """Each role against what its function's code needs, and against what it was meant to be given."""
    for function, seen in facts.functions.items():
        if seen.role is not None:
            yield from _role(stage, seen.role, wanted[function])


def _role(stage: Stage, role: Role, wanted: Policy) -> Iterator[Check]:
    deploy = f"make deploy STAGE={stage.name}"
    grants = [
        (action, resource)
        for statement in wanted["Statement"]
        for action in actions(statement)
        for resource in listed(statement["Resource"])
    ]
    if isinstance(role.decisions, Unseen):
        yield unseen("role", role.name, role.decisions)
    else:
        refused = [each for each in grants if role.decisions.get(each) != "allowed"]
        if refused:
            told = ", ".join(
                f"{action} on {resource} ({role.decisions.get((action, resource), 'not told')})"
                for action, resource in refused
            )
            explicit = any(role.decisions.get(each) == "explicitDeny" for each in refused)
            yield Check(
                "role",
                role.name,
                PROBLEM,
                f"may not do what its function needs: {told}",
                "take away the Deny, or the boundary, that forbids it: aws iam simulate-principal-policy names it "
                "under MatchedStatements"
                if explicit
                else deploy,
            )
        else:
            yield Check(
                "role", role.name, OK, f"may do all {len(grants)} things that its function needs"
            )
    if isinstance(role.inline, Unseen):
        yield unseen("role", f"{role.name} policies", role.inline)
    elif role.inline != [wanted]:
        yield Check(
            "role",
            f"{role.name} policies",
            WARNING,
            "its inline policies are not what the stage's settings need, neither more nor less",
            deploy
            if len(role.inline) <= 1
            else f"delete what was added by hand: aws iam list-role-policies --role-name {role.name}; then "
            f"{deploy}",
        )
    if isinstance(role.attached, Unseen):
        yield unseen("role", f"{role.name} attached policies", role.attached)
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


def rest_api(stage: Stage, facts: Facts) -> Iterator[Check]:
    """The operators' API: one, if it is wanted, and none besides."""
    apis, name = facts.rest_apis, "REST API"
    if isinstance(apis, Unseen):
        yield unseen("API", name, apis)
    elif not stage.settings.pin_api_enabled:
        for api in apis:
            told = f"{api} is there, although PIN_API_ENABLED is false"
            yield Check("API", name, WARNING, told, restapi.deletion(api))
    elif not apis:
        yield Check("API", name, PROBLEM, "is not deployed", f"make deploy STAGE={stage.name}")
    elif len(apis) == 1:
        yield Check("API", name, OK, f"{apis[0]} leads to the stage's function, and no other does")
    else:
        yield Check(
            "API",
            name,
            WARNING,
            f"{', '.join(apis)} all lead to the stage's function: callers may use one that nothing updates",
            f"delete all but the one that {restapi.note_of(stage.name)} names where it is deployed from: "
            f"{restapi.deletion('…')}",
        )


def schedules(stage: Stage, facts: Facts) -> Iterator[Check]:
    """The rules that start the functions, with the next real dates."""
    settings = stage.settings
    hold = None
    try:
        hold = held(settings, facts.values, facts.now)
        restore = when(stage, settings.next_restore(facts.now, hold))
    except ValueError:
        restore = "never, while the hold cannot be read"
    if settings.restore_schedule.is_rate:
        restore = "by the rule's own count"
    update = when(stage, settings.next_update(facts.now))
    if settings.update_schedule.is_rate:
        update = "by the rule's own count"
    expressions = {
        UPDATE: (str(settings.update_schedule), f"next update {update}"),
        RESTORE: (str(settings.restore_schedule), f"next restore {restore}"),
        COPIES: (POLL, "looks after the copies"),
    }
    for function, rule in facts.rules.items():
        yield _rule(stage, rule, facts.functions[function], *expressions.get(function, ("", "")))


def _rule(stage: Stage, rule: Rule, function: Function, expression: str, told: str) -> Check:
    for seen, fix in _rule_problems(stage, rule, function, expression):
        return Check("schedule", rule.name, PROBLEM, seen, fix)
    for each in (rule.body, rule.targets, function.invokers):
        if isinstance(each, Unseen):
            return unseen("schedule", rule.name, each)
    enabled = f"enabled, {expression}; {told}" if expression else "enabled, for the ends of runs"
    return Check("schedule", rule.name, OK, enabled)


def _rule_problems(
    stage: Stage, rule: Rule, function: Function, expression: str
) -> Iterator[tuple[str, str]]:
    """What is wrong, with its fix, the first thing first; nothing of what was not seen."""
    deploy = f"make deploy STAGE={stage.name}"
    if rule.body is None:
        yield "there is no such rule", deploy
    if not isinstance(rule.body, dict):
        return
    if rule.body["State"] != "ENABLED":
        yield "is disabled", f"aws events enable-rule --name {rule.name}"
    there = rule.body.get("ScheduleExpression")
    if expression and there != expression:
        yield f"fires at {there}, and the stage says {expression}", deploy
    if not expression and json.loads(rule.body.get("EventPattern") or "{}") != _PATTERN:
        yield "does not take the ends of the pipeline's runs, or others besides", deploy
    if not isinstance(function.configuration, dict):
        return  # told already
    arn = function.configuration["FunctionArn"]
    if isinstance(rule.targets, list) and arn not in rule.targets:
        yield f"does not start {function.name}, but {', '.join(rule.targets) or 'nothing'}", deploy
    invokers = function.invokers
    if not isinstance(invokers, Unseen) and not _may_invoke(invokers, rule.body["Arn"]):
        yield f"is not permitted to start {function.name}", deploy


def _may_invoke(policy: str | None, rule: str) -> bool:
    """Whether the function's own policy lets EventBridge invoke it for that rule."""
    statements = json.loads(policy)["Statement"] if policy else []
    return any(
        each["Effect"] == "Allow"
        # Where anybody may, it is a mere "*".
        and each.get("Principal") == {"Service": "events.amazonaws.com"}
        and rule in each.get("Condition", {}).get("ArnLike", {}).values()
        for each in statements
    )


def topic(stage: Stage, facts: Facts) -> Iterator[Check]:
    """Whether anybody would hear of anything."""
    arn = stage.settings.topic_arn
    subscribe = f"aws sns subscribe --topic-arn {arn} --protocol email --notification-endpoint …"
    if arn is None or facts.topic is None:
        yield Check(
            "topic",
            "NOTIFICATION_TOPIC_ARN",
            WARNING,
            "is not set: nobody is told of a refresh that failed",
            f"make configure STAGE={stage.name} NOTIFICATION_TOPIC_ARN=arn:{stage.partition}:sns:{stage.region}:"
            f"{stage.account}:aurora-refresh, and then make deploy STAGE={stage.name} EMAIL=…",
        )
        return
    seen = facts.topic
    if isinstance(seen.body, Unseen):
        yield unseen("topic", arn, seen.body)
        return
    if seen.body is None:
        yield Check(
            "topic",
            arn,
            PROBLEM,
            "there is no such topic",
            f"make deploy STAGE={stage.name} EMAIL=…"
            if facts.own_stacks.get(stack_name(stage.name, BEFORE)) is None
            else f"aws sns create-topic --name {arn.rpartition(':')[2]} && {subscribe}",
        )
        return
    if isinstance(seen.subscriptions, Unseen):
        yield unseen("topic", arn, seen.subscriptions)
        return
    waiting = [
        each for each in seen.subscriptions if not each["SubscriptionArn"].startswith("arn:")
    ]
    confirmed = len(seen.subscriptions) - len(waiting)
    if confirmed:
        yield Check("topic", arn, OK, f"{confirmed} confirmed subscriptions")
    elif not waiting:
        yield Check("topic", arn, WARNING, "nobody has subscribed to it", subscribe)
    for each in waiting:
        yield Check(
            "topic",
            f"{each['Protocol']} {each['Endpoint']}",
            WARNING,
            f"has not confirmed the subscription to {arn}, and hears nothing",
            "follow the link in the message that AWS sent there; it is good for two days, after which "
            f"{subscribe.replace('…', quote(each['Endpoint']))} sends another",
        )


def alarms(stage: Stage, facts: Facts, names: Iterable[str]) -> Iterator[Check]:
    """The alarms that the stage is to have."""
    if isinstance(facts.alarms, Unseen):
        yield unseen("alarm", "all", facts.alarms)
        return
    for name in names:
        alarm = facts.alarms.get(name)
        if alarm is None:
            yield Check("alarm", name, PROBLEM, "there is no such alarm", _remake(stage, facts))
        elif alarm["StateValue"] == "ALARM" and name.endswith("-refresh-overdue"):
            told = f"rings: {alarm.get('StateReason', 'no reason given')}"
            fix = "nothing before the first night; afterwards see why the schedule did not start the restore"
            yield Check("alarm", name, WARNING, told, fix)
        elif alarm["StateValue"] == "ALARM":
            yield Check(
                "alarm",
                name,
                PROBLEM,
                f"rings: {alarm.get('StateReason', 'no reason given')}",
                f"see what happened: make console STAGE={stage.name}",
            )
        elif not alarm["ActionsEnabled"]:
            fix = f"aws cloudwatch enable-alarm-actions --alarm-names {name}"
            yield Check(
                "alarm", name, WARNING, "its actions are disabled: it would ring unheard", fix
            )
        elif stage.settings.topic_arn and stage.settings.topic_arn not in alarm["AlarmActions"]:
            yield Check("alarm", name, WARNING, "does not tell the topic", _remake(stage, facts))
        else:
            yield Check("alarm", name, OK, f"is there, and says {alarm['StateValue']}")


def _remake(stage: Stage, facts: Facts) -> str:
    """How to get back what a stack holds: CloudFormation does not miss what was changed or deleted from under it."""
    deploy, after = f"make deploy STAGE={stage.name}", stack_name(stage.name, AFTER)
    if not isinstance(facts.own_stacks.get(after), str):
        return deploy
    deleted = " && ".join(
        f"aws cloudformation {each} --stack-name {after}"
        for each in ("delete-stack", "wait stack-delete-complete")
    )
    return f"{deleted} && {deploy}"
