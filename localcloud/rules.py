"""EventBridge delivers to functions and queues: schedules and services' events.

Restores *Events* and *Creating a rule that runs on a schedule* (EventBridge User Guide) for two kinds of
target, a Lambda function and a queue: moto fires no schedule, and in PutEvents gives up at a rule that has
a function. Its rules without a pattern, or disabled, take every event; these take none.
Delivery takes place only if the target's resource policy lets ``events.amazonaws.com`` use it on behalf of
that very rule (*Resource-based policies for EventBridge*); a function is invoked asynchronously.
"""

import copy
import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import moto.events.models
from moto.awslambda.exceptions import UnknownFunctionException
from moto.events.models import Rule, events_backends
from moto.sqs.models import sqs_backends

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
        self.deliver(_as_delivered(original_event))
        rest = copy.copy(self)
        rest.targets = [each for each in self.targets if _service(each) not in ("lambda", "sqs")]
        Rule.send_to_targets(rest, original_event, transform_input)

    def deliver(self, event: Mapping[str, Any], to: str = "") -> int:
        """Deliver to the functions and queues whose name ends with ``to``; return their number."""
        count = 0
        for target in self.targets:
            if not target["Arn"].endswith(to):
                continue
            if _service(target) == "lambda":
                count += self._invoke(target["Arn"], event)
            if _service(target) == "sqs":
                count += self._send(target["Arn"], event)
        return count

    def _invoke(self, arn: str, event: Mapping[str, Any]) -> bool:
        try:
            function = functions.find(self.account_id, self.region_name, arn)
        except UnknownFunctionException:
            return False
        may = functions.may_invoke(function, _SERVICE, self.arn)
        if may:
            functions.fleet().deliver(function, json.dumps(event).encode(), event["id"])
        return may

    def _send(self, arn: str, event: Mapping[str, Any]) -> bool:
        backend = sqs_backends[self.account_id][self.region_name]
        queue = backend.queues.get(arn.rsplit(":", maxsplit=1)[-1])
        if queue is None:
            return False
        statements = json.loads(queue.policy or "{}").get("Statement", [])
        may = functions.allows(statements, "sqs:SendMessage", _SERVICE, self.arn)
        if may:
            backend.send_message(queue.name, json.dumps(event))
        return may


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
            rule.deliver(full)


def next_fault(faults: Iterable[dict[str, Any]], state: str) -> str | None:
    """Use up one fault that applies to an event of this state; return its kind."""
    for fault in faults:
        if fault["times"] > 0 and state in fault.get("states", [state]):
            fault["times"] -= 1
            return str(fault["kind"])
    return None


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
        count += rule.deliver(event, name)
    return count


def _rules(account: str, region: str) -> list[DeliveringRule]:
    bus = events_backends[account][region].event_buses["default"]
    return [rule for rule in list(bus.rules.values()) if isinstance(rule, DeliveringRule)]


def _service(target: Mapping[str, Any]) -> str:
    return str(target["Arn"].split(":")[2])


def _fire(body: dict[str, Any]) -> dict[str, str]:
    time = datetime.fromisoformat(body["time"])
    if time.tzinfo is None:
        raise ValueError(f"time is {body['time']!r}, which has no UTC offset")
    event_id = body.get("id") or str(uuid.uuid4())
    if not fire(body.get("account", ACCEPTANCE), REGION, body["function"], time, event_id):
        raise ValueError(
            f"no enabled schedule may deliver to a function or queue named {body['function']}"
        )
    return {"event_id": event_id}


def _publish(body: dict[str, Any]) -> dict[str, str]:
    event = {"id": str(uuid.uuid4()), **body["event"]}
    publish(ACCEPTANCE, REGION, event)
    return {"event_id": event["id"]}


ROUTES = {
    ("POST", "/_cloud/schedules/fire"): _fire,
    ("POST", "/_cloud/events"): _publish,
}
