"""The trace that a timer is scheduled in, as headers, so that the worker's spans belong to it.

OpenTelemetry is used where the process has loaded it, and never imported. The headers are
W3C's `traceparent` and `tracestate`; baggage stays here, whatever the process propagates.
"""

import sys
from collections.abc import Mapping

from faststream_redis_timers_sync.protocol.envelope import HeaderValue, check_headers

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"


def current_trace() -> Mapping[str, str]:
    """Return the headers that name the current span; empty if there is none."""
    # Looked up by name while another thread may still be importing it.
    get_current_span = getattr(sys.modules.get("opentelemetry.trace"), "get_current_span", None)
    if get_current_span is None:
        return {}
    span = get_current_span().get_span_context()
    if not span.is_valid:
        return {}
    headers = {TRACEPARENT: f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"}
    if span.trace_state:
        headers[TRACESTATE] = span.trace_state.to_header()
    return headers


def add_trace(
    trace: Mapping[str, str],
    headers: Mapping[str, HeaderValue] | None,
    own: Mapping[str, HeaderValue] | None = None,
) -> Mapping[str, HeaderValue] | None:
    """Add a trace to headers, unless they name another one.

    Args:
        trace: Headers that name a span, as `current_trace` returns them.
        headers: The headers; they win.
        own: Headers that will be added to these, such as those of a message of a batch.
    """
    if not trace:
        return headers
    check_headers(headers)
    check_headers(own)
    if any(given and TRACEPARENT in given for given in (headers, own)):
        return headers
    return {**trace, **dict(headers or {})}


def without_trace(
    headers: Mapping[str, HeaderValue] | None,
) -> Mapping[str, HeaderValue] | None:
    """Remove the headers of a trace.

    Args:
        headers: The headers.
    """
    if not headers:
        return headers
    return {name: headers[name] for name in headers if name not in {TRACEPARENT, TRACESTATE}}
