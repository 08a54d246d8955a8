"""Check the topics: whether they reach anybody, and whether functions and alarms may publish to them."""

import json
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from typing import Any

from chalicelib.domain.functions import API
from chalicelib.domain.results import Json
from cli import stacks
from cli.doctor.checks import Check, Verdict, check, ok, problem, unusable_key, warning
from cli.look import Look, known
from cli.policies import USE_TOPIC_KEY, Policy
from cli.stages import to_change

_ALARMS = "cloudwatch.amazonaws.com"
_UNCERTAIN = {"Condition", "NotAction", "NotPrincipal"}  # keys of statements that are not evaluated
_ACCOUNT = "aws:SourceAccount"  # of the alarm; without it, any account's alarm could publish


def topics(look: Look) -> Iterator[Check]:
    """Check that the topics exist and have subscribers."""
    stage, arn = look.stage, look.stage.settings.topic_arn
    if arn:
        subscribe = (
            f"aws sns subscribe --topic-arn {arn} --protocol email --notification-endpoint …"
        )
        yield from _topic(arn, look, subscribe)
    else:
        fix = to_change(stage.name, f"NOTIFICATION_TOPIC_ARN={stacks.proposed_topic(stage)}")
        unset = warning("is not set: alarms notify nobody", f"{fix} EMAIL=…")
        yield Check("topic", "NOTIFICATION_TOPIC_ARN", *unset)
    if chat := stage.settings.chat_topic_arn:
        select = f"select {chat} in the channel's configuration in Amazon Q Developer"
        yield from _topic(chat, look, select)


@check("topic")
def _topic(arn: str, look: Look, subscribe: str) -> Iterator[Verdict]:
    if look.topic(arn) is None:
        create = f"aws sns create-topic --name {arn.rpartition(':')[2]}"
        yield problem("does not exist", f"{create}, and then {subscribe}")
        return
    subscriptions = look.all("sns:ListSubscriptionsByTopic", "Subscriptions[]", TopicArn=arn)
    confirmed = [each for each in subscriptions if each["SubscriptionArn"].startswith("arn:")]
    waiting = [each for each in subscriptions if each["SubscriptionArn"] == "PendingConfirmation"]
    for each in waiting:
        yield warning(
            f"{each['Endpoint']} has not confirmed the subscription, and receives nothing",
            "click the link in the message that AWS sent; it is valid for two days; after that, this sends "
            f"another: {subscribe}",
        )
    if confirmed:
        yield ok(f"confirmed subscriptions: {len(confirmed)}")
    elif not waiting:
        yield warning("has no subscriptions", subscribe)


def keys(look: Look) -> Iterator[Check]:
    """Check that functions and alarms may use the keys that the topics are under."""
    settings = look.stage.settings
    for topic in filter(None, (settings.topic_arn, settings.chat_topic_arn)):
        if key := known(look.topic_key, topic):  # a topic that is not seen is reported already
            yield from _key(key, look, topic)


@check("topic key")
def _key(name: str, look: Look, topic: str) -> Verdict:
    stage, key = look.stage, look.key(name)
    has_alarms = topic == stage.settings.topic_arn
    replace_key = (
        f"aws sns set-topic-attributes --topic-arn {topic} --attribute-name KmsMasterKeyId "
        "--attribute-value …"
    )
    if wrong := unusable_key(key, replace_key, may_be_aws=not has_alarms):
        return wrong._replace(seen=f"{wrong.seen}; {topic} is under it")
    if not key or key["KeyManager"] == "AWS":
        return ok("is managed by AWS, and functions may use it")
    text = look.one("kms:GetKeyPolicy", "Policy", KeyId=key["Arn"], PolicyName="default")
    policy: Policy = json.loads(text or "{}")
    root = f"arn:{stage.partition}:iam::{stage.account}:root"
    # A policy names the account or each role.
    invoked = (name for function, name in look.function_names.items() if function != API)
    roles = {each["Role"] for name in invoked if (each := known(look.function, name))} or {root}
    users = [("the account's roles", {"AWS": root}, {root, stage.account, each}) for each in roles]
    if has_alarms:
        users.append(("CloudWatch", {"Service": _ALARMS}, {_ALARMS}))
    own = {"StringEquals": {_ACCOUNT: stage.account}}
    for who, principal, names in users:
        may = _may_use(policy, names, own)
        if may is not True:
            statement = {"Effect": "Allow", "Principal": principal}
            statement |= {"Action": USE_TOPIC_KEY, "Resource": "*"}
            statement |= {"Condition": own} if names == {_ALARMS} else {}
            add = f"add to the key's policy: {json.dumps(statement)}"
            if may is None:
                seen = f"conditions in its policy decide whether {who} may use it for {topic}"
                return warning(seen, add)
            seen = f"does not let {who} use it for {topic}"
            return problem(seen, f"remove what denies it, and {add}")
    return ok(f"{'functions and alarms' if has_alarms else 'functions'} may use it for {topic}")


def _may_use(policy: Policy, names: Collection[str], own: Json) -> bool | None:
    """Return whether a key's policy lets a principal use the key; None if its conditions decide.

    The condition `own` names the stage's account, and is always met. Denials with other conditions are
    ignored: they usually concern requests without TLS, or from another organization.
    """
    is_certain, statements = [], _list(policy.get("Statement", []))
    for action in USE_TOPIC_KEY:
        found = [each for each in statements if _concerns(each, names, action.rstrip("*").lower())]
        met = [{k: v for k, v in each.items() if (k, v) != ("Condition", own)} for each in found]
        certain = {each["Effect"] for each in met if not each.keys() & _UNCERTAIN}
        if "Deny" in certain or not any(each["Effect"] == "Allow" for each in found):
            return False
        is_certain.append("Allow" in certain)
    return all(is_certain) or None


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
