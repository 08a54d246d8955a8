"""Who subscribes to a topic by e-mail or over HTTP has to confirm it.

moto takes every subscription for confirmed. Restores *Subscribe*, *ListSubscriptionsByTopic* and
*ConfirmSubscription* (SNS API reference) as far as they can be seen: until its endpoint has confirmed it with the
token it was sent, a subscription is listed as ``PendingConfirmation``. Queues and functions of the same account need
not confirm. What the endpoint would do with the token, the control surface does. That a pending subscription is
given up after two days is not restored, nor is anything sent to these endpoints, confirmed or not.
"""

from typing import Any

from moto.core.responses import ActionResult
from moto.sns import urls
from moto.sns.models import Subscription, sns_backends
from moto.sns.responses import SNSResponse

from localcloud.accounts import ACCEPTANCE, PRODUCTION, REGION

_MUST_CONFIRM = ("email", "email-json", "http", "https")
_PENDING = "PendingConfirmation"


class PendingSNSResponse(SNSResponse):
    """moto's SNS API, where a subscription may be pending."""

    def subscribe(self) -> ActionResult:
        """*Subscribe*; the ARN only to who asks for it, while it is pending."""
        answer = super().subscribe()
        result: Any = answer.result
        pending = not _is_confirmed(self.backend.subscriptions[result["SubscriptionArn"]])
        if pending and not self._get_bool_param("ReturnSubscriptionArn", False):
            return ActionResult({"SubscriptionArn": "pending confirmation"})
        return answer

    def list_subscriptions(self) -> ActionResult:
        """*ListSubscriptions*."""
        return _listing(super().list_subscriptions())

    def list_subscriptions_by_topic(self) -> ActionResult:
        """*ListSubscriptionsByTopic*."""
        return _listing(super().list_subscriptions_by_topic())


def _listing(answer: ActionResult) -> ActionResult:
    result: Any = answer.result
    return ActionResult({**result, "Subscriptions": [*map(_shown, result["Subscriptions"])]})


def _shown(subscription: Subscription) -> dict[str, Any]:
    return {
        "SubscriptionArn": subscription.arn if _is_confirmed(subscription) else _PENDING,
        "Owner": subscription.owner,
        "Protocol": subscription.protocol,
        "Endpoint": subscription.endpoint,
        "TopicArn": subscription.topic_arn,
    }


def _is_confirmed(subscription: Subscription) -> bool:
    return subscription.confirmed or subscription.protocol not in _MUST_CONFIRM


def _confirm(body: dict[str, Any]) -> dict[str, Any]:
    """POST: the endpoint confirms all that are pending."""
    found = [
        each
        for account in (ACCEPTANCE, PRODUCTION)
        for each in sns_backends[account][REGION].subscriptions.values()
        if each.endpoint == body["endpoint"]
    ]
    if not found:
        raise ValueError(f"nothing was sent to {body['endpoint']}")
    for each in found:
        each.confirmed = True
    return {}


def install() -> None:
    """Put the API where subscriptions may be pending in the place of moto's."""
    urls.url_paths["{0}/$"] = PendingSNSResponse.dispatch


ROUTES = {("POST", "/_cloud/subscriptions/confirm"): _confirm}
