"""The hold: a dated stop to scheduled promotion. Pure."""

import json
from datetime import date
from typing import NamedTuple

# What a parameter holds before it holds anything: Parameter Store takes no empty value.
PLACEHOLDER = "dummyvalue"


class Hold(NamedTuple):
    """``until`` is the first day, in the window's zone, on which promotion may run again."""

    until: date
    reason: str
    by: str

    @classmethod
    def read(cls, text: str) -> "Hold | None":
        """The hold that a parameter's value tells; None where it tells none.

        Raises ValueError for anything unreadable, which counts as a hold: somebody meant to stop
        something.
        """
        if text == PLACEHOLDER:
            return None
        try:
            fields = json.loads(text)
            until, reason, by = (fields[key] for key in ("until", "reason", "by"))
            return cls(date.fromisoformat(until), str(reason), str(by))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(
                'not a hold such as {"until": "2026-01-22", "reason": "…", "by": "…"}'
            ) from error

    def write(self) -> str:
        """The parameter's value that tells this hold."""
        # Parameter Store takes no value with {{ in it, which is how others refer to parameters.
        # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
        return json.dumps(self.to_json(), ensure_ascii=False).replace("{{", "{\\u007b")

    def to_json(self) -> dict[str, str]:
        """The hold as the contract writes it."""
        return {"until": self.until.isoformat(), "reason": self.reason, "by": self.by}

    def covers(self, day: date) -> bool:
        """Whether promotion stands still on ``day``."""
        return day < self.until
