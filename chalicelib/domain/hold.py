"""The hold: a dated stop to scheduled promotion. Pure."""

import json
from datetime import date
from typing import NamedTuple

from chalicelib.domain.parameters import PLACEHOLDER
from chalicelib.domain.text import refuse_lone_surrogates


class Hold(NamedTuple):
    """`until` is the first day, in the window's zone, on which promotion may run again."""

    until: date
    reason: str
    by: str

    @classmethod
    def read(cls, text: str) -> "Hold | None":
        """Return the hold in a parameter's value; None for the placeholder.

        Raise ValueError for anything unreadable, which counts as a hold: somebody meant to stop
        something.
        """
        if text == PLACEHOLDER:
            return None
        try:
            fields = json.loads(text)
            until, reason, by = (fields[key] for key in ("until", "reason", "by"))
            refuse_lone_surrogates(fields)
            return cls(date.fromisoformat(until), str(reason), str(by))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise ValueError(
                'not a hold such as {"until": "2026-01-22", "reason": "…", "by": "…"}'
            ) from error

    def write(self) -> str:
        """Return the parameter's value for this hold."""
        # Parameter Store refuses a value with {{ in it, which is how a parameter refers to others.
        # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
        return json.dumps(self.to_json(), ensure_ascii=False).replace("{{", "{\\u007b")

    def to_json(self) -> dict[str, str]:
        """Return the hold as the API writes it."""
        return {"until": self.until.isoformat(), "reason": self.reason, "by": self.by}

    def covers(self, day: date) -> bool:
        """Return whether promotion is stopped on `day`."""
        return day < self.until
