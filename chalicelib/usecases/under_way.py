"""Say which run of the main pipeline is in progress, where it is, and what it will restore."""

from collections.abc import Mapping, Sequence

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, Position, is_waiting
from chalicelib.domain.errors import RefreshError
from chalicelib.domain.ledger import Run, Version, in_progress
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.current import main_pipeline, position_of
from chalicelib.usecases.deployments import Deployments


def describe(run: Run, position: Position | None) -> str:
    """Return a run in progress in words."""
    place = f", {position}" if position else ""
    return f"run {run.execution_id} is in progress since {run.started:%Y-%m-%d %H:%M} UTC{place}"


def will_restore(
    ledgers: Mapping[Database, Sequence[Version]], deployed: Mapping[Database, Deployment]
) -> str | None:
    """Return what the next deploy stage restores, in words; None if it restores nothing."""
    waiting = [
        f"{database.name} from {ledger[-1].value}"
        for database, ledger in ledgers.items()
        if is_waiting(deployed[database], ledger) or (ledger and deployed[database].is_deploying)
    ]
    return ", ".join(waiting) or None


def under_way(settings: Settings, aws: Aws) -> str | None:
    """Return the run in progress that will restore a database, in words. Never raises.

    It is an addition to an answer whose own work is done.
    """
    try:
        values = aws.parameters.get([settings.pipeline_parameter])
        pipeline = main_pipeline(settings, aws, values)
        run = in_progress(pipeline.runs)
        if run is None:
            return None
        ledgers = {
            each: aws.parameters.history(each.current_parameter) for each in settings.databases
        }
        reader = Deployments(aws, pipeline.name, pipeline.runs)
        restores = will_restore(
            ledgers, {each: reader.of(each, ledger) for each, ledger in ledgers.items()}
        )
        if restores is None:
            return None
        return f"{describe(run, position_of(aws, pipeline, run))}: it restores {restores}"
    except RefreshError as error:
        return f"whether a run is in progress is unknown: {error}"
