"""EventBridge delivers to functions: schedules and services' events.

Restores *Events* and *Creating a rule that runs on a schedule* (EventBridge User Guide) for one kind of
target, a Lambda function: moto never calls one on a schedule, and in PutEvents gives up at a rule that has
one. Its rules without a pattern, or disabled, take every event; these take none.
Delivery is asynchronous, and takes place only if the function's resource policy lets ``events.amazonaws.com``
invoke it on behalf of that very rule (*Resource-based policies for EventBridge*).
"""

import copy
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import moto.events.models
from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import LambdaFunction
from moto.events.models import Rule, events_backends

from localcloud import functions
from localcloud.accounts import ACCEPTANCE, REGION

_SERVICE = "events.amazonaws.com"


class DeliveringRule(Rule):
    """moto's rule, whose targets may be functions."""

    def takes(self, event: Mapping[str, Any]) -> bool:
        """Whether it is for events, enabled, and matched by this one."""
        pattern: Any = self.event_pattern
        return bool(
            self.state == "ENABLED" and pattern.get_pattern() and pattern.matches_event(event)
        )

    def send_to_targets(self, original_event: Any, transform_input: bool = True) -> None:
        """PutEvents: functions are invoked, and moto delivers to the rest."""
        if not self.takes(original_event):
            return
        self.send_to_functions(_as_delivered(original_event))
        rest = copy.copy(self)
        rest.targets = [target for target in self.targets if ":lambda:" not in target["Arn"]]
        Rule.send_to_targets(rest, original_event, transform_input)

    def send_to_functions(self, event: Mapping[str, Any]) -> None:
        """Deliver to the functions among the targets."""
        for function in _targets(self):
            _deliver(function, event)


def install() -> None:
    """Put the rules that deliver in the place of moto's."""
    moto.events.models.Rule = DeliveringRule  # type: ignore[misc]


def _as_delivered(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event of PutEvents as targets get it: without moto's mark, and with the time spelt out."""
    delivered = {name: value for name, value in event.items() if name != "ingestion-time"}
    time = datetime.fromtimestamp(float(event["time"]), UTC)
    return {**delivered, "time": f"{time:%Y-%m-%dT%H:%M:%SZ}"}


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
        if rule.takes(full):
            rule.send_to_functions(full)


def next_fault(faults: Iterable[dict[str, Any]], state: str) -> str | None:
    """Use up one fault that applies to an event of this state; return its kind."""
    for fault in faults:
        if fault["times"] > 0 and state in fault.get("states", [state]):
            fault["times"] -= 1
            return str(fault["kind"])
    return None


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


def _rules(account: str, region: str) -> list[DeliveringRule]:
    bus = events_backends[account][region].event_buses["default"]
    return [rule for rule in list(bus.rules.values()) if isinstance(rule, DeliveringRule)]


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


def _publish(body: dict[str, Any]) -> dict[str, str]:
    event = {"id": str(uuid.uuid4()), **body["event"]}
    publish(ACCEPTANCE, REGION, event)
    return {"event_id": event["id"]}


ROUTES = {
    ("POST", "/_cloud/schedules/fire"): _fire,
    ("POST", "/_cloud/events"): _publish,
}
