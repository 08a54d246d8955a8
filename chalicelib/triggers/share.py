"""db-share-snapshot: take a snapshot of each cluster, to be shared."""

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases.share import share

settings = context.production()
blueprint, handler = context.scheduled(
    functions.SHARE,
    "share",
    settings.schedule,
    lambda time: share(settings, context.stage_name, context.aws, time),
)
