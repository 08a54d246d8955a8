"""Prepare a restored cluster before testers use it: mask data, reset users, disable jobs.

The company's state machine does the work. It is started once for each restored cluster, and
followed until it has succeeded: a redrive continues the same execution.
"""

import json
from datetime import timedelta

from chalicelib.domain.database import Database
from chalicelib.domain.deployment import UNKNOWN, Cluster, Deployment, Preparation
from chalicelib.domain.errors import Refused
from chalicelib.domain.ledger import UNKNOWN_RUN, WORK_DUE, notified_label
from chalicelib.domain.reasons import Reason
from chalicelib.ports import Aws
from chalicelib.usecases.copies import time_of_data

# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
RECORDS_KEPT = timedelta(days=90)


def preparation_of(aws: Aws, database: Database, deployment: Deployment) -> Preparation | None:
    """Return the preparation of the deployed cluster, if it has one; raise AwsError."""
    machine, cluster, version = database.after_restore, deployment.cluster, deployment.version
    if machine is None or cluster is None or version is None:
        return None
    found = aws.state_machines.execution(machine, _name(database, cluster))
    if found:
        return found
    if not deployment.is_remembered:
        return Preparation(UNKNOWN)  # no poll has seen the cluster yet
    if version.is_good or WORK_DUE not in version.labels:
        return None
    if version.run_id == UNKNOWN_RUN:
        name = _name(database, cluster)
        needed = json.dumps({"database": database.name, "cluster": cluster.identifier})
        return Preparation(
            "not started, because no run of the pipeline restored the cluster; if its data is not prepared, "
            f"start the execution {name} by hand with the input {needed}"
        )
    if aws.now() - cluster.created >= RECORDS_KEPT:
        # To start it now would repeat the work on a cluster that testers have used for months.
        return Preparation("failed or not seen to run, and its record is no longer kept")
    has_failed = notified_label(Reason.NOT_PREPARED) in version.labels
    failure = f"could not be started; each poll tries again: check {machine}"
    return Preparation(failure if has_failed else UNKNOWN, is_due=True)


def prepare(aws: Aws, database: Database, deployment: Deployment) -> Preparation | None:
    """Return the preparation of the deployed cluster, and start it if it is due; raise AwsError.

    A version marked `good` needs none; neither does a cluster that was in use before.
    """
    if deployment.version and deployment.version.is_good:
        return None
    found = preparation_of(aws, database, deployment)
    if found is None or not found.is_due:
        return found
    machine, cluster = database.after_restore, deployment.cluster
    assert machine is not None  # see preparation_of
    assert cluster is not None
    assert deployment.version is not None
    taken = time_of_data(aws, database, deployment.version)
    given = {
        "database": database.name,
        "snapshot": deployment.value,
        "cluster": cluster.identifier,
        "cluster_arn": cluster.arn,
        "endpoint": cluster.endpoint,
        "port": cluster.port,
        "engine": cluster.engine,
        "secret_arn": cluster.secret_arn,
        "taken": taken.isoformat() if taken else None,
        "run": deployment.maker,
    }
    try:
        aws.state_machines.start(machine, _name(database, cluster), given)
    except Refused as refused:
        return Preparation(str(refused))
    return Preparation("RUNNING")


def _name(database: Database, cluster: Cluster) -> str:
    """Return the execution's name, at most 80 characters, by which it is started only once."""
    suffix = f"-{cluster.resource_id}"
    return database.name[: 80 - len(suffix)] + suffix
