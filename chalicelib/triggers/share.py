"""db-share-snapshot: take a snapshot of each cluster, to be shared."""

from chalicelib.domain import functions
from chalicelib.triggers import context
from chalicelib.usecases.share import share

blueprint, handler = context.scheduled(
    __name__,
    functions.SHARE,
    "share",
    context.production().schedule,
    lambda settings, aws, time: share(settings, context.stage_name, aws, time),
)
