"""The subscriber with `batch`: its handlers get the timers of a claim as a list."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import is_dataclass
from inspect import Parameter
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Concatenate,
    NoReturn,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    get_args,
    get_origin,
    overload,
)

from faststream.exceptions import SetupError
from faststream.response import Response

from faststream_redis_timers._faststream import (
    CustomCallable,
    Filter,
    HandlerCallWrapper,
    PublisherProto,
)
from faststream_redis_timers.delivered import TimerBatchDelivery
from faststream_redis_timers.message import TimerBatchMessage
from faststream_redis_timers.parser import TimersBatchParser
from faststream_redis_timers.publisher.usecase import no_replies
from faststream_redis_timers.subscriber.batches import Terms, handle_and_settle_batch
from faststream_redis_timers.subscriber.config import TimersSubscriberConfig
from faststream_redis_timers.subscriber.loop import DeliveryLoop
from faststream_redis_timers.subscriber.usecase import TimersSubscriber

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fast_depends.dependencies import Dependant
    from faststream.message import StreamMessage

_First = TypeVar("_First")
_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")
_Bodies = list[Any]
_Handle = Callable[[TimerBatchDelivery], Awaitable[Response]]


class HandlerOptions(TypedDict, total=False):
    """Options of a handler, see FastStream's subscribers."""

    filter: Filter[Any]
    parser: CustomCallable | None
    decoder: CustomCallable | None
    dependencies: "Sequence[Dependant]"


class BatchDecorator(Protocol):
    """Decorates a handler whose first or second argument is a list, or whose first is the message.

    With the message as a second argument, type checkers would miss a first one that is not a list.
    """

    @overload
    def __call__(
        self, func: Callable[Concatenate[_Bodies, _Params], _Result], /
    ) -> HandlerCallWrapper[Concatenate[_Bodies, _Params], _Result]: ...

    @overload
    def __call__(
        self, func: Callable[Concatenate[TimerBatchMessage, _Params], _Result], /
    ) -> HandlerCallWrapper[Concatenate[TimerBatchMessage, _Params], _Result]: ...

    @overload
    def __call__(
        self, func: Callable[Concatenate[_First, _Bodies, _Params], _Result], /
    ) -> HandlerCallWrapper[Concatenate[_First, _Bodies, _Params], _Result]: ...


class TimersBatchSubscriber(TimersSubscriber):
    """Delivers the due timers of a topic to its handlers, those of a claim together."""

    _make_batch = TimerBatchDelivery

    # FastStream's accepts any handler.
    @overload  # type: ignore[override]
    def __call__(
        self,
        func: Callable[Concatenate[_Bodies, _Params], _Result],
        **options: Unpack[HandlerOptions],
    ) -> HandlerCallWrapper[Concatenate[_Bodies, _Params], _Result]: ...

    @overload
    def __call__(
        self,
        func: Callable[Concatenate[TimerBatchMessage, _Params], _Result],
        **options: Unpack[HandlerOptions],
    ) -> HandlerCallWrapper[Concatenate[TimerBatchMessage, _Params], _Result]: ...

    @overload
    def __call__(
        self,
        func: Callable[Concatenate[_First, _Bodies, _Params], _Result],
        **options: Unpack[HandlerOptions],
    ) -> HandlerCallWrapper[Concatenate[_First, _Bodies, _Params], _Result]: ...

    @overload
    def __call__(self, func: None = None, **options: Unpack[HandlerOptions]) -> BatchDecorator: ...

    def __call__(self, func: Any = None, **options: Any) -> Any:
        """Register a handler.

        Args:
            func: The handler; None returns a decorator with the options.
            **options: `filter`, `parser`, `decoder` and `dependencies`, as FastStream's
                subscribers have them. A filter sees the headers of the first timer.

        Raises:
            SetupError: Its results would be published.
        """
        register: Callable[[Any], Any] = super().__call__(**options)

        def register_checked(func: Any) -> Any:
            if isinstance(func, HandlerCallWrapper):
                self._check_replies(func)
            return register(func)

        return register_checked if func is None else register_checked(func)

    async def process_message(self, msg: Any) -> Response:
        """Run the handler for a batch and settle its timers.

        Args:
            msg: The batch.

        Returns:
            The handler's response; an empty one where timers were tried alone.
        """
        terms = Terms(
            sub=self.sub,
            bodies={
                (call.name, argument.field_name)
                for call in self.calls
                if call.dependant is not None
                for argument in call.dependant.params
            },
            policy=self._config.ack_policy,
            # FastStream's, since the parent's settles a single timer.
            handle=cast("_Handle", super(TimersSubscriber, self).process_message),
            on_stop=self._begin_stop,
            is_stopping=_is_stopping,
            log=self._write_log,
        )
        return await handle_and_settle_batch(cast("TimerBatchDelivery", msg), terms)

    async def get_one(self, *, timeout: float = 5) -> NoReturn:
        """Raise: timers can't be claimed one by one.

        Args:
            timeout: Ignored.

        Raises:
            SetupError: Always, since it delivers batches to handlers.
        """
        self._refuse("get_one()")

    def __aiter__(self) -> AsyncIterator[NoReturn]:
        """Raise: timers can't be claimed one by one.

        Raises:
            SetupError: Always, since it delivers batches to handlers.
        """
        self._refuse("`async for`")

    def _refuse(self, what: str) -> NoReturn:
        msg = (
            f"{what} returns timers one by one, but the subscriber of topic {self.topic!r} has "
            "batch=True, which works only with handlers: remove batch=True"
        )
        raise SetupError(msg)

    def check_setup(self) -> None:
        """Check that the subscriber can work.

        Raises:
            SetupError: See `TimersSubscriber.check_setup`; or results of a handler would be
                published.
            ValueError: A topic can't have a hash tag.
        """
        super().check_setup()
        for call in self.calls:
            self._check_replies(call.handler)

    def _build_fastdepends_model(self) -> None:
        # FastStream knows the parameters here, whether a broker, test or document starts it.
        super()._build_fastdepends_model()
        for call in self.calls:
            params: Sequence[Any] = getattr(call.dependant, "flat_params", ())
            names = [param.field_name for param in params]
            if len(names) > 1 or any(one.kind is Parameter.VAR_POSITIONAL for one in params):
                # FastStream would pass one body for each parameter, and drop the others.
                msg = (
                    f"handler {call.name!r} of topic {self.topic!r} and its dependencies take the "
                    f"parameters {', '.join(names)} from a message, but with batch=True a message "
                    "is one list: keep one parameter that takes a list, and declare the others "
                    "with Context() or Header()"
                )
                raise SetupError(msg)
            # The application's decoder may return anything for a batch.
            if names and call.decoder == self._decoder:
                self._check_list(call.name, names[0], params[0].field_type)

    def _check_list(self, handler: str, name: str, annotation: Any) -> None:
        """Raise if a parameter can't take a list."""
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        kind = get_origin(annotation) or annotation
        if not isinstance(kind, type):
            return
        is_model = hasattr(kind, "model_fields") or is_dataclass(kind)
        if is_model or issubclass(kind, (str, bytes, int, float, Mapping)):
            taken = kind.__name__
            msg = (
                f"handler {handler!r} of topic {self.topic!r} takes {name} as {taken}, but with "
                f"batch=True a message is a list: annotate it as list[{taken}]"
            )
            raise SetupError(msg)

    def _check_replies(self, handler: HandlerCallWrapper[..., Any]) -> None:
        # FastStream offers no other way to find this out.
        if handler._publishers:  # noqa: SLF001
            raise no_replies(self.topic)

    def get_log_context(self, message: "StreamMessage[Any] | None") -> dict[str, str]:
        """Return the topic and the first timer's id, which each log line names.

        Args:
            message: The message; None for lines that concern no message.
        """
        context = super().get_log_context(message)
        if message is not None and (more := len(message.raw_message.deliveries) - 1):
            context["message_id"] += f" (+{more})"
        return context

    def _set_parser(self, config: TimersSubscriberConfig) -> None:
        parser = TimersBatchParser()
        config.parser = parser.parse_batch
        config.decoder = parser.decode_batch

    def _make_response_publisher(
        self, message: "StreamMessage[Any]"
    ) -> Iterable[PublisherProto[Any]]:
        return ()


def _is_stopping(batch: TimerBatchDelivery) -> bool:
    """Return whether the loop that claimed a batch claims no more: it is stopping or stopped."""
    holder = batch.claim.holder
    # In a test only the test delivers.
    return isinstance(holder, DeliveryLoop) and not holder.core.claims
