"""Scenarios of Fanfare's tests with the library `websockets`: client.py SCENARIO URL.

A scenario prints where it stands, a line at a time, may wait for lines on standard input, and ends with status 0 if
all went as it should.
"""

import asyncio
import base64
import json
import re
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Close

URL = sys.argv[2]
CROWD = 200
MEBIBYTE = 1 << 20


def open_(path, **options):
    # No proxy of the environment stands between the test and its server.
    return connect(URL + path, proxy=None, open_timeout=30, close_timeout=30, **options)


def say(line):
    print(line, flush=True)


async def hear():
    return (await asyncio.to_thread(sys.stdin.readline)).strip()


async def ask(client, **request):
    await client.send(json.dumps(request))
    return json.loads(await client.recv())


async def messages():
    """Each message that one client sends reaches it and another one, as it was sent and in order."""
    sent = ["", "text", "gr\u00fc\u00dfe \U0001f600", b"", b"\x00\xff", "x" * 125, "x" * 126, b"y" * 65535, b"z" * 65536]
    sent += ["\u00e9" * (MEBIBYTE // 2), bytes(range(256)) * (MEBIBYTE // 256)]
    async with open_("/ws/messages") as one, open_("/ws/messages") as other, open_("/pub/messages") as publisher:
        for sender in (one, publisher):
            for message in sent:
                await sender.send(message)
            for receiver in (one, other):
                for message in sent:
                    assert await receiver.recv() == message


async def fragments():
    """A message sent in fragments arrives as one."""
    text = ["eins, ", "", "zwei \u20ac, ", "drei"]
    data = [bytes([number % 256]) * 1000 for number in range(300)]

    async def slowly(parts):
        for part in parts:
            yield part
            await asyncio.sleep(0)

    async with open_("/ws/fragments") as one, open_("/ws/fragments") as other:
        for parts, whole in ((text, "".join(text)), (data, b"".join(data))):
            await one.send(parts)
            await one.send(slowly(parts))
            for receiver in (one, other):
                assert await receiver.recv() == whole
                # The engine writes one frame for a message, however it was received.
                frames = [frame async for frame in receiver.recv_streaming()]
                assert [frame for frame in frames if frame] == [whole]


async def stream():
    """The JSON protocol, with ids."""
    async with open_("/stream", subprotocols=["fanfare.v1.json"]) as one, open_("/stream?topics=a,b") as other:
        assert one.subprotocol == "fanfare.v1.json"
        announced = json.loads(await other.recv())
        assert announced["op"] == "subscribe" and announced["ok"] is True and "id" not in announced
        assert sorted(topic["topic"] for topic in announced["topics"]) == ["a", "b"]

        reply = await ask(one, op="subscribe", args=["a", "c"], id=1)
        epochs = [topic.pop("epoch") for topic in reply["topics"]]
        assert all(re.fullmatch("[0-9a-f]{16}", epoch) for epoch in epochs) and len(set(epochs)) == 2, epochs
        topics = [{"topic": "a", "seq": 0, "oldest": None}, {"topic": "c", "seq": 0, "oldest": None}]
        assert reply == {"id": 1, "op": "subscribe", "ok": True, "topics": topics}
        assert await ask(one, op="list", id="mine") == {"id": "mine", "op": "list", "ok": True, "topics": ["a", "c"]}
        assert await ask(one, op="ping", id=2) == {"id": 2, "op": "pong"}
        assert await ask(one, op="ping") == {"op": "pong"}

        data = {"nested": [1, 2.5, None, True, "\u00e9\u2028\U0001f600"], "empty": {}}
        await one.send(json.dumps({"op": "publish", "args": {"topic": "a", "data": data}, "id": 3}))
        got = [json.loads(await one.recv()) for _ in range(2)]
        assert {"id": 3, "op": "publish", "ok": True, "topic": "a", "seq": 1} in got
        assert {"topic": "a", "seq": 1, "data": data} in got
        assert json.loads(await other.recv()) == {"topic": "a", "seq": 1, "data": data}

        reply = await ask(one, op="unsubscribe", args=["a"], id=4)
        assert reply == {"id": 4, "op": "unsubscribe", "ok": True, "topics": ["a"]}
        reply = await ask(one, op="publish", args={"topic": "a", "data": "not for me"}, id=5)
        assert reply == {"id": 5, "op": "publish", "ok": True, "topic": "a", "seq": 2}
        assert json.loads(await other.recv())["data"] == "not for me"

        for request, code in (
            ({"op": "subscribe", "args": [" a"], "id": 6}, "bad_topic"),
            ({"op": "subscribe", "args": "a", "id": 7}, "bad_args"),
            ({"op": "unsubscribe", "args": ["a"], "id": 8}, "not_subscribed"),
            ({"op": "publish", "args": {"topic": "a", "data": 1}, "qos": 2, "id": 9}, "unknown_field"),
            ({"op": "sing", "id": 10}, "unknown_op"),
        ):
            reply = await ask(one, **request)
            assert reply["id"] == request["id"] and reply["ok"] is False, reply
            assert reply["error"]["code"] == code and reply["error"]["message"].endswith("."), reply

        # What other endpoints and the library publish.
        async with open_("/ws/b") as raw:
            await raw.send("text")
            await raw.send(b"\x00\xff")
        assert json.loads(await other.recv()) == {"topic": "b", "seq": 1, "data": "text"}
        assert json.loads(await other.recv()) == {"topic": "b", "seq": 2, "data": "AP8=", "encoding": "base64"}


async def pings():
    """The client's pings are answered, its own keepalive included."""
    async with open_("/ws/pings", ping_interval=0.02, ping_timeout=30) as client:
        for payload in (b"", b"ping", b"p" * 125):
            await asyncio.wait_for(await client.ping(payload), 30)
        # The keepalive measures the time to each of its own pongs.
        while client.latency == 0:
            await asyncio.sleep(0.01)
        await client.pong(b"nobody asked")
        await client.send("and it goes on")
        assert await client.recv() == "and it goes on"


async def closes():
    """The server's close frame repeats the client's code, or says what the client did wrong."""
    for path in ("/ws/closes", "/pub/closes", "/stream"):
        for code in (1000, 1001, 1011, 3000, 4321):
            client = await open_(path)
            await client.close(code, "because")
            assert client.close_code == code, client.close_code
            assert client.protocol.close_rcvd == Close(code, ""), client.protocol.close_rcvd
            assert client.protocol.close_rcvd_then_sent is False
    for path, message, code in (
        ("/ws/closes", b"x" * (MEBIBYTE + 1), 1009),
        ("/ws/closes", [b"x" * MEBIBYTE, b"x"], 1009),
        ("/stream", b"{}", 1003),
        ("/pub/closes?data=json", "{", 1007),
    ):
        client = await open_(path)
        try:
            await client.send(message)
            await client.recv()
        except ConnectionClosedError as error:
            assert error.rcvd is not None and error.rcvd.code == code and error.rcvd.reason, error
            assert error.rcvd_then_sent is True
        else:
            raise AssertionError(f"{path} took a message that it should not")
        await client.wait_closed()


async def deflate():
    """Messages are compressed both ways, each for itself, in the window that was agreed to, once for all subscribers."""
    small = ClientPerMessageDeflateFactory(server_max_window_bits=10)
    takeover = ClientPerMessageDeflateFactory(client_max_window_bits=True)
    agreed = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    sent = ["compressible " * 10_000, b"\x00" * 100_000, json.dumps({"prices": list(range(3000))}), "short"]
    async with (
        open_("/ws/deflate", compression=None) as plain,
        open_("/ws/deflate", compression=None, extensions=[takeover]) as one,
        open_("/ws/deflate") as other,
        open_("/ws/deflate", compression=None, extensions=[small]) as narrow,
        open_("/pub/deflate") as publisher,
        open_("/stream") as stream,
    ):
        assert "Sec-WebSocket-Extensions" not in plain.response.headers
        for client, words in ((one, agreed), (other, agreed), (narrow, agreed + "; server_max_window_bits=9")):
            assert client.response.headers["Sec-WebSocket-Extensions"] == words, client.response.headers
        assert (await ask(stream, op="subscribe", args=["deflate"], id=1))["ok"] is True
        for sender in (publisher, plain, one):
            for message in sent:
                await sender.send(message)
            for message in sent:
                for receiver in (plain, one, other, narrow):
                    assert await receiver.recv() == message
                data = json.loads(await stream.recv())
                if isinstance(message, bytes):
                    assert base64.b64decode(data["data"]) == message and data["encoding"] == "base64"
                else:
                    assert data["data"] == message
    # Three long messages from each of three senders, each in the views raw, raw with the small window, and JSON.
    say(f"compressed {3 * 3 * 3}")


async def refusals():
    """A refused upgrade is told with its status and reason."""
    for path, status in (("/", 404), ("/ws/", 400), ("/ws/a/b", 404), ("/stream?topics=%01", 400), ("/ws/a?data=x", 400)):
        try:
            await open_(path)
        except InvalidStatus as error:
            assert error.response.status_code == status, (path, error)
            assert error.response.body.decode().count("\n") == 1, error.response.body
        else:
            raise AssertionError(f"{path} was upgraded")


class Replica:
    """The newest value of each key of a topic, kept as docs/PROTOCOL.md says."""

    def __init__(self, topic):
        self.topic = topic
        self.values = {}
        self.since = None
        self.epoch = None
        self.complete = False
        self.live = []  # the numbers of all messages that came behind a snapshot

    async def subscribe(self, client):
        """Returns the reply's only topic."""
        options = {"topic": self.topic, "snapshot": True, "policy": "conflate"}
        if self.since is not None:
            options |= {"since": self.since, "epoch": self.epoch}
        reply = await ask(client, op="subscribe", args=[options], id=self.topic)
        assert reply["ok"] is True, reply
        [subscribed] = reply["topics"]
        if not subscribed.get("recovered"):
            self.forget()
        self.epoch = subscribed["epoch"]
        return subscribed

    def forget(self):
        self.values, self.since, self.complete, self.live = {}, None, False, []

    async def take(self, client):
        """Takes the next message or notice, which is returned."""
        message = json.loads(await asyncio.wait_for(client.recv(), 30))
        assert message["topic"] == self.topic, message
        match message.get("op"):
            case None:
                self.since = message["seq"]
                if message.get("tombstone"):
                    self.values.pop(message["key"], None)
                else:
                    self.values[message["key"]] = message["data"]
                if self.complete:
                    self.live.append(self.since)
            case "snapshot":
                self.forget()
            case "live":
                self.since, self.complete = message["seq"], True
            case other:
                raise AssertionError(f"nobody is slow here: {other}")
        return message

    async def take_snapshot(self, client):
        taken = [await self.take(client)]
        while taken[-1].get("op") != "live":
            taken.append(await self.take(client))
        assert taken[0] == {"op": "snapshot", "topic": self.topic, "seq": taken[-1]["seq"]}, taken
        return taken[1:-1]


async def recovery():
    """A keyed topic survives lost connections: nothing is missing, nothing comes twice, removed keys are gone."""
    count, published, expected = 600, 0, {}

    async def publish(number):
        nonlocal published
        key = f"key {number % 7}"
        if number % 11 == 10:
            content = {"tombstone": True}
            expected.pop(key, None)
        else:
            expected[key] = number
            content = {"data": number}
        reply = await ask(publisher, op="publish", args={"topic": "recovery", "key": key, **content}, id=number)
        assert reply == {"id": number, "op": "publish", "ok": True, "topic": "recovery", "seq": number}, reply
        published = number

    async def publish_all():
        for number in range(51, count + 1):
            await publish(number)
            await asyncio.sleep(0.001)

    async with open_("/stream") as publisher:
        for number in range(1, 51):
            await publish(number)

        replica = Replica("recovery")
        client = await open_("/stream")
        assert "recovered" not in await replica.subscribe(client)
        snapshot = await replica.take_snapshot(client)
        assert all("tombstone" not in message for message in snapshot), snapshot
        assert replica.values == expected and replica.since == 50, replica.values

        publishing = asyncio.create_task(publish_all())
        for enough in (150, 300, 450):
            while replica.since < enough:
                await replica.take(client)
            # Hard, with messages on their way.
            client.transport.abort()
            await client.wait_closed()
            while published < enough + 10:
                await asyncio.sleep(0.001)
            client = await open_("/stream")
            subscribed = await replica.subscribe(client)
            assert subscribed["recovered"] is True and "missing" not in subscribed, subscribed
            assert replica.since == enough and subscribed["seq"] >= enough + 10, subscribed
        while replica.since < count:
            await replica.take(client)
        await publishing
        assert replica.live == list(range(51, count + 1)), replica.live
        assert replica.values == expected, replica.values

        # Another epoch, as after a restart: the old numbers mean nothing, and the snapshot begins anew.
        await client.close()
        replica.epoch = f"{int(replica.epoch, 16) ^ 1:016x}"
        async with open_("/stream") as client:
            subscribed = await replica.subscribe(client)
            assert subscribed["recovered"] is False and subscribed["missing"] is None, subscribed
            snapshot = await replica.take_snapshot(client)
            numbers = [message["seq"] for message in snapshot]
            assert numbers == sorted(numbers) and len(snapshot) == len(expected), snapshot
            assert replica.values == expected and replica.since == count, replica.values

        # A raw client says it in the query, hears it in headers, and its library ignores notices.
        async with open_(f"/ws/recovery?since={count - 3}&epoch={replica.epoch}") as raw:
            headers = raw.response.headers
            said = [headers[f"Fanfare-{name}"] for name in ("Epoch", "Seq", "Oldest", "Recovered")]
            assert said == [replica.epoch, str(count), "1", "true"], said
            for number in range(count - 2, count + 1):
                assert await raw.recv() == ("" if number % 11 == 10 else str(number))
        async with open_("/ws/recovery?snapshot=true") as raw:
            got = [await raw.recv() for _ in expected]
            assert got == [str(number) for number in sorted(expected.values())], got


async def presence():
    """The number of a topic's subscribers, of all endpoints."""
    async with open_("/stream") as watcher:

        async def expect(count):
            # The first number can be from just before the subscription; the right one follows.
            while (notice := json.loads(await asyncio.wait_for(watcher.recv(), 30)))["subscribers"] != count:
                assert notice["subscribers"] < count and told == [], (notice, told)
            assert notice == {"op": "presence", "topic": "presence", "subscribers": count}, notice
            told.append(count)

        told = []
        reply = await ask(watcher, op="subscribe", args=[{"topic": "presence", "presence": True}], id=1)
        assert reply["ok"] is True, reply
        await expect(1)
        raw = await open_("/ws/presence")
        await expect(2)
        raw.transport.abort()
        await expect(1)
        async with open_("/stream?topics=presence") as stream:
            await stream.recv()
            await expect(2)
        await expect(1)


async def crowd():
    """Many clients get the same messages in the same order. The test publishes, and compares with what it sees."""
    clients = await asyncio.gather(*(open_("/ws/crowd") for _ in range(CROWD)))
    say("ready")
    count = int(await hear())

    async def receive(client):
        return [await client.recv() for _ in range(count)]

    received = await asyncio.gather(*(receive(client) for client in clients))
    assert all(each == received[0] for each in received)
    for message in received[0]:
        say(message)
    await asyncio.gather(*(client.close() for client in clients))


async def shutdown():
    """The server shuts down: what it had published arrives, then 1001."""
    async with open_("/ws/shutdown") as raw, open_("/stream?topics=shutdown") as stream:
        await stream.recv()
        say("ready")
        count = int(await hear())
        for client in (raw, stream):
            for number in range(count):
                message = json.loads(await client.recv())
                assert (message if client is raw else message["data"]) == number, message
            try:
                await client.recv()
            except ConnectionClosedOK as error:
                assert error.rcvd.code == 1001 and error.rcvd_then_sent is True, error
            else:
                raise AssertionError("it goes on after the end")


SCENARIOS = (
    messages, fragments, stream, pings, closes, deflate, refusals, recovery, presence, crowd, shutdown,
)
asyncio.run({scenario.__name__: scenario for scenario in SCENARIOS}[sys.argv[1]]())
