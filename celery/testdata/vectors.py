"""Makes python-*.ndjson: what Celery itself sends, and does next.

    pip install celery==5.6.2 kombu==5.6.2 redis
    python vectors.py redis://127.0.0.1:6379/0 > python-5.6.2.ndjson    # flushes that database

Each line is a case: the lists and envelopes that were pushed ("sent"), the
arguments as plain JSON ("args", "kwargs"), and, where the task was run, the
envelopes pushed by then ("next") and the results stored ("results").
"""
import base64, datetime, decimal, json, sys, uuid

import celery
import redis
from celery import Celery, chain, chord, group
from celery.app.trace import build_tracer
from kombu.serialization import loads as kombu_loads

url = sys.argv[1]
db = redis.Redis.from_url(url)
app = Celery("vectors", broker=url, backend=url)
app.conf.update(task_serializer="json", accept_content=["json"], task_default_queue="celery")


@app.task(name="t.add")
def add(x, y=0):
    return x + y


@app.task(name="t.echo")
def echo(*args, **kwargs):
    return [list(args), kwargs]


@app.task(name="t.sum")
def xsum(numbers):
    return sum(numbers)


@app.task(name="t.fail")
def fail(*args):
    raise ValueError("bad event", 7)


@app.task(name="t.on_error")
def on_error(task_id):
    return task_id


def drain():
    sent = []
    for step in ("", "\x06\x163", "\x06\x166", "\x06\x169"):
        while True:
            raw = db.rpop("celery" + step)
            if raw is None:
                break
            sent.append({"list": "celery" + step, "envelope": raw.decode()})
    return sent


def plain(o):
    if isinstance(o, dict):
        return {k: plain(v) for k, v in o.items()}
    if isinstance(o, (list, tuple)):
        return [plain(v) for v in o]
    if isinstance(o, bytes):
        return o.decode() if o.isascii() else base64.b64encode(o).decode()
    if isinstance(o, (datetime.datetime, datetime.date, datetime.time)):
        return o.isoformat()
    if isinstance(o, (decimal.Decimal, uuid.UUID)):
        return str(o)
    if isinstance(o, float) and (o != o or o in (float("inf"), float("-inf"))):
        return "NaN" if o != o else "Infinity" if o > 0 else "-Infinity"
    return o


def decode(envelope):
    """As a worker does: kombu's own channel and serializers."""
    with app.connection_for_read() as conn:
        message = conn.default_channel.Message(json.loads(envelope), conn.default_channel)
        return message.headers, message.properties, message.delivery_info, message.decode()


def run(envelope):
    headers, properties, info, (args, kwargs, embed) = decode(envelope)
    task = app.tasks[headers["task"]]
    request = dict(headers, args=args, kwargs=kwargs, delivery_info=info, hostname="worker1@vm",
                   correlation_id=properties.get("correlation_id"), reply_to=properties.get("reply_to"), **embed)
    build_tracer(task.name, task, app=app)(headers["id"], args, kwargs, request)


def case(name, send, runs=0):
    db.flushdb()
    send()
    sent = drain()
    line = {"case": name, "celery": celery.__version__, "sent": sent}
    if name not in ("pickle", "protocol 1"):
        _, _, _, (args, kwargs, _) = decode(sent[0]["envelope"])
        line["args"], line["kwargs"] = plain(args), plain(kwargs)
    for message in sent[:runs]:
        run(message["envelope"])
    if runs:
        line["next"] = drain()
        line["results"] = {k.decode(): db.get(k).decode() for k in sorted(db.keys("celery-task-meta-*"))}
    print(json.dumps(line))


s = echo.s
has_bytes = [b"abc", b"\xff\x00"] if celery.__version__ >= "5.3" else []  # kombu 5.2 can't
now = datetime.datetime(2031, 5, 4, 3, 2, 1, 123456)
case("plain", lambda: s({"event_id": "e-1"}, "ü 😀 'quote' \"both\" \n\x00", 1.5, None, True, 2**70, 1e300, -1.5e-9, k=[{}, []]).delay(), 1)
case("nan", lambda: s(float("nan"), [float("inf"), -float("inf")], k={"NaN": "NaN"}).delay(), 1)
case("typed", lambda: s(now, now.date(), now.time(), now.replace(tzinfo=datetime.timezone.utc), decimal.Decimal("1.10"),
                        uuid.UUID("89105af8-f2a1-4c11-b233-23160e984f02"), *has_bytes, k={"deep": [now.date()]}).delay())
case("priority", lambda: s(1).apply_async(priority=3, countdown=2, expires=600))
for priority in (1, 5, 6, 9):
    case("priority %d" % priority, lambda: s(1).apply_async(priority=priority))
case("eta naive", lambda: s(1).apply_async(eta=now))
case("eta zone", lambda: s(1).apply_async(eta=now.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=30)))))
case("limits", lambda: s(1).apply_async(time_limit=30, soft_time_limit=20.5, shadow="ingest", headers={"tenant": "a", "n": {"x": 1}}))
case("zlib", lambda: s("a" * 500).apply_async(compression="zlib"))
case("bzip2", lambda: s("a" * 500).apply_async(compression="bzip2"))
case("ignored", lambda: s(1).apply_async(ignore_result=True), 1)
case("fails", lambda: fail.s(1).apply_async(), 1)
case("link", lambda: add.s(1, 2).apply_async(link=add.s(10).set(priority=6)), 1)
case("links", lambda: add.s(1, 2).apply_async(link=[add.s(10), add.si(20, 30), echo.s(k=1)]), 1)
case("link error", lambda: fail.s(1).apply_async(link_error=on_error.s()), 1)
case("link errors", lambda: fail.s(1).apply_async(link_error=[on_error.s(), on_error.s().set(queue="celery")]), 1)
case("chain", lambda: chain(add.s(1, 2), add.s(3), add.si(9, 9), echo.s(k="end")).apply_async(), 1)
case("chain fails", lambda: chain(fail.s(1), add.s(3), echo.s(k="end")).apply_async(link_error=on_error.s()), 1)
case("chain of chains", lambda: add.s(1, 2).apply_async(link=chain(add.s(3), add.s(4), add.s(5))), 1)
case("link group", lambda: add.s(1, 2).apply_async(link=group(add.s(3), add.s(4))), 1)
case("chain to group", lambda: chain(add.s(1, 2), group(add.s(3), add.s(4))).apply_async(), 1)
case("group", lambda: group(add.s(1, 1), add.s(2, 2)).apply_async(), 2)
case("chord", lambda: chord([add.s(1, 1), add.s(2, 2)], xsum.s()).apply_async(), 2)
case("chord to chain", lambda: (chord([add.s(1, 1), add.s(2, 2)], xsum.s() | add.s(100))).apply_async(), 2)
case("chord fails", lambda: chord([add.s(1, 1), fail.s(2)], xsum.s().on_error(on_error.s())).apply_async(), 2)
case("chain to chord", lambda: chain(add.s(1, 2), group(add.s(3), add.s(4)), xsum.s()).apply_async(), 1)
if hasattr(celery.canvas, "StampingVisitor"):
    def stamped():
        sig = chain(add.s(1, 2), add.s(3))
        sig.stamp(tenant="acme")
        sig.apply_async()
    case("stamped", stamped, 1)
case("pickle", lambda: s(1).apply_async(serializer="pickle"))
app = Celery("old", broker=url, backend=url, set_as_current=False)
app.conf.update(task_serializer="json", task_protocol=1)
case("protocol 1", lambda: app.send_task("t.echo", (1,), {"k": 2}, task_id="t-1"))
