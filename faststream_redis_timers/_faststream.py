"""Private parts of FastStream that a broker needs, imported only here.

FastStream has no public API for third-party brokers. If a new FastStream moves something, only
this file breaks.
"""

from faststream._internal._compat import json_loads
from faststream._internal.basic_types import LoggerProto, SendableMessage
from faststream._internal.broker import BrokerUsecase
from faststream._internal.broker.registrator import Registrator
from faststream._internal.broker.router import ArgsContainer, BrokerRouter, SubscriberRoute
from faststream._internal.configs import (
    BrokerConfig,
    PublisherSpecificationConfig,
    PublisherUsecaseConfig,
    SubscriberSpecificationConfig,
    SubscriberUsecaseConfig,
)
from faststream._internal.constants import EMPTY
from faststream._internal.context.context_type import Context as ContextField
from faststream._internal.context.repository import ContextRepo
from faststream._internal.di import FastDependsConfig
from faststream._internal.endpoint.call_wrapper import HandlerCallWrapper
from faststream._internal.endpoint.publisher import (
    PublisherProto,
    PublisherSpecification,
    PublisherUsecase,
)
from faststream._internal.endpoint.publisher.fake import FakePublisher
from faststream._internal.endpoint.subscriber import (
    SubscriberSpecification,
    SubscriberUsecase,
)
from faststream._internal.endpoint.subscriber.call_item import CallsCollection
from faststream._internal.endpoint.utils import ParserComposition, process_msg
from faststream._internal.logger import DefaultLoggerStorage, make_logger_state
from faststream._internal.logger.logging import get_broker_logger
from faststream._internal.parser import BatchCodecProto, CodecProto, DefaultCodec
from faststream._internal.producer import ProducerProto
from faststream._internal.testing.broker import EnterType, TestBroker
from faststream._internal.types import (
    AsyncCallable,
    BrokerMiddleware,
    CustomCallable,
    Filter,
    IdGenerator,
    PublisherMiddleware,
)

try:
    from faststream._internal.configs import UnderlyingDriverAnnotation
except ImportError:
    # FastStream 0.7.6 does not check how arguments are annotated.
    UnderlyingDriverAnnotation = None  # type: ignore[assignment, misc]

__all__ = (
    "EMPTY",
    "ArgsContainer",
    "AsyncCallable",
    "BatchCodecProto",
    "BrokerConfig",
    "BrokerMiddleware",
    "BrokerRouter",
    "BrokerUsecase",
    "CallsCollection",
    "CodecProto",
    "ContextField",
    "ContextRepo",
    "CustomCallable",
    "DefaultCodec",
    "DefaultLoggerStorage",
    "EnterType",
    "FakePublisher",
    "FastDependsConfig",
    "Filter",
    "HandlerCallWrapper",
    "IdGenerator",
    "LoggerProto",
    "ParserComposition",
    "ProducerProto",
    "PublisherMiddleware",
    "PublisherProto",
    "PublisherSpecification",
    "PublisherSpecificationConfig",
    "PublisherUsecase",
    "PublisherUsecaseConfig",
    "Registrator",
    "SendableMessage",
    "SubscriberRoute",
    "SubscriberSpecification",
    "SubscriberSpecificationConfig",
    "SubscriberUsecase",
    "SubscriberUsecaseConfig",
    "TestBroker",
    "UnderlyingDriverAnnotation",
    "get_broker_logger",
    "json_loads",
    "make_logger_state",
    "process_msg",
)
