"""EventBridge delivers to functions and queues: schedules and services' events.

Restores *Events* and *Creating a rule that runs on a schedule* (EventBridge User Guide) for two kinds of
target, a Lambda function and a queue: moto fires no schedule, and calls no function. Delivery takes place only
if the target's resource policy lets ``events.amazonaws.com`` use it on behalf of that very rule
(*Resource-based policies for EventBridge*); a function is invoked asynchronously.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.events.models import Rule, events_backends
from moto.sqs.models import sqs_backends

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
            _deliver(rule, full)


def fire(account: str, region: str, name: str, time: datetime, event_id: str) -> int:
    """Fire the schedules that target ``name``, or a function or queue whose name ends so, for ``time``.

    Returns the number of deliveries. Every rule sends the *Scheduled Event* under the same id.
    """
    count = 0
    for rule in _rules(account, region):
        if rule.state != "ENABLED" or not rule.scheduled_expression:
            continue
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
        count += _deliver(rule, event, name)
    return count


def _rules(account: str, region: str) -> list[Rule]:
    return list(events_backends[account][region].event_buses["default"].rules.values())


def _deliver(rule: Rule, event: Mapping[str, Any], to: str = "") -> int:
    """Deliver to those targets whose name ends with ``to`` and that let the rule; return their number."""
    deliverers = {"lambda": _invoke, "sqs": _send}
    return sum(
        deliverers[service](rule, arn, event)
        for arn in [target["Arn"] for target in rule.targets]
        if (service := arn.split(":")[2]) in deliverers and arn.endswith(to)
    )


def _invoke(rule: Rule, arn: str, event: Mapping[str, Any]) -> bool:
    try:
        function = functions.find(rule.account_id, rule.region_name, arn)
    except UnknownFunctionException:
        return False
    may = functions.may_invoke(function, _SERVICE, rule.arn)
    if may:
        functions.fleet().deliver(function, json.dumps(event).encode(), event["id"])
    return may


def _send(rule: Rule, arn: str, event: Mapping[str, Any]) -> bool:
    backend = sqs_backends[rule.account_id][rule.region_name]
    queue = backend.queues.get(arn.rsplit(":", 1)[1])
    if queue is None:
        return False
    statements = json.loads(queue.policy or "{}").get("Statement", [])
    may = functions.allows(statements, "sqs:SendMessage", _SERVICE, rule.arn)
    if may:
        backend.send_message(queue.name, json.dumps(event))
    return may


def _fire(body: dict[str, Any]) -> dict[str, str]:
    time = datetime.fromisoformat(body["time"])
    if time.tzinfo is None:
        raise ValueError(f"time is {body['time']!r}, which has no UTC offset")
    event_id = body.get("id") or str(uuid.uuid4())
    name = body["function"]
    if not fire(body.get("account", ACCEPTANCE), REGION, name, time, event_id):
        raise ValueError(f"no enabled schedule may deliver to a function or queue named {name}")
    return {"event_id": event_id}


ROUTES = {("POST", "/_cloud/schedules/fire"): _fire}
