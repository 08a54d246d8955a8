"""Serve the console of a stage: python -m cli.console --stage NAME."""

import argparse
import sys

import boto3
from botocore.exceptions import ProfileNotFound

from cli.client import ApiClient, find_api_url
from cli.console.app import serve

parser = argparse.ArgumentParser(prog="make console", description="Serve a stage's console.")
parser.add_argument("--stage", required=True, help="the name of a deployed stage")
parser.add_argument("--port", type=int, default=0, help="default: a free one")
parser.add_argument("--url", help="the API's address; default: found by the stage")
options = parser.parse_args()
if not options.stage:
    parser.error("name a stage: make console STAGE=acceptance")
try:
    session = boto3.Session()
except ProfileNotFound as error:
    sys.exit(f"{error}. Set AWS_PROFILE to a profile that exists.")
url = options.url or (lambda: find_api_url(session, options.stage))
serve(ApiClient(url, session), options.stage, options.port)
