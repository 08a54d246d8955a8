"""SNS: notifications to people."""

import logging
from typing import TYPE_CHECKING

from chalicelib.aws.errors import translate_errors
from chalicelib.domain.errors import AwsError
from chalicelib.notifications import Notification

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

_LOGGER = logging.getLogger("aurora-refresh")


class SnsNotifier:
    """Publishes notifications to an SNS topic.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """

    def __init__(self, client: "SNSClient", topic_arn: str) -> None:
        self._client = client
        self._topic_arn = topic_arn

    def notify(self, notification: Notification) -> None:
        """Publish the notification; log a failure, and never raise it."""
        try:
            with translate_errors("Publish", self._topic_arn):
                self._client.publish(
                    TopicArn=self._topic_arn,
                    Subject=notification.subject,
                    Message=notification.body,
                    MessageAttributes={
                        name: {"DataType": "String", "StringValue": value}
                        for name, value in notification.attributes.items()
                    },
                )
        except AwsError:
            _LOGGER.exception("notification not published: %s", notification.subject)


class NullNotifier:
    """Discards notifications: the stage has no topic, and the log has the decisions."""

    def notify(self, notification: Notification) -> None:
        """Do nothing."""
