"""What EventBridge, API Gateway and people invoke."""

# Before botocore, which imports it from a deep stack: CPython 3.11 maps and unmaps memory at each
# call that crosses the end of its stack's first 16 KiB, and compiling urllib3's regular expressions
# there does so 2,300 times, which is a twentieth of a cold start.
import urllib3  # noqa: F401 (see above)
