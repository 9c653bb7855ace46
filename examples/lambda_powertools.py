"""User records in Powertools' batch processor, which answers with the Kinesis records that failed.

Its event source mapping needs FunctionResponseTypes=["ReportBatchItemFailures"].
"""

import json
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from shardpack import deaggregate

logger = Logger(service="readings")
processor = BatchProcessor(event_type=EventType.KinesisDataStreams)


def record_handler(record: KinesisStreamRecord) -> None:
    """Handle all user records of a Kinesis record: if one fails, they all come again."""
    for user_record in deaggregate(record):
        if user_record.error:
            logger.error("malformed", reason=str(user_record.error))  # it would fail again with each retry
            continue
        reading = json.loads(user_record.data)
        logger.info("reading", device=user_record.partition_key, celsius=reading["celsius"])


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
