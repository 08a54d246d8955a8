"""States that the account may be in, as the rows of tables arrange them."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from chalicelib.domain.deployment import Position
from tests.fakes import STACK
from tests.interruptions import refuse
from tests.usecases.names import HOLD
from tests.usecases.night import Night

Arrange = Callable[[Night], object]


def in_turn(*arranged: Arrange) -> Arrange:
    return lambda night: [arrange(night) for arrange in arranged]


def configured(**changes: str) -> Arrange:
    return lambda night: night.configure(**changes)


def holding(name: str, value: str) -> Arrange:
    return lambda night: night.set(name, value)


def without(name: str) -> Arrange:
    return lambda night: night.aws.parameters.kept.pop(name)


def listing(*snapshots: Any) -> Arrange:
    return lambda night: setattr(night.aws.snapshots, "all", list(snapshots))


def at(time: datetime) -> Arrange:
    return lambda night: setattr(night.aws, "time", time)


def hold_until(day: str) -> Arrange:
    return holding(HOLD, json.dumps({"until": day, "reason": "release test", "by": "kim"}))


def stack_in(status: str) -> Arrange:
    return lambda night: night.aws.stacks.set_status(status)


def denied(operation: str) -> Arrange:
    return lambda night: refuse(night.aws, operation)


def waits_for_approval(night: Night) -> None:
    """Let run-2 wait for an approval, once it is started."""
    night.aws.pipelines.waiting["run-2"] = Position("Approve", waits_for="an approval")


def no_stack(night: Night) -> None:
    del night.aws.stacks.all[STACK]
