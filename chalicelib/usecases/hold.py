"""Hold and resume scheduled promotion, at a person's request."""

from datetime import date, datetime
from typing import NamedTuple

from chalicelib.domain.errors import Refused
from chalicelib.domain.hold import Hold
from chalicelib.domain.ledger import Note
from chalicelib.domain.parameters import PLACEHOLDER, value_of
from chalicelib.domain.reasons import Reason
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.under_way import under_way


class HoldResult(NamedTuple):
    """The hold that is set, when the schedule promotes next, and the run that restores despite it."""

    hold: Hold | None
    next_restore: datetime | None
    under_way: str | None

    def to_json(self) -> dict[str, object]:
        """Return the answer of the API."""
        return {
            "hold": self.hold.to_json() if self.hold else None,
            "next_restore": self.next_restore.isoformat() if self.next_restore else None,
            "under_way": self.under_way,
        }


def hold(settings: Settings, aws: Aws, until: date, actor: str, reason: str) -> HoldResult:
    """Hold scheduled promotion until a day, which is the first on which it may run again.

    Raise Refused if the day has come, or the stage has no parameter for a hold; and AwsError.
    """
    name = _parameter(settings)
    today = settings.window.date_of(aws.now())
    if until <= today:
        raise Refused(
            Reason.HOLD_OVER,
            f"until is {until}, which is not in the future: today is {today}; name a later day",
        )
    new = Hold(until, reason, actor)
    aws.parameters.put(name, new.write(), Note("hold", actor, reason))
    return _result(settings, aws, new)


def resume(settings: Settings, aws: Aws, actor: str) -> HoldResult:
    """Let scheduled promotion run again; raise as `hold` does. Without a hold, write nothing."""
    name = _parameter(settings)
    if value_of(aws.parameters.get([name]), name) not in (None, PLACEHOLDER):
        aws.parameters.put(name, PLACEHOLDER, Note("resume", actor, ""))
    return _result(settings, aws, None)


def _parameter(settings: Settings) -> str:
    if settings.hold_parameter is None:
        raise Refused(
            Reason.NO_HOLD_PARAMETER,
            "this stage has no parameter for a hold: set SSM_REFRESH_HOLD_NAME, and configure and "
            "deploy the stage again",
        )
    return settings.hold_parameter


def _result(settings: Settings, aws: Aws, new: Hold | None) -> HoldResult:
    return HoldResult(new, settings.next_restore(aws.now(), new), under_way(settings, aws))
