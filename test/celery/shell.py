"""A Python shell for the Go tests, with a stock Celery in it.

Reads an expression a line, as a JSON string, and answers with a line
{"value": …} or {"error": class, "text": …}. What users of Celery write in
their programs can so be written in a test.
"""
import contextlib
import datetime
import decimal
import io
import json
import sys
import threading
import time
import uuid

import redis
from celery import Celery, chain, chord, group
from celery.bin.celery import celery as command

from app import add, app, event_id, event_ids, failed, flaky, seen, slow, telemetry_ingest, url

answers = sys.stdout
server = redis.Redis.from_url(url)


def event(id, **more):
    """One event as the replaced system's agents send them."""
    return {
        "event_id": id,
        "agent_id": "PC1",
        "event_type": "process",
        "timestamp": 1700000000,
        "severity": "info",
        "version": "1.0",
        "host": {"hostname": "PC1", "os": "Windows", "os_version": "11"},
        "process": {"name": "C:\\Windows\\System32\\svchost.exe", "pid": 812, "command_line": "svchost.exe -k netsvcs"},
        **more,
    }


def nodes(n, timeout=30):
    """The names of the workers that answer, once there are n of them."""
    deadline = time.monotonic() + timeout
    while True:
        found = sorted(name for answer in app.control.ping(timeout=0.3) for name in answer)
        if len(found) == n:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"of {n} workers these answer: {found}")


def cli(*args):
    """The celery command: its exit code, and what it prints."""
    out = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            command.main(["-A", "app", *args], prog_name="celery")
        except SystemExit as e:
            code = e.code or 0
    return {"exit": code, "out": out.getvalue()}


# What picket's builtin rules take for an attack.
attack = {"process": {"name": "C:\\Windows\\System32\\vssadmin.exe", "pid": 813, "command_line": "vssadmin delete shadows /all"}}


def ingest_many(n, prefix, **options):
    """Sends n events, every hundredth an attack; the ids of their tasks."""
    ids = []
    with app.producer_pool.acquire(block=True) as producer:
        for i in range(n):
            e = event(f"{prefix}-{i}", **(attack if i % 100 == 0 else {}))
            ids.append(telemetry_ingest.apply_async([e], producer=producer, **options).id)
    return ids


def done(ids):
    """When those of the tasks that have succeeded did."""
    found = [json.loads(raw) for raw in server.mget(f"celery-task-meta-{id}" for id in ids) if raw]
    return [r["date_done"] for r in found if r["status"] == "SUCCESS"]


events = []  # that watch has seen, without heartbeats
state = app.events.State()


def watch():
    """Records the events of workers and tasks from now on."""
    ready = threading.Event()

    def run():
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": see})
            receiver.on_consume_ready = lambda *args, **kwargs: ready.set()
            receiver.capture(limit=None, timeout=None)

    def see(e):
        state.event(e)
        if e["type"] != "worker-heartbeat":
            events.append(e)

    threading.Thread(target=run, daemon=True).start()
    ready.wait(10)


for line in sys.stdin:
    try:
        answer = {"value": eval(json.loads(line))}
    except Exception as e:
        answer = {"error": type(e).__name__, "text": str(e)}
    print(json.dumps(answer, default=str), file=answers, flush=True)
