"""Prometheus metrics and OpenTelemetry traces of a worker and of a blocking program.

    pip install ".[prometheus,otel]"
    python -m examples.metrics_and_traces

dashboards/faststream-redis-timers.json shows these metrics in Grafana.
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

# Your program sends its spans to an OpenTelemetry collector; this one keeps them in memory.
spans = InMemorySpanExporter()
tracer_provider = TracerProvider()
tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = tracer_provider.get_tracer("web")

registry = CollectorRegistry()


async def work(url: str) -> None:
    """Handle one timer; your own worker would keep running."""
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
    """Schedule as a view does: the timers carry its span."""
    with tracer.start_as_current_span("POST /invoices"):
        client.schedule("INV-001", INVOICES)
        client.schedule("INV-002", INVOICES, activate_in=timedelta(days=30))


def show_metrics(port: int) -> None:
    """Print the metrics that Prometheus would read."""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics") as response:
        lines = response.read().decode().splitlines()
    for line in lines:
        name = line.partition("{")[0]
        if name.startswith("faststream_timers_") and not name.endswith(("_bucket", "_created")):
            print(line)
        if name == "faststream_received_processed_messages_total":
            print(line)


def show_traces() -> None:
    """Print which spans are linked."""
    by_id = {span.context.span_id: span for span in spans.get_finished_spans()}
    for span in by_id.values():
        for link in span.links:
            print(f"{span.name!r} links to {by_id[link.context.span_id].name!r}")


def main(url: str) -> None:
    with TimersClient(url) as client:
        # The collector counts in threads of the web server, so that no event loop waits for it.
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
