"""Check a production stage: the clusters, and the keys of their snapshots."""

from collections.abc import Iterator

from cli.doctor.checks import Check, Verdict, check, ok, problem, unusable_key, warning
from cli.look import Look, known
from cli.stages import ProductionStage, to_change


def clusters(look: Look, stage: ProductionStage) -> Iterator[Check]:
    """Check that every cluster exists and is available, and that acceptance may get its key."""
    for name in stage.settings.clusters:
        yield from _cluster(name, look, stage)
        cluster = known(look.cluster, name)
        if cluster and cluster.get("StorageEncrypted"):
            yield from _cluster_key(f"of {name}", look, stage, cluster["KmsKeyId"])


@check("cluster")
def _cluster(name: str, look: Look, stage: ProductionStage) -> Verdict:
    cluster = look.cluster(name)
    if cluster is None:
        fix = to_change(stage.name, "CLUSTERS=…")
        return problem(f"does not exist in {stage.account}, {stage.region}", fix)
    if cluster["Status"] != "available":
        fix = f"do nothing if that ends before {stage.settings.schedule}; otherwise start it"
        return warning(f"is {cluster['Status']}", fix)
    return ok("is available")


@check("key")
def _cluster_key(_subject: str, look: Look, stage: ProductionStage, arn: str) -> Verdict:
    """Judge the key of a cluster; under the default key, copies under SHARE_KMS_KEY_ID are shared."""
    key, other = look.key(arn), to_change(stage.name, "SHARE_KMS_KEY_ID=…")
    if wrong := unusable_key(key, other, may_be_aws=stage.settings.key is not None):
        return wrong
    is_default = key is not None and key["KeyManager"] == "AWS"
    shared = "copies under SHARE_KMS_KEY_ID are shared"
    return ok(f"enabled; {shared if is_default else 'acceptance needs rights to use it'}")
