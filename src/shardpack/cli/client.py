"""The arguments that say which stream of which Kinesis, and the boto3 client they make."""

from __future__ import annotations

from typing import Annotated, Any

import boto3
import typer
from botocore.config import Config

from .outcome import BadInputError

Stream = Annotated[
    str, typer.Argument(metavar="STREAM", help="Name of the stream, or its ARN, which may be of another account.")
]
Region = Annotated[str | None, typer.Option("--region", metavar="NAME", help="AWS region.", rich_help_panel="AWS")]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url", metavar="URL", help="Another Kinesis, a local one for example.", rich_help_panel="AWS"
    ),
]
Profile = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="Profile of your AWS configuration.", rich_help_panel="AWS"),
]


def make_client(
    region: str | None, endpoint_url: str | None, profile: str | None, *, calls_once: int | None = None
) -> Any:
    """Make a Kinesis client; what is not given comes from the environment and the AWS configuration, as always.

    For a producer, which tries again itself: one that makes each call once, and ``calls_once`` of them at a time.
    """
    session = boto3.session.Session(profile_name=profile, region_name=region)
    config = None
    if calls_once is not None:
        config = Config(
            retries={"total_max_attempts": 1}, max_pool_connections=calls_once, connect_timeout=6, read_timeout=6
        )
    try:
        return session.client("kinesis", endpoint_url=endpoint_url, config=config)
    except ValueError as error:  # an endpoint that is no URL
        raise BadInputError(str(error)) from None
