"""db-share-snapshot: take a snapshot of each cluster, to be shared."""

from chalicelib.triggers import context
from chalicelib.usecases.share import share

settings = context.production()
handler = context.scheduled(
    "share",
    settings.schedule,
    lambda time: share(settings, context.stage_name, context.aws, time),
)
