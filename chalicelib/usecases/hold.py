"""Holding and resuming scheduled promotion, as a person asks for it."""

from datetime import date
from typing import Any

from chalicelib.domain.errors import Refused
from chalicelib.domain.hold import PLACEHOLDER, Hold
from chalicelib.domain.ledger import Note
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings


def hold(settings: Settings, aws: Aws, until: date, by: str, why: str) -> dict[str, Any]:
    """Hold scheduled promotion until a day, which is the first on which it may run again.

    Raises Refused for a day that has come, or a stage without the hold's parameter; and AwsError.
    """
    name = _parameter(settings)
    today = settings.window.date_of(aws.now())
    if until <= today:
        raise Refused(
            "hold-over",
            f"until is {until}, which holds nothing: today is {today}; name a later day",
        )
    wanted = Hold(until, why, by)
    aws.parameters.put(name, wanted.write(), Note("hold", by, why))
    return _answer(settings, aws, wanted)


def resume(settings: Settings, aws: Aws, by: str) -> dict[str, Any]:
    """Let scheduled promotion run again; raises as ``hold`` does. Without a hold nothing is written."""
    name = _parameter(settings)
    present = aws.parameters.get([name]).get(name)
    if present and present.value != PLACEHOLDER:
        aws.parameters.put(name, PLACEHOLDER, Note("resume", by, ""))
    return _answer(settings, aws, None)


def _parameter(settings: Settings) -> str:
    if settings.hold_parameter is None:
        raise Refused(
            "no-hold-parameter",
            "this stage has no parameter for a hold: set SSM_REFRESH_HOLD_NAME to the name of one, "
            "let the functions' policies read and write it, and deploy",
        )
    return settings.hold_parameter


def _answer(settings: Settings, aws: Aws, held: Hold | None) -> dict[str, Any]:
    following = settings.next_restore(aws.now(), held)
    return {
        "hold": held.to_json() if held else None,
        "next_restore": following.isoformat() if following else None,
    }
