"""Check the topics: whether they reach anybody, and whether functions and alarms may publish to them."""

import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

from cli import stacks
from cli.doctor.checks import Check, Verdict, check, disabled, ok, problem, warning
from cli.doctor.look import Look, known
from cli.policies import USE_TOPIC_KEY, Policy
from cli.stages import Json, Stage, to_change

_ALARMS = "cloudwatch.amazonaws.com"
_UNCERTAIN = {"Condition", "NotAction", "NotPrincipal"}  # keys of statements that are not evaluated

Look_ = Look[Stage]


def topics(look: Look_) -> Iterator[Check]:
    """Check that the topics and those who receive notifications are there."""
    stage, arn = look.stage, look.stage.settings.topic_arn
    if arn:
        subscribe = (
            f"aws sns subscribe --topic-arn {arn} --protocol email --notification-endpoint …"
        )
        yield from _topic(arn, look, subscribe)
        yield from _policy(arn, look)
    else:
        fix = to_change(stage.name, f"NOTIFICATION_TOPIC_ARN={stacks.proposed_topic(stage)}")
        unset = warning("is not set: alarms notify nobody", f"{fix} EMAIL=…")
        yield Check("topic", "NOTIFICATION_TOPIC_ARN", *unset)
    if chat := stage.settings.chat_topic_arn:
        select = f"select {chat} in the channel's configuration in Amazon Q Developer"
        yield from _topic(chat, look, select)


@check("topic")
def _topic(arn: str, look: Look_, subscribe: str) -> Iterator[Verdict]:
    if look.topic(arn) is None:
        create = f"aws sns create-topic --name {arn.rpartition(':')[2]}"
        yield problem("does not exist", f"{create}, and then {subscribe}")
        return
    subscriptions = look.all("sns:ListSubscriptionsByTopic", "Subscriptions[]", TopicArn=arn)
    for each in subscriptions:
        if each["SubscriptionArn"] == "PendingConfirmation":
            yield warning(
                f"{each['Endpoint']} has not confirmed the subscription, and receives nothing",
                "click the link in the message that AWS sent; it is valid for two days, after which this sends "
                f"another: {subscribe}",
            )
    if confirmed := sum(each["SubscriptionArn"].startswith("arn:") for each in subscriptions):
        yield ok(f"{confirmed} confirmed subscriptions")
    elif not subscriptions:
        yield warning("has no subscriptions", subscribe)


@check("topic")
def _policy(arn: str, look: Look_) -> Iterator[Verdict]:
    """Judge whether the topic's own policy lets alarms publish; the one that AWS gives a topic does.

    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
    """
    policy = json.loads((known(look.topic, arn) or {}).get("Policy", "null"))
    may = policy is None or _may_use(policy, {_ALARMS}, ["sns:Publish"], look.stage.account)
    if may is not True:
        principal = {"Service": _ALARMS}
        yield _refused(may, "CloudWatch", f"publish to {arn}", principal, ["sns:Publish"], arn)


def keys(look: Look_) -> Iterator[Check]:
    """Check that functions and alarms may use the keys that the topics are under."""
    settings = look.stage.settings
    for topic in filter(None, (settings.topic_arn, settings.chat_topic_arn)):
        if name := known(look.topic_key, topic):  # a topic that is not seen is reported already
            key = known(look.key, name)
            yield from _key(key["Arn"] if key else name, look, topic, name)


@check("topic key")
def _key(arn: str, look: Look_, topic: str, name: str) -> Verdict:
    stage, key = look.stage, look.key(name)
    has_alarms = topic == stage.settings.topic_arn
    replace_key = (
        f"aws sns set-topic-attributes --topic-arn {topic} --attribute-name KmsMasterKeyId "
        f"--attribute-value …, and then {to_change(stage.name)}"
    )
    if key is None:
        return problem(f"does not exist, so nothing can be published to {topic}", replace_key)
    if wrong := disabled(key):
        return wrong
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
    users = [("the account's roles", {"AWS": root}, {root, stage.account, each}) for each in roles]
    if has_alarms:
        users.append(("CloudWatch", {"Service": _ALARMS}, {_ALARMS}))
    for who, principal, names in users:
        may = _may_use(policy, names, USE_TOPIC_KEY)
        if may is not True:
            return _refused(may, who, f"use it for {topic}", principal, USE_TOPIC_KEY, "*")
    return ok(f"{'functions and alarms' if has_alarms else 'functions'} may use it for {topic}")


def _refused(
    may: bool | None, who: str, what: str, principal: Json, actions: list[str], resource: str
) -> Verdict:
    """Return that a policy does not let somebody do something, or may not."""
    added = {"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": resource}
    fix = f"remove what denies it from the policy, and add: {json.dumps(added)}"
    if may is None:
        return warning(f"conditions in its policy decide whether {who} may {what}", fix)
    return problem(f"its policy does not let {who} {what}", fix)


def _may_use(
    policy: Policy, names: Collection[str], actions: Collection[str], account: str = ""
) -> bool | None:
    """Return whether a resource's policy lets a principal do all that; None if its conditions decide.

    A condition on an allowance is met if it names the `account`. One on a denial is taken not to be:
    the usual ones deny requests without TLS, or of another organization.
    """
    certain = []
    for action in actions:
        listed = _list(policy.get("Statement", []))
        found = [each for each in listed if _concerns(each, names, action.rstrip("*").lower())]
        unconditional = {each["Effect"] for each in found if not each.keys() & _UNCERTAIN}
        allowances = [each.get("Condition") for each in found if each["Effect"] == "Allow"]
        if "Deny" in unconditional or not allowances:
            return False
        is_met = account and any(account in json.dumps(each) for each in allowances)
        certain.append("Allow" in unconditional or is_met)
    return all(certain) or None


def _concerns(statement: Json, names: Collection[str], action: str) -> bool:
    named = statement.get("Principal", "*")
    parts = [named] if isinstance(named, str) else named.values()
    principals = {each for part in parts for each in _list(part)}
    patterns = _list(statement.get("Action", "*"))
    matches = any(fnmatchcase(action, each.lower()) for each in patterns)
    return matches and bool(principals & {"*", *names})


def _list(value: Any) -> list[Any]:
    """Return a policy's value or list as a list."""
    return value if isinstance(value, list) else [value]
