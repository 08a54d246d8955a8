"""db-follow-shares: share finished snapshots and delete expired ones."""

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases.share import follow_shares

settings = context.production()
blueprint, handler = context.scheduled(
    functions.FOLLOW_SHARES,
    "share",
    None,
    lambda _: follow_shares(settings, context.stage_name, context.aws),
)
