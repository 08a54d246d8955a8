"""SNS: notifications to people."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.aws.errors import translate_errors
from chalicelib.domain.errors import AwsError
from chalicelib.domain.functions import APP
from chalicelib.notifications import Notification
from chalicelib.observability import NOTIFICATION_FAILED, Metric, emit

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

_LOGGER = logging.getLogger(APP)


@dataclass
class SnsNotifier:
    """The `Notifier` port: publishes to a topic for people, and to one for chat, if there are any.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """

    client: "SNSClient"
    topic_arn: str | None
    chat_topic_arn: str | None = None
    stage: str = "local"

    def notify(self, notification: Notification) -> bool:
        messages: list[dict[str, Any]] = []
        if self.topic_arn:
            to_people = {
                "TopicArn": self.topic_arn,
                "Subject": notification.subject,
                "Message": notification.body,
                "MessageAttributes": {
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in notification.attributes.items()
                },
            }
            messages.append(to_people)
        if self.chat_topic_arn:
            messages.append({"TopicArn": self.chat_topic_arn, "Message": notification.to_chat()})
        taken = [self._publish(notification, each) for each in messages]
        return any(taken) or not messages

    def _publish(self, notification: Notification, message: dict[str, Any]) -> bool:
        try:
            with translate_errors("Publish", message["TopicArn"]):
                self.client.publish(**message)
        except AwsError:
            _LOGGER.exception("notification not published: %s", notification.subject)
            emit(Metric(None, NOTIFICATION_FAILED, 1, "Count"), self.stage)
            return False
        return True
