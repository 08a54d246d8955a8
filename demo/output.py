"""Print what a demo does, line by line, and check it."""

from datetime import datetime
from typing import Any

from demo.acceptance import Company


class Unexpected(Exception):
    """What happened is not what the demo describes."""


def fire(company: Company, function: str, time: datetime) -> dict[str, Any]:
    """Fire a function's schedule, and return its answer."""
    company.cloud.set_clock(time)
    records = company.cloud.fire(function, time)
    last = records[-1]
    expect(last["status"] == "succeeded", f"{function} {last['status']}: {gist(last['error'])}")
    payload: dict[str, Any] = last["payload"]
    return payload


def gist(answer: Any) -> str:
    """Return the part of an unexpected answer that explains it."""
    names = ("outcome", "reason", "message", "errorType", "errorMessage", "Code", "Message")
    found = answer if isinstance(answer, dict) else {}
    return ", ".join(f"{name} {found[name]}" for name in names if found.get(name)) or str(answer)


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def say_notifications(company: Company) -> None:
    for notification in company.notifications():
        say(f"notified: {notification['Subject']}")


def expect(is_so: bool, found: object) -> None:
    if not is_so:
        raise Unexpected(f"found {found}")


def short(arn: str) -> str:
    return arn.rsplit(":", 1)[-1]
