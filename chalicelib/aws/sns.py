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
        taken = []
        if self.topic_arn:
            attributes = {
                name: {"DataType": "String", "StringValue": value}
                for name, value in notification.attributes.items()
            }
            to_people = self._publish(
                notification,
                TopicArn=self.topic_arn,
                Subject=notification.subject,
                Message=notification.body,
                MessageAttributes=attributes,
            )
            taken.append(to_people)
        if self.chat_topic_arn:
            message = notification.to_chat()
            to_chat = self._publish(notification, TopicArn=self.chat_topic_arn, Message=message)
            taken.append(to_chat)
        return any(taken) or not taken

    def _publish(self, notification: Notification, **arguments: Any) -> bool:
        try:
            with translate_errors("Publish", arguments["TopicArn"]):
                self.client.publish(**arguments)
        except AwsError:
            _LOGGER.exception("notification not published: %s", notification.subject)
            emit(Metric(None, NOTIFICATION_FAILED, 1, "Count"), self.stage)
            return False
        return True
