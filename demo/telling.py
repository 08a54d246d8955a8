"""How a demo is told: line by line, and checked on the way."""

from datetime import datetime
from typing import Any

from localcloud.company import Company


class NotAsTold(Exception):
    """Something happened that the story does not tell."""


def fire(company: Company, function: str, time: datetime) -> dict[str, Any]:
    records = company.cloud.fire(function, time)
    last = records[-1]
    expect(last["status"] == "succeeded", f"{function} {last['status']}: {gist(last['error'])}")
    payload: dict[str, Any] = last["payload"]
    return payload


def gist(answer: Any) -> str:
    """What a person needs of an answer that is not the expected one."""
    names = ("outcome", "reason", "message", "errorType", "errorMessage", "Code", "Message")
    found = answer if isinstance(answer, dict) else {}
    return ", ".join(f"{name} {found[name]}" for name in names if found.get(name)) or str(answer)


def title(text: str) -> None:
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def expect(told: bool, found: object) -> None:
    if not told:
        raise NotAsTold(f"found {found}")


def short(arn: str) -> str:
    return arn.rsplit(":", 1)[-1]
