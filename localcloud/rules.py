"""EventBridge delivers to functions: schedules and services' events.

Restores *Events* and *Creating a rule that runs on a schedule* (EventBridge User Guide) for one kind of
target, a Lambda function, which moto never calls. Delivery is asynchronous, and takes place only if the
function's resource policy lets ``events.amazonaws.com`` invoke it on behalf of that very rule
(*Resource-based policies for EventBridge*).
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import LambdaFunction
from moto.events.models import Rule, events_backends

from localcloud import functions
from localcloud.accounts import ACCEPTANCE, REGION

_SERVICE = "events.amazonaws.com"


def publish(account: str, region: str, event: Mapping[str, Any]) -> None:
    """Put a service's event on the account's default bus.

    Of the envelope (``version``, ``id``, ``account``, ``time``, ``region``, ``resources``) what is absent is
    filled in.
    """
    full: Any = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "account": account,
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        "resources": [],
        **event,
    }
    for rule in _rules(account, region):
        pattern: Any = rule.event_pattern
        if rule.state == "ENABLED" and pattern.get_pattern() and pattern.matches_event(full):
            for function in _targets(rule):
                _deliver(function, full)


def fire(account: str, region: str, name: str, time: datetime, event_id: str) -> int:
    """Fire the schedules that target the function ``name``, or whose name ends so, for ``time``.

    Returns the number of deliveries. Every rule sends the *Scheduled Event* under the same id.
    """
    count = 0
    for rule in _rules(account, region):
        if rule.state != "ENABLED" or not rule.scheduled_expression:
            continue
        for function in _targets(rule):
            if function.function_name.endswith(name):
                event = {
                    "version": "0",
                    "id": event_id,
                    "detail-type": "Scheduled Event",
                    "source": "aws.events",
                    "account": account,
                    "time": f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                    "region": region,
                    "resources": [rule.arn],
                    "detail": {},
                }
                _deliver(function, event)
                count += 1
    return count


def _rules(account: str, region: str) -> list[Rule]:
    return list(events_backends[account][region].event_buses["default"].rules.values())


def _targets(rule: Rule) -> Iterator[LambdaFunction]:
    """The functions among the rule's targets that the rule may invoke."""
    for target in rule.targets:
        if ":lambda:" not in target["Arn"]:
            continue
        try:
            function = functions.find(rule.account_id, rule.region_name, target["Arn"])
        except UnknownFunctionException:
            continue
        if functions.may_invoke(function, _SERVICE, rule.arn):
            yield function


def _deliver(function: LambdaFunction, event: Mapping[str, Any]) -> None:
    functions.fleet().deliver(function, json.dumps(event).encode(), event["id"])


def _fire(body: dict[str, Any]) -> dict[str, str]:
    time = datetime.fromisoformat(body["time"])
    if time.tzinfo is None:
        raise ValueError(f"time is {body['time']!r}, which has no UTC offset")
    event_id = body.get("id") or str(uuid.uuid4())
    if not fire(body.get("account", ACCEPTANCE), REGION, body["function"], time, event_id):
        raise ValueError(f"no enabled schedule may invoke a function named {body['function']}")
    return {"event_id": event_id}


ROUTES = {("POST", "/_cloud/schedules/fire"): _fire}
