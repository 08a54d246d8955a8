"""db-follow-shares: share finished snapshots and delete expired ones."""

from chalicelib.triggers import context
from chalicelib.usecases.share import follow_shares

settings = context.production()
handler = context.scheduled(
    "share", None, lambda _: follow_shares(settings, context.stage_name, context.aws)
)
