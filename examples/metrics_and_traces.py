"""Metrics for Prometheus and traces of OpenTelemetry, of a worker and of a blocking program.

    pip install "faststream-redis-timers[prometheus,otel]"
    python -m examples.metrics_and_traces

The metrics are what dashboards/faststream-redis-timers.json shows in Grafana.
"""

import asyncio
import urllib.request
from datetime import timedelta

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, start_http_server

from examples.embedded_server import embedded_server
from faststream_redis_timers import TimersBroker
from faststream_redis_timers.opentelemetry import TimersTelemetryMiddleware
from faststream_redis_timers.prometheus import TimersPrometheusMiddleware
from faststream_redis_timers_sync import TimersClient
from faststream_redis_timers_sync.prometheus import TimersCollector

INVOICES = "example-invoices"

# Yours sends its spans to a collector of OpenTelemetry, this one remembers them.
spans = InMemorySpanExporter()
tracer_provider = TracerProvider()
tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = tracer_provider.get_tracer("web")

registry = CollectorRegistry()


async def work(url: str) -> None:
    """Handle one timer, as a worker of your own would handle them for ever."""
    broker = TimersBroker(
        url,
        middlewares=[
            TimersPrometheusMiddleware(registry=registry, app_name="billing"),
            TimersTelemetryMiddleware(tracer_provider=tracer_provider),
        ],
    )
    finished = asyncio.Event()

    @broker.subscriber(INVOICES)
    async def remind(number: str) -> None:
        print(f"{number} is due")
        finished.set()

    async with broker:
        await asyncio.wait_for(finished.wait(), timeout=10)


def schedule(client: TimersClient) -> None:
    """Schedule as a view does: its span is named in the timers."""
    with tracer.start_as_current_span("POST /invoices"):
        client.schedule("INV-001", INVOICES)
        client.schedule("INV-002", INVOICES, activate_in=timedelta(days=30))


def show_metrics(port: int) -> None:
    """Read what Prometheus would."""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    for line in lines:
        name = line.partition("{")[0]
        if name.startswith("faststream_timers_") and not name.endswith(("_bucket", "_created")):
            print(line)
        if name == "faststream_received_processed_messages_total":
            print(line)


def show_traces() -> None:
    """Tell how the spans are tied together."""
    by_id = {span.context.span_id: span for span in spans.get_finished_spans()}
    for span in by_id.values():
        for link in span.links:
            print(f"{span.name!r} links to {by_id[link.context.span_id].name!r}")


def main(url: str) -> None:
    with TimersClient(url) as client:
        # It counts in threads of the little web server, so that no event loop waits for it.
        registry.register(TimersCollector(client, [INVOICES]))
        web, _ = start_http_server(0, "localhost", registry=registry)
        schedule(client)
        asyncio.run(work(url))
        show_metrics(web.server_port)
        show_traces()
        web.shutdown()
        web.server_close()
        client.cancel_all(INVOICES)


if __name__ == "__main__":
    with embedded_server() as url:
        main(url)
