"""Share production's snapshots: take them, share them once available, delete expired ones.

Nothing here waits for RDS, which may take hours. Clusters are independent: an AwsError of one does
not stop the others.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from chalicelib import notifications
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.functions import FOLLOW_SHARES, SHARE
from chalicelib.domain.ownership import expired
from chalicelib.domain.reasons import Reason
from chalicelib.domain.results import ClusterResult, Result, combine
from chalicelib.domain.shares import SharePolicy, managed_shares, newest_automated
from chalicelib.domain.snapshots import Snapshot
from chalicelib.ports import Aws
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases.batch import raise_errors, run_each
from chalicelib.usecases.copies import ListOwn, list_own_once
from chalicelib.usecases.scheduled import notify_refusals, scheduled_actor


def share(settings: ProductionSettings, stage: str, aws: Aws, scheduled: datetime) -> Result:
    """Request a snapshot of each cluster; `follow_shares` shares it later.

    Idempotent: a second delivery finds what the first one asked for. The result has the AwsErrors.
    """
    policy, cause, own = settings.policy(stage), scheduled_actor(scheduled), list_own_once(aws)
    results, failures = _each_cluster(
        settings, lambda cluster: _take(policy, aws, own, cluster, scheduled)
    )
    result = combine(clusters=results)
    notify_refusals(aws, SHARE, cause, result)
    try:
        raise_errors(failures)
    except AwsError as error:
        done = {each.name for each in results}
        names = [cluster for cluster in settings.clusters if cluster not in done]
        aws.notifier.notify(notifications.of_error(SHARE, cause, names, error, "clusters"))
        return result._replace(errors=(error,))
    return result


def follow_shares(settings: ProductionSettings, stage: str, aws: Aws) -> Result:
    """Share available snapshots and delete expired ones; raise AwsError.

    An AwsError of one cluster does not stop the others: it is among the result's `errors`. A failed
    snapshot is reported and deleted, so that the next schedule starts anew.
    """
    policy = settings.policy(stage)
    own = list(aws.snapshots.own())
    to_delete: list[Snapshot] = []
    results, failures = _each_cluster(
        settings, lambda cluster: _follow(policy, aws, cluster, own, to_delete)
    )
    result = combine(clusters=results)
    # An AwsError raises the alarm but sends no notification, because this runs all day.
    notify_refusals(aws, FOLLOW_SHARES, "its poll", result)
    # Delete after notifying: if the function is killed in between, people are notified twice, not never.
    # RDS may refuse to delete a failed one: its documentation requires an available one.
    _, not_deleted = run_each(to_delete, lambda each: aws.snapshots.delete(each.identifier))
    return result._replace(errors=(*failures, *not_deleted))


def _each_cluster(
    settings: ProductionSettings, action: Callable[[str], ClusterResult]
) -> tuple[list[ClusterResult], list[AwsError]]:
    """Return each cluster's result, refusals included, and the errors of the failed clusters."""

    def run(cluster: str) -> ClusterResult:
        try:
            return action(cluster)
        except Refused as refused:
            return ClusterResult(cluster, refused.reason.outcome, refused.reason, str(refused))

    return run_each(settings.clusters, run)


def _take(
    policy: SharePolicy, aws: Aws, own: ListOwn, name: str, scheduled: datetime
) -> ClusterResult:
    cluster = aws.clusters.describe(name)
    if cluster is None:
        raise Refused(Reason.CLUSTER_MISSING, f"there is no DB cluster {name} in this account")
    identifier = policy.name(name, scheduled)
    # Look first: RDS, or a rule here, may by now refuse what an earlier delivery was granted.
    shares = managed_shares(own(), name, policy)
    if found := _find(shares, name, identifier):
        return found
    if surplus := expired(shares, policy.keep):
        # Otherwise they would fill the account's quota, one at each scheduled time.
        message = f"db-follow-shares has not deleted {', '.join(_arns(surplus))} yet"
        raise Refused(Reason.SHARE_FAILED, message)
    # Its own key's policy may not let this function describe it.
    default = aws.keys.default() if cluster.key else None
    if cluster.key and default and default.endswith(cluster.key):
        key = policy.key
        if key is None or default.endswith(key):
            raise Refused(
                Reason.DEFAULT_KEY,
                f"{name} is encrypted under this account's default key aws/rds, which no other account "
                f"can use, and SHARE_KMS_KEY_ID is {key or 'not set'}: it has to be customer-managed",
            )
        source = newest_automated(name, aws.snapshots.automated(name), aws.now())
        made = aws.snapshots.copy(source.arn, identifier, key, policy.tags)
    else:
        made = aws.snapshots.take(name, identifier, policy.tags)
    if made:
        return ClusterResult(name, "asked", snapshots={"snapshot": made.arn})
    # Two deliveries may have asked at once. A snapshot without our tag is neither shared nor deleted.
    if found := _find(managed_shares(aws.snapshots.own(), name, policy), name, identifier):
        return found
    raise Refused(
        Reason.NAME_TAKEN, f"snapshot {identifier} exists but lacks this application's tag"
    )


def _find(shares: Iterable[Snapshot], name: str, identifier: str) -> ClusterResult | None:
    """Return the result for a snapshot that was asked for before; None if there is none; raise Refused."""
    for found in shares:
        if found.identifier == identifier:
            if found.failed:
                message = f"{found.arn} has failed; db-follow-shares deletes it"
                raise Refused(Reason.SHARE_FAILED, message)
            return ClusterResult(name, "unchanged", snapshots={"snapshot": found.arn})
    return None


def _follow(
    policy: SharePolicy,
    aws: Aws,
    name: str,
    own: Sequence[Snapshot],
    to_delete: list[Snapshot],
) -> ClusterResult:
    """Share what is available; add what is to be deleted to `to_delete`."""
    shares = managed_shares(own, name, policy)
    surplus = expired(shares, policy.keep)
    shared = []
    for each in shares:
        is_kept = each.available and each not in surplus
        if is_kept and policy.account not in aws.snapshots.shared_with(each.identifier):
            aws.snapshots.share(each.identifier, policy.account)
            shared.append(each)
    failed = [each for each in shares if each.failed]
    # Only now: acceptance may need the oldest until its successor is shared.
    deleted = [*surplus, *failed]
    to_delete += deleted
    result = ClusterResult(
        name,
        "shared" if shared else "unchanged",
        snapshots={
            "shared": _arns(shared),
            "under_way": _arns([each for each in shares if each.in_progress]),
            "deleted": _arns(deleted),
        },
    )
    if not failed:
        return result
    message = f"{name}: RDS could not create {', '.join(_arns(failed))}"
    return result._replace(outcome="failed", reason=Reason.SHARE_FAILED, message=message)


def _arns(shares: Sequence[Snapshot]) -> list[str]:
    return [share.arn for share in shares]
