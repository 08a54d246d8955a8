"""EventBridge: deliver scheduled events and services' events to functions and queues.

Restores *Events* and *Creating a rule that runs on a schedule* (EventBridge User Guide) for two kinds of
target, a Lambda function and a queue: moto fires no schedule and calls no function. An event is delivered only
if the target's resource policy allows ``events.amazonaws.com`` on behalf of that rule (*Resource-based policies
for EventBridge*). Functions are invoked asynchronously.
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
from localcloud.controls import control
from localcloud.policies import allows

_SERVICE = "events.amazonaws.com"


def publish(account: str, region: str, event: Mapping[str, Any]) -> None:
    """Publish a service's event to the account's default bus."""
    full: Any = _enveloped(account, region, datetime.now(UTC), event)
    for rule in _rules(account, region):
        pattern: Any = rule.event_pattern
        if rule.state == "ENABLED" and pattern.get_pattern() and pattern.matches_event(full):
            _deliver(rule, full)


def _enveloped(
    account: str, region: str, time: datetime, event: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "account": account,
        "time": f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "region": region,
        **event,
    }


def _rules(account: str, region: str) -> list[Rule]:
    return list(events_backends[account][region].event_buses["default"].rules.values())


def _deliver(rule: Rule, event: Mapping[str, Any], to: str = "") -> int:
    """Deliver to the targets whose names end with ``to`` and that allow the rule; return their number."""
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
        functions.fleet.deliver(function, json.dumps(event).encode(), event["id"])
    return may


def _send(rule: Rule, arn: str, event: Mapping[str, Any]) -> bool:
    backend = sqs_backends[rule.account_id][rule.region_name]
    queue = backend.queues.get(arn.rsplit(":", 1)[1])
    if queue is None:
        return False
    statements = json.loads(queue.policy or "{}").get("Statement", [])
    context = {"aws:sourcearn": [rule.arn]}
    may = allows(statements, {"Service": _SERVICE}, "sqs:SendMessage", arn, context)
    if may:
        backend.send_message(queue.name, json.dumps(event))
    return may


@control
def fire(
    target: str,
    time: str,
    event_id: str | None = None,
    wait: bool = True,
    account: str = ACCEPTANCE,
) -> list[dict[str, Any]]:
    """Fire the schedules of the functions or queues whose names end with ``target``, for a time.

    Every rule sends the *Scheduled Event* with the same id. Return a record for each attempt of the event's
    invocations; do not wait for all of them if ``wait`` is false.
    """
    event: dict[str, Any] = {
        "id": event_id or str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "detail": {},
    }
    scheduled, count = datetime.fromisoformat(time), 0
    for rule in _rules(account, REGION):
        if rule.state == "ENABLED" and rule.scheduled_expression:
            full = _enveloped(account, REGION, scheduled, {**event, "resources": [rule.arn]})
            count += _deliver(rule, full, target)
    if not count:
        raise ValueError(f"no enabled schedule may deliver to a function or queue named {target}")
    if wait:
        functions.wait_until_idle()
    return [record for record in functions.invocations() if record["event_id"] == event["id"]]
