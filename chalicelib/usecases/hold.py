"""Hold and resume scheduled promotion, at a person's request."""

from contextlib import suppress
from datetime import date

from chalicelib.domain.errors import AwsError, RefreshError, Refused
from chalicelib.domain.hold import Hold
from chalicelib.domain.ledger import Note, in_progress
from chalicelib.domain.parameters import PLACEHOLDER, Parameter, Values, value_of
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import Json
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.checks import hold_today, next_restore
from chalicelib.usecases.current import Pipeline
from chalicelib.usecases.deployments import in_words


def hold(settings: Settings, aws: Aws, until: date, actor: str, reason: str) -> Json:
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
    new, values = Hold(until, reason, actor), dict[str, Parameter]()
    with suppress(AwsError):  # only the answer needs it
        values |= aws.parameters.get([name])
    aws.parameters.put(name, new.write(), Note("hold", actor, reason))
    return _answer(settings, aws, new, values)


def resume(settings: Settings, aws: Aws, actor: str) -> Json:
    """Let scheduled promotion run again; raise as `hold` does. Without a hold, write nothing."""
    name = _parameter(settings)
    values = aws.parameters.get([name])
    if value_of(values, name) not in (None, PLACEHOLDER):
        aws.parameters.put(name, PLACEHOLDER, Note("resume", actor, ""))
    return _answer(settings, aws, None, values)


def _parameter(settings: Settings) -> str:
    if settings.hold_parameter is None:
        raise Refused(
            Reason.NO_HOLD_PARAMETER,
            "this stage has no parameter for a hold: set SSM_REFRESH_HOLD_NAME, and configure and "
            "deploy the stage again",
        )
    return settings.hold_parameter


def _answer(settings: Settings, aws: Aws, new: Hold | None, values: Values) -> Json:
    """Return the hold, the one that it replaces, when the schedule promotes next, and which run restores anyway."""
    restore = next_restore(settings, aws.now(), new)
    before = None
    with suppress(ValueError):  # an unreadable hold cannot be shown
        before = hold_today(settings, values, aws.now())
    return {
        "hold": new.to_json() if new else None,
        "replaced": before.to_json() if before else None,
        "next_restore": restore.isoformat() if restore else None,
        "under_way": _under_way(settings, aws),
    }


def _under_way(settings: Settings, aws: Aws) -> str | None:
    """Return the run in progress that will restore a database, in words. Never raises.

    It is an addition to an answer whose own work is done.
    """
    try:
        values = aws.parameters.get([settings.pipeline_parameter])
        pipeline = Pipeline.main(settings, aws, values, settings.databases)
        if in_progress(pipeline.runs) is None:
            return None
        deployed = {each: pipeline.of(each, ledger) for each, ledger in pipeline.ledgers.items()}
        run, restored = pipeline.under_way(deployed)
        if not restored:
            return None
        return f"{pipeline.describe_run(run)}: it restores {in_words(restored)}"
    except RefreshError as error:
        return f"cannot determine whether a run is in progress: {error}"
