"""Compared with the SNS API reference: subscriptions that wait for their confirmation."""

import pytest

from localcloud.client import LocalCloud


@pytest.mark.parametrize(
    ("protocol", "endpoint", "pending"),
    [
        ("email", "team@example.com", True),
        ("https", "https://example.com/hook", True),
        ("sqs", "arn:aws:sqs:eu-west-1:222222222222:people", False),
    ],
)
def test_a_subscription_is_pending_until_its_endpoint_confirms_it_and_a_queue_need_not(
    cloud: LocalCloud, protocol: str, endpoint: str, pending: bool
) -> None:
    """*ListSubscriptionsByTopic* and *ConfirmSubscription*."""
    sns = cloud.client("sns")
    cloud.client("sqs").create_queue(QueueName="people")
    topic = sns.create_topic(Name="aurora-refresh")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint)

    def listed() -> str:
        (found,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        return str(found["SubscriptionArn"])

    assert (listed() == "PendingConfirmation") == pending
    cloud.confirm_subscription(endpoint)
    assert listed().startswith(f"{topic}:")
