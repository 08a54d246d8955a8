"""Holding and resuming scheduled promotion, as a person asks for it."""

from datetime import date
from typing import Any

from chalicelib.errors import Refused
from chalicelib.hold import PLACEHOLDER, Hold
from chalicelib.ledger import Note
from chalicelib.ports import World
from chalicelib.settings import Settings


def hold(settings: Settings, world: World, until: date, by: str, why: str) -> dict[str, Any]:
    """Hold scheduled promotion until a day, which is the first on which it may run again.

    Raises Refused for a day that has come, or a stage without the hold's parameter; and AwsError.
    """
    name = _parameter(settings)
    today = settings.window.date_of(world.now())
    if until <= today:
        raise Refused(
            "hold-over",
            f"until is {until}, which holds nothing: today is {today}; name a later day",
        )
    wanted = Hold(until, why, by)
    world.parameters.put(name, wanted.write(), Note("hold", by, why))
    return _answer(settings, world, wanted)


def resume(settings: Settings, world: World, by: str) -> dict[str, Any]:
    """Let scheduled promotion run again; raises as ``hold`` does. Without a hold nothing is written."""
    name = _parameter(settings)
    present = world.parameters.get([name]).get(name)
    if present and present.value != PLACEHOLDER:
        world.parameters.put(name, PLACEHOLDER, Note("resume", by, ""))
    return _answer(settings, world, None)


def _parameter(settings: Settings) -> str:
    if settings.hold_parameter is None:
        raise Refused(
            "no-hold-parameter",
            "this stage has no parameter for a hold: set SSM_REFRESH_HOLD_NAME to the name of one, "
            "let the functions' policies read and write it, and deploy",
        )
    return settings.hold_parameter


def _answer(settings: Settings, world: World, held: Hold | None) -> dict[str, Any]:
    following = settings.next_restore(world.now(), held)
    return {
        "hold": held.to_json() if held else None,
        "next_restore": following.isoformat() if following else None,
    }
