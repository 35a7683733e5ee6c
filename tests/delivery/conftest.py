"""Fixtures of the tests of delivery."""

import pytest
from bench import Bench
from front_ends import Home
from workers import Workers


@pytest.fixture
def process_bench(server_url, key_names):
    bench = Bench(Home(key_names, server_url))
    yield bench
    bench.redis.close()


@pytest.fixture
def workers(process_bench, key_names, tmp_path):
    notes = key_names["timeline_key"].replace("timeline", "notes")
    workers = Workers(process_bench, notes, tmp_path)
    yield workers
    workers.close()
