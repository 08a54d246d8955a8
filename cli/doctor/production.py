"""Check a production stage: the clusters, and the keys of their snapshots."""

from collections.abc import Iterator

from cli.doctor.checks import Check, Verdict, check, ok, problem, unusable_key, warning
from cli.look import ProductionLook, known
from cli.stages import to_change


def clusters(look: ProductionLook) -> Iterator[Check]:
    """Check that every cluster exists and is available, and that acceptance may get its key."""
    for name in look.stage.settings.clusters:
        yield from _cluster(name, look)
        cluster = known(look.cluster, name)
        if cluster and cluster.get("StorageEncrypted"):
            yield from _cluster_key(f"of {name}", look, cluster["KmsKeyId"])


@check("cluster")
def _cluster(name: str, look: ProductionLook) -> Verdict:
    stage, cluster = look.stage, look.cluster(name)
    if cluster is None:
        fix = to_change(stage.name, "CLUSTERS=…")
        return problem(f"does not exist in {stage.account}, {stage.region}", fix)
    if cluster["Status"] != "available":
        fix = f"nothing if that ends before {stage.settings.schedule}; otherwise start it"
        return warning(f"is {cluster['Status']}", fix)
    return ok("is available")


@check("key")
def _cluster_key(_subject: str, look: ProductionLook, arn: str) -> Verdict:
    """Judge the key of a cluster; copies under another one are shared if SHARE_KMS_KEY_ID is set."""
    own = look.stage.settings.key
    other = to_change(look.stage.name, "SHARE_KMS_KEY_ID=…")
    if wrong := unusable_key(look.key(arn), other, may_be_aws=own is not None):
        return wrong
    shared = (
        "copies under SHARE_KMS_KEY_ID are shared" if own else "acceptance needs rights to use it"
    )
    return ok(f"enabled; {shared}")
