"""What production does for acceptance: snapshots are asked for, shared once available, and let go.

Nothing here waits for RDS, which may take hours. AWS comes in as a Aws. Clusters are
independent: what AWS did not do for one is raised once all have had their turn.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from chalicelib import notifications
from chalicelib.domain.errors import AwsError, Refused
from chalicelib.domain.functions import FOLLOW_SHARES, SHARE
from chalicelib.domain.results import failed, foremost
from chalicelib.domain.shares import (
    Share,
    SharePolicy,
    check_key,
    kept,
    named,
    newest_automated,
    of_the_same,
    ours,
    superfluous,
)
from chalicelib.domain.snapshots import OwnSnapshot
from chalicelib.ports import Aws
from chalicelib.settings.production import ProductionSettings
from chalicelib.usecases.batch import combine_errors, run_each

NEXT_STEPS = {
    "cluster-missing": "Correct CLUSTERS, and deploy.",
    "cluster-busy": "Look at the cluster's status: wait until it is available, or start it.",
    "default-key": "Set SHARE_KMS_KEY_ID to a customer-managed key whose policy lets acceptance use it, and "
    "deploy.",
    "no-automated-snapshot": "Turn the cluster's automated backups on, or wait for the first one.",
    "automated-stale": "Look at the cluster's events for why AWS has taken no backup since, and wait for the "
    "next one.",
    "snapshot-quota": "RDS keeps 100 manual cluster snapshots in a Region: delete what nobody needs.",
    "copy-quota": "RDS keeps 100 manual cluster snapshots in a Region, and copies five at a time: delete "
    "what nobody needs, or wait.",
    "copy-key-denied": "Let the function's role use SHARE_KMS_KEY_ID (kms:CreateGrant, kms:DescribeKey), in "
    "its policy and in the key's.",
    "copy-unencrypted": "Wait until the cluster has automated snapshots that are encrypted as it is.",
    "snapshot-gone": "Nothing, if the cluster still has automated snapshots.",
    "name-taken": "Look who made that snapshot; delete or rename it.",
    "share-failed": "Look at the cluster's events and at its key.",
}
AGAIN = "Then run db-share-snapshot again: chalice invoke, with the event of its schedule."

Json = dict[str, Any]


class Result(NamedTuple):
    """``message`` says ``reason`` in words; ``clusters`` has an entry for each cluster."""

    outcome: str
    reason: str | None
    message: str | None
    clusters: tuple[Mapping[str, Any], ...]

    def to_json(self) -> Json:
        """The answer in the style of the contract's section 3."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "message": self.message,
            "clusters": [dict(cluster) for cluster in self.clusters],
        }


def share(settings: ProductionSettings, aws: Aws, scheduled: datetime) -> Result:
    """Ask for a snapshot of each cluster, which ``follow_shares`` shares; raises AwsError.

    Delivered twice, it finds what it has asked for.
    """
    entries, missed = _each_cluster(
        settings, lambda cluster: _ask(settings.sharing, aws, cluster, scheduled)
    )
    cause = _cause(scheduled)
    _tell_refusals(aws, SHARE, cause, entries)
    if missed:
        error = combine_errors(error for _, error in missed)
        concerned = {"clusters": ",".join(cluster for cluster, _ in missed)}
        aws.notifier.notify(
            notifications.not_done("SHARING FAILED", SHARE, cause, concerned, error)
        )
        raise error
    return _answer(entries)


def follow_shares(settings: ProductionSettings, aws: Aws, scheduled: datetime) -> Result:
    """Share what has become available, and let the oldest go; raises AwsError.

    One that failed is told of and deleted, so that the next schedule begins anew.
    """
    own = list(aws.snapshots.own())
    going: list[Share] = []
    entries, missed = _each_cluster(
        settings, lambda cluster: _follow(settings.sharing, aws, cluster, own, going)
    )
    # What AWS did not do is raised and rings the alarm, but is not told: this runs all day.
    _tell_refusals(aws, FOLLOW_SHARES, _cause(scheduled), entries)
    # After people were told: a kill between the two tells it twice, not never.
    _, kept_back = run_each(going, lambda each: _let_go(settings.sharing, aws, each))
    errors = [error for _, error in (*missed, *kept_back)]
    if errors:
        raise combine_errors(errors)
    return _answer(entries)


def _each_cluster(
    settings: ProductionSettings, act: Callable[[str], Json]
) -> tuple[list[Json], list[tuple[str, AwsError]]]:
    """The entry of each cluster, a refused one's, too; and for which AWS did not do what."""

    def acted(cluster: str) -> Json:
        try:
            return act(cluster)
        except Refused as refused:
            return _entry(cluster, "failed") | failed(refused)

    return run_each(settings.clusters, acted)


def _ask(sharing: SharePolicy, aws: Aws, name: str, scheduled: datetime) -> Json:
    cluster = aws.clusters.find(name)
    if cluster is None:
        raise Refused("cluster-missing", f"there is no DB cluster {name} here")
    identifier = sharing.name(name, scheduled)
    # Looked for first: what an earlier delivery was given, RDS or a rule here may refuse by now.
    before = ours(aws.snapshots.own(), name, sharing)
    if found := named(identifier, before):
        return _found(name, found)
    if cluster.key and aws.keys.is_aws_managed(cluster.key):
        key = check_key(cluster, sharing)
        source = newest_automated(name, aws.snapshots.automated(name), aws.now())
        assert source.created is not None  # an available snapshot has one
        if same := of_the_same(source.created, before):
            return _found(name, same)
        if aws.keys.is_aws_managed(key):
            raise Refused(
                "default-key",
                f"SHARE_KMS_KEY_ID is {key}, a key that AWS manages, which no other account can be let "
                f"use: a copy of {name} under it would be of no use",
            )
        made = aws.snapshots.copy(source.arn, identifier, key, sharing.tags(source.created))
    else:
        made = aws.snapshots.take(name, identifier, sharing.tags(scheduled))
    if made:
        return _entry(name, "asked") | {"snapshot": made.snapshot.arn}
    # Two deliveries may have asked at once; but what is not ours is neither shared nor deleted.
    if found := named(identifier, ours(aws.snapshots.own(), name, sharing)):
        return _found(name, found)
    raise Refused("name-taken", f"there is a snapshot {identifier}, which has no tags of ours")


def _found(name: str, found: Share) -> Json:
    return _entry(name, "unchanged") | {"snapshot": found.snapshot.arn}


def _follow(
    sharing: SharePolicy,
    aws: Aws,
    name: str,
    own: Sequence[OwnSnapshot],
    going: list[Share],
) -> Json:
    """Share what can be; what is to be deleted is added to ``going``."""
    shares = ours(own, name, sharing)
    shared = []
    for each in kept(shares, sharing):
        if sharing.account not in aws.snapshots.shared_with(each.identifier):
            aws.snapshots.share(each.identifier, sharing.account)
            shared.append(each)
    came_to_nothing = [each for each in shares if each.failed]
    # Only now: until its successor is shared, acceptance may still want the oldest.
    deleted = [*superfluous(shares, sharing), *came_to_nothing]
    going += deleted
    told = _entry(name, "shared" if shared else "unchanged") | {
        "shared": _arns(shared),
        "under_way": _arns([each for each in shares if each.under_way]),
        "deleted": _arns(deleted),
    }
    if came_to_nothing:
        arns = ", ".join(_arns(came_to_nothing))
        told |= failed(Refused("share-failed", f"{name}: RDS could not make {arns}"))
    return told


def _let_go(sharing: SharePolicy, aws: Aws, going: Share) -> None:
    """Stop sharing and delete.

    RDS may refuse to delete one that failed: its reference has only what is available deleted.
    """
    if going.available and sharing.account in aws.snapshots.shared_with(going.identifier):
        aws.snapshots.unshare(going.identifier, sharing.account)
    aws.snapshots.delete(going.identifier)


def _tell_refusals(aws: Aws, function: str, cause: str, entries: Sequence[Json]) -> None:
    refused = [entry for entry in entries if entry["outcome"] == "failed"]
    if not refused:
        return
    reasons = list(dict.fromkeys(entry["reason"] for entry in refused))
    names = ",".join(entry["name"] for entry in refused)
    aws.notifier.notify(
        notifications.notice(
            f"SHARING FAILED: {','.join(reasons)} ({names})",
            {
                "What happened": [f"{function}: {entry['message']}." for entry in refused],
                "Started by": cause,
                "What to do": [*(NEXT_STEPS[reason] for reason in reasons), AGAIN],
            },
            {
                "function": function,
                "outcome": "failed",
                "reason": reasons[0],
                "clusters": names,
            },
        )
    )


def _answer(entries: Sequence[Json]) -> Result:
    told = foremost(entries, ("failed", "asked", "shared", "unchanged"))
    return Result(told["outcome"], told["reason"], told["message"], tuple(entries))


def _entry(name: str, outcome: str) -> Json:
    return {"name": name, "outcome": outcome, "reason": None, "message": None}


def _arns(shares: Sequence[Share]) -> list[str]:
    return [share.snapshot.arn for share in shares]


def _cause(scheduled: datetime) -> str:
    return f"the schedule of {scheduled:%Y-%m-%d %H:%M} UTC"
