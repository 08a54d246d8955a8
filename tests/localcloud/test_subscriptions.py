"""Compared with the SNS API reference: subscriptions that wait for their confirmation."""

from typing import Any

import pytest

from localcloud.client import LocalCloud

ADDRESS = "team@example.com"
QUEUE = "arn:aws:sqs:eu-west-1:222222222222:people"


@pytest.fixture
def topic(cloud: LocalCloud) -> str:
    arn: str = cloud.client("sns").create_topic(Name="aurora-refresh")["TopicArn"]
    return arn


def listed(cloud: LocalCloud, topic: str) -> dict[str, str]:
    """Each endpoint's subscription."""
    sns = cloud.client("sns")
    by_topic = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert by_topic == sns.list_subscriptions()["Subscriptions"]
    return {each["Endpoint"]: each["SubscriptionArn"] for each in by_topic}


def subscribe(cloud: LocalCloud, topic: str, protocol: str, endpoint: str, **more: Any) -> str:
    answer = cloud.client("sns").subscribe(
        TopicArn=topic, Protocol=protocol, Endpoint=endpoint, **more
    )
    arn: str = answer["SubscriptionArn"]
    return arn


@pytest.mark.parametrize(
    ("protocol", "endpoint"), [("email", ADDRESS), ("https", "https://example.com/hook")]
)
def test_a_subscription_is_pending_until_its_endpoint_confirms_it(
    cloud: LocalCloud, topic: str, protocol: str, endpoint: str
) -> None:
    assert subscribe(cloud, topic, protocol, endpoint) == "pending confirmation"
    assert listed(cloud, topic) == {endpoint: "PendingConfirmation"}

    cloud.confirm_subscription(endpoint)
    assert listed(cloud, topic)[endpoint].startswith(f"{topic}:")
    assert subscribe(cloud, topic, protocol, endpoint) == listed(cloud, topic)[endpoint]


def test_who_asks_for_the_arn_of_a_pending_subscription_is_told(
    cloud: LocalCloud, topic: str
) -> None:
    arn = subscribe(cloud, topic, "email", ADDRESS, ReturnSubscriptionArn=True)
    assert arn.startswith(f"{topic}:")
    assert listed(cloud, topic) == {ADDRESS: "PendingConfirmation"}


def test_a_queue_need_not_confirm(cloud: LocalCloud, topic: str) -> None:
    cloud.client("sqs").create_queue(QueueName="people")
    arn = subscribe(cloud, topic, "sqs", QUEUE)
    assert listed(cloud, topic) == {QUEUE: arn}
