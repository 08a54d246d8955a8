"""Play back the local cloud's answers of one night, as often as needed and whatever is written."""

import logging
import math
import time
from collections import defaultdict
from http.client import HTTPConnection
from threading import Thread

from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

#: The answers to each operation, in order.
Recording = defaultdict[str, list[bytes]]

BURST = 10
_THROTTLED = "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"


class Playback:
    """An endpoint of AWS, which counts the calls."""

    def __init__(self, cloud: str) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._cloud = cloud.removeprefix("http://")
        self._server = make_server("127.0.0.1", 0, Request.application(self._answer), threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.play(Recording(list))
        Thread(target=self._server.serve_forever, daemon=True).start()

    def play(self, recording: Recording, rate: float = math.inf) -> None:
        """Answer from the beginning of the recording; RDS admits so many calls a second.

        After the end of the recording, pass calls on to the cloud, and record its answers.
        """
        self._recording, self._rate = recording, rate
        self._full = 0.0  # when the bucket of tokens will be full again
        self.calls: list[str] = []

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: Request) -> Response:
        body, target = request.get_data(), request.headers.get("X-Amz-Target")
        if not target and not self._admits():
            return Response(_THROTTLED, 400)
        operation = (target or request.form["Action"]).rpartition(".")[2]
        self.calls.append(operation)
        answers, number = self._recording[operation], self.calls.count(operation)
        if len(answers) < number:
            connection = HTTPConnection(self._cloud)
            headers = {name: value for name, value in request.headers if name != "Host"}
            connection.request("POST", "/", body, headers)
            answers.append(connection.getresponse().read())
            connection.close()
        return Response(answers[number - 1])

    def _admits(self) -> bool:
        """Take a token from the bucket, as AWS does to throttle calls; return whether there was one."""
        now = time.monotonic()
        self._full = max(self._full, now)
        if self._full - now > (BURST - 1) / self._rate:
            return False
        self._full += 1 / self._rate
        return True
