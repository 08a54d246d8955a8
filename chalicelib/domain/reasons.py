"""Why a use case refused to act, or how a run ended: one code each. Pure."""

from enum import StrEnum
from typing import Self


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

    # fmt: off
    # The schedules.
    OFF_WEEK = "off-week", "skipped"
    NOTHING_NEW = "nothing-new", "skipped"
    OUTSIDE_WINDOW = "outside-window", "skipped", "Move RESTORE_SCHEDULE into MAINTENANCE_WINDOW, and deploy. If the event was only delivered late, do nothing."
    ON_HOLD = "on-hold", "skipped", "If the hold is still needed, do nothing. Otherwise lift it: aurora-refresh resume, or set its parameter to dummyvalue."
    NO_ELIGIBLE_SNAPSHOT = "no-eligible-snapshot", "failed", "Check in production that snapshots are still taken and shared with this account. aurora-refresh snapshots shows each verdict."
    AMBIGUOUS_CLUSTER = "ambiguous-cluster", "failed", "Set the variable named above to the source cluster, then deploy."
    PARAMETER_MISSING = "parameter-missing", "failed", "Create the parameter, or correct its name in the stage and deploy."
    NO_LATEST = "no-latest", "failed", "The next update records a snapshot. If it has run already, see the log of db-update-latest-snapshot-id."
    SNAPSHOT_GONE = "snapshot-gone", "failed", "Check in production why the snapshot was deleted or is no longer shared. In acceptance, the next scheduled refresh takes the newest one left; to restore sooner, pin one."
    NOT_ELIGIBLE = "not-eligible", "failed", "Find out who changed what the message names, and correct that. After a failed copy, or a change of the settings, run the update again. To restore sooner, pin an eligible snapshot."
    SNAPSHOT_STALE = "snapshot-stale", "failed", "If aurora-refresh snapshots shows a newer one, see why db-update-latest-snapshot-id has not recorded it; otherwise check in production why none was shared. If the age is acceptable, pin this one."
    PIPELINE_MISSING = "pipeline-missing", "failed", "Correct the pipeline's name in its parameter."

    # Copies.
    COPY_PENDING = "copy-pending", "failed", "Once the copy is available, aurora-refresh refresh --outside-window restores it; or wait for the next scheduled refresh."
    COPY_FAILED = "copy-failed", "failed", "Check that production still has the snapshot and shares its key. The next update starts a new copy."
    COPY_QUOTA = "copy-quota", "failed", "RDS runs five copies at a time: wait; in acceptance, db-reconcile retries. RDS allows 100 manual cluster snapshots per Region: delete those you no longer need."
    COPY_KEY_DENIED = "copy-key-denied", "failed", "Allow the function's role to use both keys, in its policy and in theirs (docs/copies.md, docs/production.md)."
    COPY_UNENCRYPTED = "copy-unencrypted", "failed", "In acceptance, remove the key from the stage, or have the source cluster encrypted under a customer-managed key. In production, wait for the next backup."
    COPY_NAME_TAKEN = "copy-name-taken", "failed", "Find out who made that snapshot, then delete it; copy it first if it is needed."

    # How a run ended.
    RUN_FAILED = "run-failed", "failed", "Open the run to see why it failed; if none was started, see the function's log. The schedule tries again by itself. To restore sooner, ask again: refresh with --outside-window, pin or rollback with --deploy-now."
    NOTHING_RESTORED = "nothing-restored", "failed", "Check that the run did not skip its deploy stage, that the template reads current, and that the database's P_STACK_NAME, such as RDS_STACK_NAME, is right (docs/main-pipeline.md)."
    FAILED_AFTER_RESTORE = "failed-after-restore", "failed", "The new data is deployed, and current stays. Correct the stage that failed and retry it; a cancelled run needs nothing."
    NOT_PREPARED = "not-prepared", "failed", "Do NOT use the data yet. Correct what failed, and redrive the execution if there is one; its success completes the refresh."
    DEPLOYED_DIFFERS = "deployed-differs", "failed", "If the data is right, do nothing: current now names what is deployed. Otherwise pin a snapshot with --deploy-now."
    DEPLOYED_UNKNOWN = "deployed-unknown", "failed", "Correct what is named above. Until then nothing is reverted. A deleted cluster comes back only from another snapshot than the one in current: pin one with --deploy-now."

    # Production.
    CLUSTER_MISSING = "cluster-missing", "failed", "Correct CLUSTERS, and deploy."
    CLUSTER_BUSY = "cluster-busy", "failed", "Wait until the cluster is available, or start it."
    DEFAULT_KEY = "default-key", "failed", "Set SHARE_KMS_KEY_ID to a customer-managed key that acceptance may use, and deploy."
    NO_AUTOMATED_SNAPSHOT = "no-automated-snapshot", "failed", "Wait for the first automated snapshot."
    AUTOMATED_STALE = "automated-stale", "failed", "Check the cluster's events to see why there is no newer backup."
    SNAPSHOT_QUOTA = "snapshot-quota", "failed", "Delete manual cluster snapshots that you no longer need: RDS allows 100 per Region."
    NAME_TAKEN = "name-taken", "failed", "Find out who made that snapshot, then delete it; copy it first if it is needed."
    SHARE_FAILED = "share-failed", "failed", "Check the cluster's events and its key, or the log of db-follow-shares."
    # fmt: on

    # A person's request, refused with a message that says what to do.
    AMBIGUOUS_NAME = "ambiguous-name", "failed"
    DATABASE_UNKNOWN = "database-unknown", "failed"
    HOLD_OVER = "hold-over", "failed"
    NO_HOLD_PARAMETER = "no-hold-parameter", "failed"
    NOTHING_EARLIER = "nothing-earlier", "failed"
    OVERRULED = "overruled", "failed"
