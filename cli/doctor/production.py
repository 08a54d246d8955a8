"""Check a production stage: the clusters, and the keys of their snapshots. Pure."""

from collections.abc import Iterator

from cli.doctor.checks import OK, PROBLEM, WARNING, Check, enable_key, own_key, unavailable
from cli.doctor.state import ProductionState, Unavailable
from cli.stages import ProductionStage, to_change


def clusters(stage: ProductionStage, state: ProductionState) -> Iterator[Check]:
    """Check that every cluster exists and is available, and that acceptance may get its key."""
    for name, cluster in state.clusters.items():
        if isinstance(cluster, Unavailable):
            yield unavailable("cluster", name, cluster)
        elif cluster is None:
            yield Check(
                "cluster",
                name,
                PROBLEM,
                f"does not exist in {stage.account}, {stage.region}",
                to_change(stage.name, "CLUSTERS=…"),
            )
        elif cluster["Status"] != "available":
            fix = f"nothing if that ends before {stage.settings.schedule}; otherwise start it"
            yield Check("cluster", name, WARNING, f"is {cluster['Status']}", fix)
        else:
            yield Check("cluster", name, OK, "is available")
        if name in state.cluster_keys:
            yield _cluster_key(stage, state, name)


def _cluster_key(stage: ProductionStage, state: ProductionState, name: str) -> Check:
    key, subject = state.cluster_keys[name], f"of {name}"
    if isinstance(key, Unavailable):
        return unavailable("key", subject, key)
    if key is None:
        fix = "restore the cluster from a snapshot under another key"
        return Check("key", subject, PROBLEM, "does not exist", fix)
    if key["KeyState"] != "Enabled":
        return Check("key", subject, PROBLEM, f"is {key['KeyState']}", enable_key(key["Arn"]))
    if key["KeyManager"] != "AWS":
        return Check(
            "key", subject, OK, "customer-managed and enabled; acceptance must be let use it"
        )
    if stage.settings.key:
        return Check(
            "key", subject, OK, "is managed by AWS: copies under SHARE_KMS_KEY_ID are shared"
        )
    return Check(
        "key",
        subject,
        PROBLEM,
        "is managed by AWS, so that no other account can use it",
        to_change(stage.name, "SHARE_KMS_KEY_ID=…"),
    )


def share_key(stage: ProductionStage, state: ProductionState) -> Iterator[Check]:
    """Check the key of copies."""
    key = stage.settings.key
    if key:
        yield own_key(stage, "key", "SHARE_KMS_KEY_ID", key, state.share_key)
