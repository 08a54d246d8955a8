"""Prepare a restored cluster before testers use it: mask data, reset users, disable jobs.

The company's state machine does the work. It is started once for each restored cluster, and
followed until it has succeeded: a redrive continues the same execution.
"""

from datetime import timedelta

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import UNKNOWN, Deployment, Preparation
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.ledger import UNKNOWN_RUN, WORK_DUE, Version, notified_label
from chalicelib.domain.reasons import Reason
from chalicelib.ports import Aws
from chalicelib.usecases.copies import described, list_own_once

# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
RECORDS_KEPT = timedelta(days=90)


def preparation_of(aws: Aws, database: Database, deployment: Deployment) -> Preparation | None:
    """Return the preparation of the deployed cluster, if it has one; raise AwsError."""
    version = deployment.version
    if version is None or not _has_work(database, deployment):
        return None
    found = _recorded(aws, database, deployment, version)
    if found or version.is_good:
        return found
    has_failed = notified_label(Reason.NOT_PREPARED) in version.labels
    return Preparation("could not be started" if has_failed else UNKNOWN)


def prepare(aws: Aws, database: Database, deployment: Deployment) -> Preparation | None:
    """Return the preparation of the deployed cluster, and start it if it has none; raise AwsError.

    A cluster that is good needs none, nor does one that was there before this application.
    """
    machine, version = database.after_restore, deployment.version
    if version is None or version.is_good or not _has_work(database, deployment):
        return None
    found = _recorded(aws, database, deployment, version)
    if found:
        return found
    assert machine is not None  # see _has_work
    name, values = _name(database, deployment), _input(aws, database, deployment)
    try:
        aws.state_machines.start(machine, name, values)
    except Refused as refused:
        return Preparation(str(refused))
    return Preparation("RUNNING")


def _has_work(database: Database, deployment: Deployment) -> bool:
    """Return whether the work was due when the cluster was seen first; later it may be in use."""
    version = deployment.version
    is_due = version is not None and WORK_DUE in version.labels
    return bool(database.after_restore and deployment.cluster and is_due)


def _recorded(
    aws: Aws, database: Database, deployment: Deployment, version: Version
) -> Preparation | None:
    """Return the recorded execution, or why none is to be started; None if one is."""
    assert database.after_restore is not None  # see _has_work
    assert deployment.cluster is not None
    found = aws.state_machines.execution(database.after_restore, _name(database, deployment))
    if found or version.is_good:
        return found
    if version.run_id == UNKNOWN_RUN:
        return Preparation("not started, because no run of the pipeline restored the cluster")
    if aws.now() - deployment.cluster.created < RECORDS_KEPT:
        return None
    # To start it now would repeat the work on a cluster that testers have used for months.
    return Preparation(UNKNOWN)


def _name(database: Database, deployment: Deployment) -> str:
    """Return the execution's name, at most 80 characters, by which it is started only once."""
    assert deployment.cluster is not None  # see _has_work
    suffix = f"-{deployment.cluster.resource_id}"
    return database.name[: 80 - len(suffix)] + suffix


def _input(aws: Aws, database: Database, deployment: Deployment) -> dict[str, object]:
    cluster, value = deployment.cluster, deployment.value
    assert cluster is not None  # see _has_work
    assert value is not None
    try:
        snapshot = described(aws, list_own_once(aws), database, value)
    except AwsError:
        snapshot = None
    return {
        "database": database.name,
        "snapshot": value,
        "cluster": cluster.identifier,
        "cluster_arn": cluster.arn,
        "endpoint": cluster.endpoint,
        "port": cluster.port,
        "engine": cluster.engine,
        "secret_arn": cluster.secret_arn,
        "taken": snapshot.created.isoformat() if snapshot and snapshot.created else None,
        "run": deployment.maker,
    }
