"""A Python shell for the Go tests, with a stock Celery.

Each line of input is an expression as a JSON string; each line of output is
{"value": …} or {"error": class, "text": …}. Tests can so contain what users of
Celery write in their programs.
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

# How long to wait for what is certain to come; no test passes by reaching it.
TIMEOUT = 180


def event(id, **more):
    """An event as legacy agents send it."""
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


def nodes(n):
    """Waits until n workers reply to a ping, and returns their names."""
    deadline = time.monotonic() + TIMEOUT
    wait = 0.3
    while True:
        found = sorted(name for answer in app.control.ping(timeout=wait) for name in answer)
        wait *= 1.5
        if len(found) == n:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"want {n} workers, these reply: {found}")


def cli(*args):
    """Runs the celery command, and returns its exit code and output."""
    out = io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            command.main(["-A", "app", *args], prog_name="celery")
        except SystemExit as e:
            code = e.code or 0
    return {"exit": code, "out": out.getvalue()}


# An event that matches one of picket's built-in rules.
attack = {"process": {"name": "C:\\Windows\\System32\\vssadmin.exe", "pid": 813, "command_line": "vssadmin delete shadows /all"}}


def ingest_many(n, prefix, **options):
    """Sends n events, of which every hundredth is an attack, and returns the ids of the tasks."""
    ids = []
    with app.producer_pool.acquire(block=True) as producer:
        for i in range(n):
            e = event(f"{prefix}-{i}", **(attack if i % 100 == 0 else {}))
            ids.append(telemetry_ingest.apply_async([e], producer=producer, **options).id)
    return ids


def done(ids):
    """The times at which those of the tasks that succeeded were done."""
    found = [json.loads(raw) for raw in server.mget(f"celery-task-meta-{id}" for id in ids) if raw]
    return [r["date_done"] for r in found if r["status"] == "SUCCESS"]


events = []  # received since watch(), without heartbeats
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
    ready.wait(TIMEOUT)


for line in sys.stdin:
    try:
        answer = {"value": eval(json.loads(line))}
    except Exception as e:
        answer = {"error": type(e).__name__, "text": str(e)}
    print(json.dumps(answer, default=str), file=answers, flush=True)
