"""Why a use case did not act, or what became of a run: one code each. Pure."""

from enum import StrEnum
from typing import Self

_COPY_LIMITS = (
    "RDS keeps 100 manual cluster snapshots in a Region and makes five copies at a time: delete "
    "snapshots that nobody needs, or wait for the next attempt."
)


class Reason(StrEnum):
    """A reason code, with the outcome it leads to and what a person can do about it.

    People are notified of every reason that has a `next_step`.
    """

    outcome: str
    next_step: str

    def __new__(cls, code: str, outcome: str, next_step: str = "") -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.outcome = outcome
        member.next_step = next_step
        return member

    # The schedules.
    OFF_WEEK = "off-week", "skipped"
    NOTHING_NEW = "nothing-new", "skipped"
    OUTSIDE_WINDOW = (
        "outside-window",
        "skipped",
        (
            "Nothing if this was a late delivery. Otherwise move RESTORE_SCHEDULE into "
            "MAINTENANCE_WINDOW, and deploy."
        ),
    )
    ON_HOLD = (
        "on-hold",
        "skipped",
        (
            "Nothing if the hold is still wanted. Otherwise lift it with DELETE /hold, or set its "
            "parameter to dummyvalue."
        ),
    )
    NO_ELIGIBLE_SNAPSHOT = (
        "no-eligible-snapshot",
        "failed",
        (
            "Check in production that snapshots of this engine and version are still taken and shared "
            "with this account. GET /snapshots shows the verdict on each share."
        ),
    )
    AMBIGUOUS_CLUSTER = (
        "ambiguous-cluster",
        "failed",
        "Set P_SOURCE_CLUSTER of the database to the cluster to restore, and deploy.",
    )
    PARAMETER_MISSING = (
        "parameter-missing",
        "failed",
        "Create the parameter, or correct its name in the stage and deploy.",
    )
    NO_LATEST = (
        "no-latest",
        "failed",
        "Check why db-update-latest-snapshot-id has not recorded a snapshot.",
    )
    SNAPSHOT_GONE = (
        "snapshot-gone",
        "failed",
        (
            "Check in production why the snapshot was deleted or is no longer shared, then pin another "
            "one."
        ),
    )
    NOT_ELIGIBLE = (
        "not-eligible",
        "failed",
        "Check who changed the parameter or the snapshot, then pin an eligible snapshot.",
    )
    SNAPSHOT_STALE = (
        "snapshot-stale",
        "failed",
        (
            "Check in production why no newer snapshot is shared. If the age is acceptable, pin this "
            "one."
        ),
    )
    PIPELINE_MISSING = (
        "pipeline-missing",
        "failed",
        "Correct the pipeline's name in its parameter.",
    )

    # Copies.
    COPY_PENDING = (
        "copy-pending",
        "failed",
        (
            "Wait until the copy is available and recorded in latest. Then refresh with POST /refresh, "
            "or leave it to the next schedule."
        ),
    )
    COPY_FAILED = (
        "copy-failed",
        "failed",
        (
            "Check that production still has the snapshot and lets this account use its key. The next "
            "run of db-update-latest-snapshot-id starts a new copy."
        ),
    )
    COPY_QUOTA = "copy-quota", "failed", _COPY_LIMITS
    COPY_KEY_DENIED = (
        "copy-key-denied",
        "failed",
        (
            "Allow the function's role to use both keys, in its own policy and in the keys' policies "
            "(docs/copies.md, docs/production.md). A snapshot under another account's default key "
            "aws/rds cannot be copied."
        ),
    )
    COPY_UNENCRYPTED = (
        "copy-unencrypted",
        "failed",
        (
            "Remove the key from the stage, or encrypt the source cluster under a customer-managed "
            "key."
        ),
    )
    COPY_NAME_TAKEN = (
        "copy-name-taken",
        "failed",
        "Find out who made that snapshot, then delete or rename it.",
    )

    # What became of a run.
    RUN_FAILED = (
        "run-failed",
        "failed",
        (
            "Open the run to see why it failed. The next schedule that is due promotes again; to "
            "restore earlier, use POST /refresh or pin a snapshot with deploy."
        ),
    )
    NOTHING_RESTORED = (
        "nothing-restored",
        "failed",
        (
            "Check that the run did not skip its deploy stage, that the template reads the parameter "
            "current as AWS::SSM::Parameter::Value<String>, and that P_STACK_NAME names the stack of "
            "this database (docs/main-pipeline.md)."
        ),
    )
    FAILED_AFTER_RESTORE = (
        "failed-after-restore",
        "failed",
        (
            "Testers have the new data. Correct the stage that failed and retry it; current stays, "
            "because it names what is deployed."
        ),
    )
    DEPLOYED_DIFFERS = (
        "deployed-differs",
        "failed",
        (
            "Nothing if the data is right: current now names what is deployed. Otherwise pin a "
            "snapshot with deploy."
        ),
    )
    DEPLOYED_UNKNOWN = (
        "deployed-unknown",
        "failed",
        (
            "Correct what is named above. Until then nothing is taken back, and the next run of the "
            "pipeline restores whatever current holds."
        ),
    )
    OTHER_PIPELINE = "other-pipeline", "ignored"

    # Production.
    CLUSTER_MISSING = "cluster-missing", "failed", "Correct CLUSTERS, and deploy."
    CLUSTER_BUSY = (
        "cluster-busy",
        "failed",
        "Check the cluster's status: wait until it is available, or start it.",
    )
    DEFAULT_KEY = (
        "default-key",
        "failed",
        (
            "Set SHARE_KMS_KEY_ID to a customer-managed key whose policy lets the other account use "
            "it, and deploy."
        ),
    )
    NO_AUTOMATED_SNAPSHOT = (
        "no-automated-snapshot",
        "failed",
        "Turn the cluster's automated backups on, or wait for the first one.",
    )
    AUTOMATED_STALE = (
        "automated-stale",
        "failed",
        "Check the cluster's events for why AWS has taken no backup since, and wait for the next.",
    )
    SNAPSHOT_QUOTA = "snapshot-quota", "failed", _COPY_LIMITS
    NAME_TAKEN = (
        "name-taken",
        "failed",
        "Find out who made that snapshot, then delete or rename it.",
    )
    SHARE_FAILED = "share-failed", "failed", "Check the cluster's events and its key."

    # A person's request, refused with a message that says what to do.
    AMBIGUOUS_NAME = "ambiguous-name", "failed"
    DATABASE_UNKNOWN = "database-unknown", "failed"
    HOLD_OVER = "hold-over", "failed"
    NO_HOLD_PARAMETER = "no-hold-parameter", "failed"
    NOTHING_EARLIER = "nothing-earlier", "failed"
    OVERRULED = "overruled", "failed"
