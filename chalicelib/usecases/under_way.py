"""Say which run of the main pipeline is in progress, where it is, and what it will restore."""

from collections.abc import Mapping

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import Deployment, is_waiting
from chalicelib.domain.errors import RefreshError
from chalicelib.domain.ledger import Ledger, Run, in_progress, last_order, last_restored
from chalicelib.domain.parameters import visible
from chalicelib.ports import Aws
from chalicelib.settings.acceptance import Settings
from chalicelib.usecases.current import Pipeline
from chalicelib.usecases.deployments import Deployments, describe


def run_under_way(
    reader: Deployments, deployed: Mapping[Database, Deployment]
) -> tuple[Run, dict[str, str]]:
    """Return the run in progress that restores a database next, and from what, by database.

    There must be one in progress. If none restores any, return the oldest one. Raise AwsError.
    """
    under_way = [run for run in reversed(reader.runs) if run.in_progress]
    values = {each: _next_value(deployed[each], found) for each, found in reader.ledgers.items()}
    for run in under_way:
        restored = {
            each.name: value
            for each, value in values.items()
            if value and not reader.is_past(each, run)
        }
        if restored:
            return run, restored
    return under_way[0], {}


def to_restore(restored: Mapping[str, str]) -> str | None:
    """Return in words what a run restores; None if it is nothing."""
    return ", ".join(f"{name} from {value}" for name, value in restored.items()) or None


def _next_value(deployment: Deployment, ledger: Ledger) -> str | None:
    if deployment.is_deploying:
        # Somebody may have moved current since the run of an order has read it.
        order, seen = last_order(ledger), last_restored(ledger)
        run = ledger.own_run(order) if order and not order.run_id else None
        read = order if order and run and run.in_progress else ledger[-1]
        return visible(read.value) if not seen or read.value != seen.value else None
    if deployment.held:
        return visible(deployment.held.value) if deployment.held.value != deployment.value else None
    return visible(ledger[-1].value) if is_waiting(deployment, ledger) else None


def under_way(settings: Settings, aws: Aws) -> str | None:
    """Return the run in progress that will restore a database, in words. Never raises.

    It is an addition to an answer whose own work is done.
    """
    try:
        values = aws.parameters.get([settings.pipeline_parameter])
        pipeline = Pipeline.main(settings, aws, values, settings.databases)
        if in_progress(pipeline.runs) is None:
            return None
        deployed = {each: pipeline.of(each, ledger) for each, ledger in pipeline.ledgers.items()}
        run, restored = run_under_way(pipeline, deployed)
        if not restored:
            return None
        position = aws.pipelines.positions(pipeline.name).get(run.execution_id)
        return f"{describe(run, position)}: it restores {to_restore(restored)}"
    except RefreshError as error:
        return f"cannot determine whether a run is in progress: {error}"
