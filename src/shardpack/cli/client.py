"""The arguments that say which stream of which Kinesis, and the boto3 client they make."""

from __future__ import annotations

from typing import Any

from .outcome import BadInputError
from .parameters import argument, option

stream_argument = argument(
    "stream", metavar="STREAM", help="Name of the stream, or its ARN, which may be of another account."
)


def aws_options(function: Any) -> Any:
    """Add --region, --endpoint-url and --profile, which ``make_client`` takes."""
    for declare in (
        option("--profile", metavar="NAME", panel="AWS", help="Profile of your AWS configuration."),
        option("--endpoint-url", metavar="URL", panel="AWS", help="Another Kinesis, a local one for example."),
        option("--region", metavar="NAME", panel="AWS", help="AWS region."),
    ):
        function = declare(function)
    return function


def make_client(
    region: str | None,
    endpoint_url: str | None,
    profile: str | None,
    *,
    calls_once: int | None = None,
    service: str = "kinesis",
) -> Any:
    """Make a Kinesis client; what is not given comes from the environment and the AWS configuration, as always.

    For a producer, which tries again itself: one that makes each call once, and ``calls_once`` of them at a time.
    ``service`` is for a client of another one.
    """
    import boto3  # noqa: PLC0415 (help and completion do without)
    from botocore.config import Config  # noqa: PLC0415

    session: Any = boto3.session.Session(profile_name=profile, region_name=region)
    config = None
    if calls_once is not None:
        config = Config(
            retries={"total_max_attempts": 1}, max_pool_connections=calls_once, connect_timeout=6, read_timeout=6
        )
    try:
        return session.client(service, endpoint_url=endpoint_url, config=config)
    except ValueError as error:  # an endpoint that is no URL
        raise BadInputError(str(error)) from None
