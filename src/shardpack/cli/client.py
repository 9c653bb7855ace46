"""The options that say which Kinesis, and the boto3 client they make."""

from __future__ import annotations

from typing import Annotated, Any

import boto3
import typer

from .outcome import BadInputError

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


def make_client(region: str | None, endpoint_url: str | None, profile: str | None) -> Any:
    """Make a Kinesis client; what is not given comes from the environment and the AWS configuration, as always."""
    session = boto3.session.Session(profile_name=profile, region_name=region)
    try:
        return session.client("kinesis", endpoint_url=endpoint_url)
    except ValueError as error:  # an endpoint that is no URL
        raise BadInputError(str(error)) from None
