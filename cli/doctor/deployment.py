"""Check what `aurora-refresh deploy` makes: functions and roles, schedules, the topic, alarms."""

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from shlex import quote
from typing import Any

from chalicelib import settings
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
from chalicelib.usecases.checks import hold_today
from cli import restapi, stacks
from cli.cloudformation import LEFT_OVER, UPDATABLE, deletion, way_out
from cli.doctor.checks import (
    WARNING,
    Check,
    Verdict,
    check,
    disabled,
    due,
    ok,
    problem,
    unavailable,
    warning,
    when,
)
from cli.doctor.look import AcceptanceLook, Look, Unavailable, is_absent, known
from cli.policies import FUNCTIONS, USE_TOPIC_KEY, Policy, file_name
from cli.stages import AcceptanceStage, Json, ProductionStage, Stage, to_change

# Only one invocation at a time may move *current*, or share and delete.
SINGLE = tuple(name for name, entry in FUNCTIONS.items() if "reserved_concurrency" in entry)
# AWS keeps this many concurrent executions for functions that reserve none.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
_KEPT_UNRESERVED = 100
_DEFAULT_QUOTA = 1000  # of which a new account may have less
_PATTERN = {
    "source": ["aws.codepipeline"],
    "detail-type": ["CodePipeline Pipeline Execution State Change"],
    "detail": {"state": list(FINAL_STATES)},
}

_ALARMS = "cloudwatch.amazonaws.com"
# The operators of conditions that are evaluated.
_MATCHING = ("StringEquals", "StringLike", "ArnEquals", "ArnLike", "Bool")

Look_ = Look[Stage]
Entries = Mapping[str, Mapping[str, Any]]


@check("stage")
def undeployed(_name: str, look: Look_) -> Verdict:
    """Report a stage of which nothing is in the account."""
    seen = "has not been deployed: no function of it is in the account"
    return problem(seen, look.deploy)


def needed(look: Look_) -> Iterator[Check]:
    """Check what a first deployment needs and does not create."""
    yield from _unreserved("concurrency of the account", look)
    arn = stacks.own_topic(look.stage)
    if arn is None or not is_absent(look.topic, arn):
        yield from topic(look)
    yield from chat_topic(look)


def own_stacks(look: Look_) -> Iterator[Check]:
    """Check the stacks of a stage that was deployed from the templates of `aurora-refresh package`."""
    if look.is_packaged:
        for name in stacks.packaged_stacks(look.stage.name).values():
            yield from _stack(name, look)


@check("stack")
def _stack(name: str, look: Look_) -> Verdict:
    found, deploy = look.stack(name), look.deploy
    if found is None:
        return warning("does not exist, which is right only if it would be empty", deploy)
    status = found["StackStatus"]
    if status in UPDATABLE:
        return ok(f"is {status}")
    if status in LEFT_OVER:
        return problem(f"is {status}", deploy)
    if status.endswith("_IN_PROGRESS"):
        return warning(f"is {status}", "run the doctor again once that operation has ended")
    return problem(f"is {status}", f"{way_out(name, status)} && {deploy}")


# --- functions ------------------------------------------------------------------------------------


def functions(look: Look_, wanted: Entries) -> Iterator[Check]:
    """Check the deployed functions; `wanted` has what each would be if it were deployed now."""
    asynchronous = stacks.invocations(look.stage)
    for function, name in look.function_names.items():
        configuration = known(look.function, name)
        settings = (configuration or {}).get("Environment", {})
        if "Error" in settings:
            denied = Unavailable("kms:Decrypt", settings["Error"].get("Message", ""), denied=True)
            yield Check("function", f"{name} settings", *unavailable(denied))
            continue
        yield from _function(name, look, wanted[function])
        if configuration is None:
            continue
        yield from _runtime(f"{name} runtime", look, configuration, wanted[function])
        yield from _concurrency(f"{name} concurrency", look, function, wanted[function])
        if name in asynchronous:
            yield from _retries(f"{name} retries", look, asynchronous[name])
    if any(is_absent(look.function, name) for name in look.function_names.values()):
        yield from _unreserved("concurrency of the account", look)


@check("function")
def _function(name: str, look: Look_, wanted: Mapping[str, Any]) -> Iterator[Verdict]:
    found, deploy = look.function(name), look.deploy
    if found is None:
        yield problem("is not deployed", deploy)
        return
    wrong = [*_unready(name, found, deploy), *_wrong(look, found, wanted)]
    yield from wrong
    if not wrong:
        facts = f"{found['Runtime']}, {found['MemorySize']} MB, {found['Timeout']} s"
        yield ok(f"is active, with the stage's settings: {facts}")


def _unready(name: str, found: Json, deploy: str) -> Iterator[Verdict]:
    """Yield why Lambda would not run a function.

    https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
    """
    state, update = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
    if state == "Pending" or update == "InProgress":
        yield warning("is still being changed", "run the doctor again once that has ended")
    elif found.get("StateReasonCode") == "Idle":
        yield warning(
            "is Inactive, because it was idle in a VPC: its next invocation fails, and activates it",
            f"aws lambda invoke --function-name {name} /dev/null, which fails and activates it",
        )
    elif state != "Active":
        yield problem(f"is {state}: {found.get('StateReason', 'no reason given')}", deploy)
    elif update != "Successful":
        reason = found.get("LastUpdateStatusReason", "no reason given")
        yield problem(f"its last update is {update}: {reason}", deploy)


def _wrong(look: Look_, found: Json, wanted: Mapping[str, Any]) -> Iterator[Verdict]:
    there = found.get("Environment", {}).get("Variables", {})
    differing = wanted["Variables"].items() ^ there.items()
    # Others may add variables of their own, such as those of a layer.
    ours = {*wanted["Variables"], *settings.names_of(look.stage.variables)}
    # Names only: somebody may have put a secret into a value. An empty one counts as not set.
    if names := sorted({name for name, value in differing if value and name in ours}):
        seen = f"was deployed with other settings than the stage's: {', '.join(names)}"
        yield problem(seen, look.deploy)
    for name in ("Architectures", "MemorySize", "Timeout"):
        if found[name] != wanted[name]:
            is_, should = (", ".join(map(str, _list(each[name]))) for each in (found, wanted))
            seen = f"its {name} is {is_} instead of {should}"
            if name != "Architectures" and found[name] > wanted[name]:
                fix = f"if it is meant so, set it in .chalice/config.json too; {look.deploy} resets it"
                yield warning(seen, fix)
            else:
                yield problem(seen, look.deploy)


@check("function")
def _runtime(
    _subject: str, look: Look_, found: Json, wanted: Mapping[str, Any]
) -> Iterator[Verdict]:
    """Warn of an old runtime: a newer one is a colleague's, whose Python deployed it, and as good."""
    runtimes = (found["Runtime"], wanted["Runtime"])
    is_, oldest = ([*map(int, each.removeprefix("python").split("."))] for each in runtimes)
    if is_ < oldest:
        fix = f"with {runtimes[1]} or newer: make setup, and then {look.deploy}"
        yield warning(f"its Runtime is {runtimes[0]}, older than {runtimes[1]}", fix)


@check("function")
def _concurrency(
    _subject: str, look: Look_, function: str, wanted: Mapping[str, Any]
) -> Iterator[Verdict]:
    name = look.function_names[function]
    path = "ReservedConcurrentExecutions"
    reserved = look.one("lambda:GetFunctionConcurrency", path, FunctionName=name)
    reserve = f"aws lambda put-function-concurrency --function-name {name} --reserved-concurrent-executions 1"
    if reserved == 0:  # which only people make
        seen = "was stopped by hand: its reserved concurrency is 0, so it never runs"
        free = f"aws lambda delete-function-concurrency --function-name {name}"
        judge = warning if function == API else problem
        start = reserve if function in SINGLE else free
        yield judge(seen, f"if that is still needed, do nothing; otherwise {start}")
    elif function not in SINGLE:
        return
    elif reserved == 1:
        yield ok("1 reserved: only one runs at a time")
    else:
        seen = f"reserved concurrency is {reserved or 'none'}, so two may run at once"
        entry = f'"reserved_concurrency": 1 for {function} in .chalice/config.json'
        is_wanted = wanted["reserved_concurrency"] == 1
        fix = reserve if is_wanted else f"set {entry}, and then {look.deploy}"
        yield problem(seen, fix)


@check("function")
def _retries(_subject: str, look: Look_, wanted: Json) -> Verdict:
    topic, remake = _topic_of_lost_events(wanted), _remake(look)
    given = {"FunctionName": wanted["FunctionName"], "Qualifier": "$LATEST"}
    found = look.one("lambda:GetFunctionEventInvokeConfig", "@", **given)
    if found is None:
        seen = "Lambda's defaults: events up to six hours old, and no notification of lost events"
        return warning(seen, remake)
    if topic and _topic_of_lost_events(found) != topic:
        return warning("does not notify the topic of events that failed for good", remake)
    seen, right = (
        f"{each.get('MaximumRetryAttempts', 2)} retries, of events up to "
        f"{each.get('MaximumEventAgeInSeconds', 21_600)} s old"
        for each in (found, wanted)
    )
    return ok(seen) if seen == right else warning(f"{seen}, instead of {right}", remake)


def _topic_of_lost_events(given: Json) -> str | None:
    topic: str | None = given.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    return topic


@check("function")
def _unreserved(_subject: str, look: Look_) -> Verdict:
    limit = look.one("lambda:GetAccountSettings", "AccountLimit")
    seen = limit["UnreservedConcurrentExecutions"]
    # Functions that are deployed have their reservations.
    wanted = sum(
        function in SINGLE and is_absent(look.function, name)
        for function, name in look.function_names.items()
    )
    lacking = _KEPT_UNRESERVED + wanted - seen
    if lacking <= 0:
        return ok(f"{seen} unreserved")
    quota = max(_DEFAULT_QUOTA, limit["ConcurrentExecutions"] + lacking)
    return problem(
        f"{seen} executions are unreserved: {wanted} cannot be reserved, as AWS keeps {_KEPT_UNRESERVED}",
        "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
        f"--desired-value {quota}",
    )


# --- roles ----------------------------------------------------------------------------------------


def roles(look: Look_, wanted: Mapping[str, Policy], entries: Entries) -> Iterator[Check]:
    """Compare each role's policies with the one that its function needs.

    A role that `manage_iam_role: false` gives to a function is only compared by its name.
    """
    for function, name in look.function_names.items():
        if configuration := known(look.function, name):
            arn, given = configuration["Role"], entries[function]["iam_role_arn"]
            role = arn.rpartition("/")[2]
            if given:
                yield from _given_role(look, function, arn, given)
                continue
            yield from _role(role, look, wanted[function])
            yield from _attached(f"{role} attached policies", look, role)
            yield from _bounded(f"{role} permissions boundary", look, role)


@check("role")
def _role(name: str, look: Look_, wanted: Policy) -> Verdict:
    deploy, inline = look.deploy, look.policies(name)
    statements = [each for policy in inline for each in _list(policy["Statement"])]
    lacking = [each["Sid"] for each in wanted["Statement"] if each not in statements]
    if lacking:
        return problem(f"lacks statements that its function needs: {', '.join(lacking)}", deploy)
    if inline != [wanted]:
        listed = f"aws iam list-role-policies --role-name {name}"
        fix = f"delete what was added by hand: {listed}; then {deploy}"
        return warning("its inline policies have more than the stage's settings need", fix)
    return ok("has the policy that the stage's settings need")


@check("role")
def _attached(_subject: str, look: Look_, role: str) -> Iterator[Verdict]:
    path = "AttachedPolicies[].PolicyArn"
    if attached := look.all("iam:ListAttachedRolePolicies", path, RoleName=role):
        detach = f"aws iam detach-role-policy --role-name {role} --policy-arn"
        seen = f"grants more than its function needs: {', '.join(attached)}"
        yield warning(seen, " && ".join(f"{detach} {arn}" for arn in attached))


@check("role")
def _bounded(_subject: str, look: Look_, role: str) -> Iterator[Verdict]:
    path = "Role.PermissionsBoundary.PermissionsBoundaryArn"
    if boundary := look.one("iam:GetRole", path, RoleName=role):
        seen = f"{boundary} limits the role: whether it allows what is needed is not checked"
        policies = f".chalice/policy-{look.stage.name}-*.json"
        yield warning(seen, f"compare that policy with the actions in {policies}")


def _given_role(look: Look_, function: str, runs_as: str, role: str) -> Iterator[Check]:
    if runs_as != role:
        seen = f"runs as {runs_as}, but .chalice/config.json says {role}"
        yield Check("role", look.function_names[function], *problem(seen, look.deploy))
    else:
        seen = f"is your own: whether it allows what {function} needs is not checked"
        fix = f"compare its policies with .chalice/{file_name(look.stage.name, function)}"
        yield Check("role", role, *warning(seen, fix))


# --- the REST API ---------------------------------------------------------------------------------


@check("API")
def rest_api(_subject: str, look: AcceptanceLook) -> Iterator[Verdict]:
    """Check the REST API: exactly one if it is wanted."""
    apis, stage = look.rest_apis(), look.stage
    if not stage.settings.pin_api_enabled:
        for api in apis:
            seen = f"{api} exists although PIN_API_ENABLED is false"
            yield warning(seen, restapi.deletion(api))
    elif not apis:
        yield problem("is not deployed", look.deploy)
    elif len(apis) == 1:
        yield ok(f"only {apis[0]} invokes the stage's function")
    else:
        record = f"the one that {restapi.record_of(stage.name)} names on the deploying machine"
        yield warning(
            f"{', '.join(apis)} all invoke the stage's function: callers may use one that nothing updates",
            f"delete all but {record}: {restapi.deletion('…')}",
        )


# --- schedules ------------------------------------------------------------------------------------


def schedules(look: Look_) -> Iterator[Check]:
    """Check the rules that invoke the functions, and say when they fire next."""
    if isinstance(look, AcceptanceLook):
        expressions = _expressions(look)
    else:
        assert isinstance(look.stage, ProductionStage)
        expressions = {
            SHARE: (str(look.stage.settings.schedule.utc), "takes snapshots"),
            FOLLOW_SHARES: (POLL, "shares and deletes them"),
        }
    for function, rule in stacks.rule_names(look.stage).items():
        name = look.function_names[function]
        yield from _rule(rule, look, name, *expressions.get(function, ("", "")))
    if isinstance(look, AcceptanceLook):
        yield from _missed_update(look)


def _missed_update(look: AcceptanceLook) -> Iterator[Check]:
    """Warn if a restore may not see the update that belongs to it."""
    stage, settings = look.stage, look.stage.settings
    restore = settings.next_restore(look.now, None)
    update = settings.skipped_update(restore) if restore else None
    if restore and update:
        seen = (
            f"the update of {when(stage, update)} is in an off-week, and so is skipped: the refresh of "
            f"{when(stage, restore)} restores what an earlier one has recorded"
        )
        anchor = f"REFRESH_ANCHOR_DATE={settings.window.date_of(update)}"
        yield Check("schedule", "UPDATE_SCHEDULE", WARNING, seen, to_change(stage.name, anchor))
    for day in (look.now.date() + timedelta(days=days) for days in range(366)):
        at = settings.update_schedule.fires_on(day)
        if len(at) == 1 and at[0] in settings.restore_schedule.fires_on(day):
            seen = f"is due in the same minute as RESTORE_SCHEDULE on {when(stage, at[0])}, and the restore may miss it"
            fix = f"give both the same time zone, or more time between them: {to_change(stage.name, 'UPDATE_SCHEDULE=…')}"
            yield Check("schedule", "UPDATE_SCHEDULE", WARNING, seen, fix)
            return


def _expressions(look: AcceptanceLook) -> dict[str, tuple[str, str]]:
    """Return each schedule's expression and what it does next, by function."""
    stage, settings, now = look.stage, look.stage.settings, look.now
    try:
        hold = hold_today(settings, look.values, now)
        restore = due(stage, settings.restore_schedule, settings.next_restore(now, hold))
    except ValueError:
        restore = "never, while the hold cannot be read"
    update = due(stage, settings.update_schedule, settings.next_update(now))
    return {
        UPDATE: (str(settings.update_schedule.utc), f"next update {update}"),
        RESTORE: (str(settings.restore_schedule.utc), f"next restore {restore}"),
        RECONCILE: (POLL, "looks at what is deployed"),
    }


@check("schedule")
def _rule(name: str, look: Look_, function: str, expression: str, purpose: str) -> Verdict:
    deploy = look.deploy
    body = look.one("events:DescribeRule", "@", Name=name)
    if body is None:
        return problem("does not exist", deploy)
    if body["State"] != "ENABLED":
        return problem("is disabled", f"aws events enable-rule --name {name}")
    found = body.get("ScheduleExpression")
    if expression and found != expression:
        return problem(f"fires at {found} instead of {expression}", deploy)
    if not expression and json.loads(body.get("EventPattern") or "{}") != _PATTERN:
        return problem("does not match exactly the ends of the pipeline's runs", deploy)
    if configuration := known(look.function, function):  # otherwise reported already
        targets = look.all("events:ListTargetsByRule", "Targets[].Arn", Rule=name)
        if configuration["FunctionArn"] not in targets:
            instead = ", ".join(targets) or "nothing"
            return problem(f"invokes {instead} instead of {function}", deploy)
        invokers = look.one("lambda:GetPolicy", "Policy", FunctionName=function)
        if not _may_invoke(invokers, body["Arn"]):
            return problem(f"is not allowed to invoke {function}", deploy)
    return ok(f"enabled, {f'{expression}; {purpose}' if expression else 'for the ends of runs'}")


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


# --- the topic, and alarms ------------------------------------------------------------------------


def topic(look: Look_) -> Iterator[Check]:
    """Check whether anybody receives notifications."""
    stage, arn = look.stage, look.stage.settings.topic_arn
    if arn is None:
        fix = to_change(stage.name, f"NOTIFICATION_TOPIC_ARN={stacks.proposed_topic(stage)}")
        lost = "alarms" if stage.settings.chat_topic_arn else "failures and alarms"
        unset = warning(f"is not set: {lost} notify nobody", f"{fix} EMAIL=…")
        yield Check("topic", "NOTIFICATION_TOPIC_ARN", *unset)
        return
    subscribe = f"aws sns subscribe --topic-arn {arn} --protocol email --notification-endpoint …"
    deploy = f"{look.deploy} EMAIL=…" if look.is_new else ""
    yield from _topic_and_subscribers(arn, look, subscribe, deploy)
    yield from _alarms_publish(arn, look)


def chat_topic(look: Look_) -> Iterator[Check]:
    """Check whether notifications reach a chat."""
    if arn := look.stage.settings.chat_topic_arn:
        select = f"select {arn} in the channel's configuration in Amazon Q Developer"
        yield from _topic_and_subscribers(arn, look, select)


def _topic_and_subscribers(
    arn: str, look: Look_, subscribe: str, deploy: str = ""
) -> Iterator[Check]:
    """Check a topic; `deploy` creates it with its subscription."""
    yield from _topic(arn, look, subscribe, deploy)
    for each in known(_subscriptions, look, arn) or ():
        if not each["SubscriptionArn"].startswith("arn:"):
            again = subscribe.replace("…", quote(each["Endpoint"]))
            silent = warning(
                f"has not confirmed the subscription to {arn}, and receives nothing",
                "click the link in the message that AWS sent; it is valid for two days, after which "
                f"this sends another: {again}",
            )
            if each["SubscriptionArn"] == "Deleted":  # listed for up to three days
                fix = f"nothing if that is meant so; otherwise {again}"
                silent = warning(f"has unsubscribed from {arn}", fix)
            yield Check("topic", f"{each['Protocol']} {each['Endpoint']}", *silent)


def _subscriptions(look: Look_, topic: str) -> list[Json]:
    """Return the topic's subscriptions, confirmed or not."""
    return look.all("sns:ListSubscriptionsByTopic", "Subscriptions[]", TopicArn=topic)


@check("topic")
def _topic(arn: str, look: Look_, subscribe: str, deploy: str) -> Iterator[Verdict]:
    if look.topic(arn) is None:
        create = f"aws sns create-topic --name {arn.rpartition(':')[2]}"
        yield problem("does not exist", deploy or f"{create}, and then {subscribe}")
        return
    subscriptions = _subscriptions(look, arn)
    confirmed = sum(each["SubscriptionArn"].startswith("arn:") for each in subscriptions)
    if confirmed:
        yield ok(f"{confirmed} confirmed subscriptions")
    elif not subscriptions:
        yield warning("has no subscriptions", subscribe)


@check("topic")
def _alarms_publish(arn: str, look: Look_) -> Iterator[Verdict]:
    """Judge whether the topic's own policy lets alarms publish; the one that AWS gives a topic does.

    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
    """
    stage, policy = look.stage, json.loads((known(look.topic, arn) or {}).get("Policy", "null"))
    facts = {f"aws:source{each}": stage.account for each in ("owner", "account")}
    facts |= {"aws:securetransport": "true", "aws:principalisawsservice": "true"}
    alarm = f"arn:{stage.partition}:cloudwatch:{stage.region}:{stage.account}:alarm:"
    arns = [f"{alarm}{name}".lower() for name in stacks.alarm_names(stage)] if policy else []
    found = {
        _may_use(policy, {_ALARMS}, ["sns:Publish"], facts | {"aws:sourcearn": each})
        for each in arns
    }
    if False in found:
        which = "no alarm" if found == {False} else "not every alarm"
        statement = {"Effect": "Allow", "Principal": {"Service": _ALARMS}}
        statement |= {"Action": "sns:Publish", "Resource": arn}
        yield problem(
            f"its policy does not let CloudWatch publish, so that {which} reaches it",
            f"remove what denies it from the topic's policy, and add: {json.dumps(statement)}",
        )
    elif None in found:
        yield warning(
            "conditions in its policy decide whether CloudWatch may publish: whether each alarm reaches it is not "
            "checked",
            f"compare them: aws sns get-topic-attributes --topic-arn {arn} --query Attributes.Policy",
        )


def topic_keys(look: Look_) -> Iterator[Check]:
    """Check that functions and alarms may use the keys that the topics are under."""
    settings = look.stage.settings
    for topic in filter(None, (settings.topic_arn, settings.chat_topic_arn)):
        if name := known(look.topic_key, topic):  # a topic that is not seen is reported already
            key = known(look.key, name)
            yield from _topic_key(key["Arn"] if key else name, look, topic, name)


@check("topic key")
def _topic_key(arn: str, look: Look_, topic: str, name: str) -> Verdict:
    stage, key = look.stage, look.key(name)
    replace_key = (
        f"aws sns set-topic-attributes --topic-arn {topic} --attribute-name KmsMasterKeyId "
        f"--attribute-value …, and then {to_change(stage.name)}"
    )
    if key is None:
        return problem(f"does not exist, so nothing can be published to {topic}", replace_key)
    if wrong := disabled(key):
        return wrong
    has_alarms = topic == stage.settings.topic_arn
    if key["KeyManager"] == "AWS":
        if not has_alarms:
            return ok("is managed by AWS, and functions may use it")
        no_alarm = f"so that no alarm reaches {topic}: use a customer-managed key"
        return problem(f"is managed by AWS, {no_alarm}", replace_key)
    if arn not in stage.topic_keys:
        return problem(f"the functions' roles may not use it for {topic}", to_change(stage.name))
    text = look.one("kms:GetKeyPolicy", "Policy", KeyId=arn, PolicyName="default")
    policy: Policy = json.loads(text or "{}")
    root = f"arn:{stage.partition}:iam::{stage.account}:root"
    # A policy names the account or each role.
    invoked = (look.function_names[each] for each in stacks.rule_names(stage))
    roles = {each["Role"] for name in invoked if (each := known(look.function, name))} or {root}
    users = [
        ("the account's roles", "notification", "AWS", {root, stage.account, each})
        for each in sorted(roles)
    ]
    if has_alarms:
        users.append(("CloudWatch", "alarm", "Service", {_ALARMS}))
    for who, what, kind, names in users:
        may = _may_use(policy, names, USE_TOPIC_KEY, {})
        if may is None:
            return warning(
                f"conditions in its policy decide whether {who} may use it: whether each {what} reaches {topic} is "
                "not checked",
                f"compare them: aws kms get-key-policy --key-id {arn} --policy-name default",
            )
        if not may:
            principal = {kind: root if kind == "AWS" else _ALARMS}
            statement = {"Effect": "Allow", "Principal": principal}
            statement |= {"Action": USE_TOPIC_KEY, "Resource": "*"}
            return problem(
                f"does not let {who} use it, so that no {what} reaches {topic}",
                f"remove what denies it from the key's policy, and add: {json.dumps(statement)}",
            )
    return ok(f"{'functions and alarms' if has_alarms else 'functions'} may use it for {topic}")


def _may_use(
    policy: Policy, names: Collection[str], actions: Collection[str], facts: Mapping[str, str]
) -> bool | None:
    """Return whether a resource's policy lets a principal do all that; None if its conditions decide.

    `facts` has the values of condition keys, all in lower case.
    """

    def is_meant(statement: Json) -> bool:
        named = statement.get("Principal", {})
        parts = [named] if isinstance(named, str) else named.values()
        listed = {each for part in parts for each in _list(part)}
        return "NotPrincipal" in statement or bool(listed & {"*", *names})

    def is_about(statement: Json, action: str) -> bool:
        patterns = _list(statement.get("Action", statement.get("NotAction")))
        matches = any(fnmatchcase(action, each.lower()) for each in patterns)
        return matches is ("Action" in statement)

    def is_met(statement: Json) -> bool | None:
        truths: list[bool | None] = [None] if "NotPrincipal" in statement else []
        for operator, tests in statement.get("Condition", {}).items():
            is_evaluated = operator.removesuffix("IfExists") in _MATCHING
            for key, values in tests.items():
                fact = facts.get(key.lower()) if is_evaluated else None
                found = any(fnmatchcase(str(fact), str(each).lower()) for each in _list(values))
                truths.append(found if fact else None)
        return False if False in truths else None if None in truths else True

    statements = [each for each in _list(policy.get("Statement", [])) if is_meant(each)]
    is_certain = []
    for action in actions:
        about = [each for each in statements if is_about(each, action.rstrip("*").lower())]
        allows, denies = (
            {is_met(each) for each in about if each["Effect"] == effect}
            for effect in ("Allow", "Deny")
        )
        if True in denies or not allows & {True, None}:
            return False
        is_certain.append(True in allows and None not in denies)
    return all(is_certain) or None


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
    stage, remake = look.stage, _remake(look)
    if alarm is None:
        return problem("does not exist", remake)
    if alarm["StateValue"] == "ALARM":
        seen = f"is on: {alarm.get('StateReason', 'no reason given')}"
        if name.endswith("-overdue"):
            fix = "nothing before the first scheduled run; afterwards find out why the rule did not fire"
            return warning(seen, fix)
        if isinstance(stage, AcceptanceStage):
            return problem(seen, f"see what happened: aurora-refresh console --stage {stage.name}")
        return problem(seen, "see the functions' logs")
    if not alarm.get("ActionsEnabled", True):
        fix = f"aws cloudwatch enable-alarm-actions --alarm-names {name}"
        return warning("its actions are disabled, so it would notify nobody", fix)
    is_silent = name.endswith(stacks.NOTIFICATION_ALARM)
    if stage.settings.topic_arn not in (None, *alarm.get("AlarmActions", ())) and not is_silent:
        return warning("does not notify the topic", remake)
    return ok(f"is {alarm['StateValue']}")


def _remake(look: Look_) -> str:
    """Return how to restore an alarm: CloudFormation would not notice changes by others."""
    after = stacks.stack_name(look.stage.name, stacks.AFTER)
    return f"{deletion(after)} && {look.deploy}" if look.is_packaged else look.deploy


def _list(value: Any) -> list[Any]:
    """Return a policy's value or list as a list."""
    return value if isinstance(value, list) else [value]
