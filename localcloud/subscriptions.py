"""Subscriptions to a topic by e-mail or over HTTP, which have to be confirmed.

In moto, every subscription is confirmed. Restores *ListSubscriptionsByTopic* and *ConfirmSubscription* (SNS API
reference): until its endpoint has confirmed it with a token, a subscription is listed as ``PendingConfirmation``.
Queues and functions of the same account need not confirm. A control confirms in the place of the endpoint.
Nothing is sent to these endpoints, whether confirmed or not.
"""

from copy import copy
from typing import Any

from moto.core.responses import ActionResult
from moto.sns.models import Subscription, sns_backends
from moto.sns.responses import SNSResponse

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION
from localcloud.controls import control

_MUST_CONFIRM = ("email", "email-json", "http", "https")


class PendingSNSResponse(SNSResponse):
    """moto's SNS API with pending subscriptions."""

    def list_subscriptions_by_topic(self) -> ActionResult:
        result: Any = super().list_subscriptions_by_topic().result
        return ActionResult({**result, "Subscriptions": [*map(_shown, result["Subscriptions"])]})


def _shown(subscription: Subscription) -> Subscription:
    shown = copy(subscription)
    if shown.protocol in _MUST_CONFIRM and not shown.confirmed:
        shown.arn = "PendingConfirmation"
    return shown


@control
def confirm_subscription(endpoint: str) -> None:
    """Confirm the subscriptions of an e-mail address or URL."""
    for account in (ACCEPTANCE, PRODUCTION):
        for each in sns_backends[account][REGION].subscriptions.values():
            each.confirmed = each.confirmed or each.endpoint == endpoint
