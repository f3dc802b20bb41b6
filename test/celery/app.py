"""A stand-in for the Celery app of the legacy Django project, with its settings.

PICKET_TEST_REDIS is the broker and the result backend. telemetry_ingest does
what the original does, except for MongoDB and the rules. If PICKET_TEST_SEEN is
set, it appends its arguments to the Redis list of that name.
"""
import json
import os
import time

import redis
from celery import Celery

url = os.environ["PICKET_TEST_REDIS"]
seen = os.environ.get("PICKET_TEST_SEEN")
app = Celery("edr_server", broker=url, backend=url)
app.conf.accept_content = ["json"]
app.conf.task_serializer = "json"
app.conf.broker_connection_retry_on_startup = True
app.conf.worker_enable_remote_control = True


@app.task(name="ingestion.tasks.telemetry_ingest")
def telemetry_ingest(data):
    if not isinstance(data, dict):
        raise ValueError(f"an event is a dict, not {type(data).__name__}")
    for field in ("event_id", "agent_id", "event_type", "timestamp", "severity"):
        if field not in data:
            raise ValueError(f"event without {field}")
    if seen:
        redis.Redis.from_url(url).rpush(seen, json.dumps(data))
    if data["event_type"] == "process":
        "powershell" in data.get("process", {}).get("command_line", "").lower()
    return {
        "status": "success",
        "event_id": data["event_id"],
        "event_type": data["event_type"],
        "alerts_created": 0,
    }


@app.task
def add(x, y):
    return x + y


@app.task
def slow(seconds):
    time.sleep(seconds)


@app.task(bind=True, max_retries=3)
def flaky(self, failures):
    """Fails the given number of times, then succeeds."""
    if self.request.retries < failures:
        raise self.retry(countdown=0, exc=RuntimeError("not yet"))
    return self.request.retries


@app.task
def event_id(result):
    """The next task of a chain after telemetry_ingest."""
    return result["event_id"]


@app.task
def event_ids(results):
    """The callback of a chord of telemetry_ingest tasks."""
    return [r["event_id"] for r in results]


@app.task
def failed(task_id):
    """An errback."""
    return task_id
