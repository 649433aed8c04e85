// Scenarios of Fanfare's tests with the package `ws`: node client.mjs SCENARIO URL.
//
// A scenario prints where it stands, a line at a time, may wait for lines on standard input, and ends with status 0 if
// all went as it should.

import assert from "node:assert/strict";
import { once } from "node:events";
import readline from "node:readline";
import { setTimeout } from "node:timers/promises";
import WebSocket from "ws";

const [scenario, url] = process.argv.slice(2);
const CROWD = 200;
const MEBIBYTE = 1 << 20;

const say = (line) => process.stdout.write(`${line}\n`);
const input = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const hear = async () => (await input.next()).value;

// A client with a queue of what arrived: text as strings, bytes as Buffers.
class Client {
  constructor(path, protocols = [], options = {}) {
    this.socket = new WebSocket(url + path, protocols, options);
    this.arrived = [];
    this.waiting = [];
    this.socket.on("message", (data, isBinary) => {
      const message = isBinary ? data : data.toString();
      const waiting = this.waiting.shift();
      if (waiting) waiting(message);
      else this.arrived.push(message);
    });
    this.closed = new Promise((resolve) => {
      this.socket.on("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  static async open(...args) {
    const client = new Client(...args);
    await once(client.socket, "open");
    return client;
  }

  send(data, options) {
    this.socket.send(data, options);
  }

  receive() {
    if (this.arrived.length > 0) return this.arrived.shift();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  async ask(request) {
    this.send(JSON.stringify(request));
    return JSON.parse(await this.receive());
  }

  async leave() {
    this.socket.close(1000);
    assert.equal((await this.closed).code, 1000);
  }
}

// The newest value of each key of a topic, kept as docs/PROTOCOL.md says.
class Replica {
  constructor(topic) {
    this.topic = topic;
    this.forget();
  }

  forget() {
    this.values = new Map();
    this.since = undefined;
    this.complete = false;
    this.live = []; // the numbers of all messages that came behind a snapshot
  }

  // Returns the reply's only topic.
  async subscribe(client) {
    const options = { topic: this.topic, snapshot: true, policy: "conflate" };
    if (this.since !== undefined) Object.assign(options, { since: this.since, epoch: this.epoch });
    const reply = await client.ask({ op: "subscribe", args: [options], id: this.topic });
    assert.equal(reply.ok, true);
    const [subscribed] = reply.topics;
    if (!subscribed.recovered) this.forget();
    this.epoch = subscribed.epoch;
    return subscribed;
  }

  // Takes the next message or notice, which is returned.
  async take(client) {
    const message = JSON.parse(await client.receive());
    assert.equal(message.topic, this.topic);
    if (message.op === undefined) {
      this.since = message.seq;
      if (message.tombstone) this.values.delete(message.key);
      else this.values.set(message.key, message.data);
      if (this.complete) this.live.push(message.seq);
    } else if (message.op === "snapshot") {
      this.forget();
    } else {
      assert.equal(message.op, "live", "nobody is slow here");
      this.since = message.seq;
      this.complete = true;
    }
    return message;
  }

  async takeSnapshot(client) {
    const taken = [];
    do taken.push(await this.take(client)); while (taken.at(-1).op !== "live");
    assert.deepEqual(taken[0], { op: "snapshot", topic: this.topic, seq: taken.at(-1).seq });
    return taken.slice(1, -1);
  }
}

const scenarios = {
  // Each message that one client sends reaches it and another one, as it was sent and in order.
  async messages() {
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const sent = ["", "text", "gr\u00fc\u00dfe \u{1f600}", Buffer.alloc(0), Buffer.from([0, 255])];
    sent.push("x".repeat(125), "x".repeat(126), Buffer.alloc(65535, "y"), Buffer.alloc(65536, "z"));
    sent.push("\u00e9".repeat(MEBIBYTE / 2), Buffer.concat(Array(MEBIBYTE / 256).fill(bytes)));
    const one = await Client.open("/ws/messages");
    const other = await Client.open("/ws/messages");
    const publisher = await Client.open("/pub/messages");
    for (const sender of [one, publisher]) {
      for (const message of sent) sender.send(message);
      for (const receiver of [one, other]) {
        for (const message of sent) assert.deepEqual(await receiver.receive(), message);
      }
    }
    for (const client of [one, other, publisher]) await client.leave();
  },

  // A message sent in fragments, with pings between them, arrives as one.
  async fragments() {
    const client = await Client.open("/ws/fragments");
    for (const parts of [["eins, ", "", "zwei \u20ac"], Array.from({ length: 300 }, (_, n) => Buffer.alloc(1000, n))]) {
      for (const [index, part] of parts.entries()) {
        const pong = once(client.socket, "pong");
        client.send(part, { fin: index === parts.length - 1 });
        client.socket.ping(`after ${index}`);
        assert.equal((await pong)[0].toString(), `after ${index}`);
      }
      const whole = typeof parts[0] === "string" ? parts.join("") : Buffer.concat(parts);
      assert.deepEqual(await client.receive(), whole);
    }
    await client.leave();
  },

  // The JSON protocol, with ids.
  async stream() {
    const one = await Client.open("/stream", ["fanfare.v1.json"]);
    assert.equal(one.socket.protocol, "fanfare.v1.json");
    const other = await Client.open("/stream?topics=a,b");
    assert.equal(JSON.parse(await other.receive()).ok, true);
    const subscribed = await one.ask({ op: "subscribe", args: ["a"], id: 1 });
    const { epoch } = subscribed.topics[0];
    assert.match(epoch, /^[0-9a-f]{16}$/);
    assert.deepEqual(subscribed, {
      id: 1, op: "subscribe", ok: true, topics: [{ topic: "a", epoch, seq: 0, oldest: null }],
    });
    assert.deepEqual(await one.ask({ op: "list", id: "mine" }), { id: "mine", op: "list", ok: true, topics: ["a"] });
    assert.deepEqual(await one.ask({ op: "ping", id: 2 }), { id: 2, op: "pong" });
    const data = { nested: [1, 2.5, null, true, "\u00e9\u2028\u{1f600}"], empty: {} };
    const publish = { op: "publish", args: { topic: "b", data }, id: 3 };
    assert.deepEqual(await one.ask(publish), { id: 3, op: "publish", ok: true, topic: "b", seq: 1 });
    assert.deepEqual(JSON.parse(await other.receive()), { topic: "b", seq: 1, data });
    const refused = await one.ask({ op: "unsubscribe", args: ["b"], id: 4 });
    assert.equal(refused.error.code, "not_subscribed");
    assert.equal((await one.ask({ op: "unsubscribe", args: ["a"], id: 5 })).ok, true);
    await one.leave();
    await other.leave();
  },

  // The client's pings are answered.
  async pings() {
    const client = await Client.open("/ws/pings");
    for (const payload of ["", "ping", "p".repeat(125)]) {
      const pong = once(client.socket, "pong");
      client.socket.ping(payload);
      assert.equal((await pong)[0].toString(), payload);
    }
    await client.leave();
  },

  // The server's close frame repeats the client's code, or says what the client did wrong.
  async closes() {
    for (const path of ["/ws/closes", "/pub/closes", "/stream"]) {
      for (const code of [1000, 1001, 1011, 3000, 4321]) {
        const client = await Client.open(path);
        client.socket.close(code, "because");
        assert.deepEqual(await client.closed, { code, reason: "" });
      }
      const client = await Client.open(path);
      client.socket.close();
      assert.equal((await client.closed).code, 1005);
    }
    for (const [path, message, code] of [
      ["/ws/closes", Buffer.alloc(MEBIBYTE + 1), 1009],
      ["/stream", Buffer.from("{}"), 1003],
      ["/pub/closes?data=json", "{", 1007],
    ]) {
      const client = await Client.open(path);
      // Sending may fail, since the server closes before it has read everything.
      client.socket.on("error", () => {});
      client.send(message);
      const closed = await client.closed;
      assert.equal(closed.code, code, path);
      assert.notEqual(closed.reason, "");
    }
    // Gone without a close frame.
    const client = await Client.open("/ws/closes");
    client.socket.terminate();
    assert.equal((await client.closed).code, 1006);
  },

  // Messages are compressed both ways, each for itself, in the window that was agreed to, once for all subscribers.
  async deflate() {
    const open = (path, perMessageDeflate) => Client.open(path, [], { perMessageDeflate });
    const compress = { threshold: 0 };
    const plain = await open("/ws/deflate", false);
    const one = await open("/ws/deflate", compress);
    const other = await open("/ws/deflate", { ...compress, serverNoContextTakeover: true, clientMaxWindowBits: 10 });
    const narrow = await open("/ws/deflate", { ...compress, serverMaxWindowBits: 12 });
    const publisher = await open("/pub/deflate", compress);
    const stream = await open("/stream", compress);
    const all = [plain, one, other, narrow];
    assert.deepEqual(all.map((client) => client.socket.extensions), ["", ...Array(3).fill("permessage-deflate")]);
    assert.equal((await stream.ask({ op: "subscribe", args: ["deflate"], id: 1 })).ok, true);
    const sent = ["compressible ".repeat(10_000), Buffer.alloc(100_000), JSON.stringify([...Array(3000).keys()]), "short"];
    for (const sender of [publisher, plain, one]) {
      for (const message of sent) sender.send(message);
      for (const message of sent) {
        for (const receiver of all) assert.deepEqual(await receiver.receive(), message);
        const { data, encoding } = JSON.parse(await stream.receive());
        assert.deepEqual(encoding === "base64" ? Buffer.from(data, "base64") : data, message);
      }
    }
    for (const client of [...all, publisher, stream]) await client.leave();
    // Three long messages from each of three senders, each in the views raw, raw with the small window, and JSON.
    say(`compressed ${3 * 3 * 3}`);
  },

  // A refused upgrade is told with its status and reason.
  async refusals() {
    for (const [path, status] of [["/", 404], ["/ws/", 400], ["/ws/a/b", 404], ["/ws/a?data=x", 400]]) {
      const client = new Client(path);
      const [request, response] = await once(client.socket, "unexpected-response");
      assert.equal(response.statusCode, status, path);
      let body = "";
      for await (const chunk of response) body += chunk;
      assert.match(body, /^[^\n]+\n$/);
      request.destroy();
    }
  },

  // A keyed topic survives lost connections: nothing is missing, nothing comes twice, removed keys are gone.
  async recovery() {
    const count = 600;
    let published = 0;
    const expected = new Map();
    const publisher = await Client.open("/stream");
    const publish = async (number) => {
      const key = `key ${number % 7}`;
      const content = number % 11 === 10 ? { tombstone: true } : { data: number };
      if (content.tombstone) expected.delete(key);
      else expected.set(key, number);
      const args = { topic: "recovery", key, ...content };
      assert.deepEqual(await publisher.ask({ op: "publish", args, id: number }), {
        id: number, op: "publish", ok: true, topic: "recovery", seq: number,
      });
      published = number;
    };
    const publishAll = async () => {
      for (let number = 51; number <= count; number += 1) {
        await publish(number);
        await setTimeout(1);
      }
    };
    for (let number = 1; number <= 50; number += 1) await publish(number);

    const replica = new Replica("recovery");
    let client = await Client.open("/stream");
    assert.equal((await replica.subscribe(client)).recovered, undefined);
    assert(!(await replica.takeSnapshot(client)).some((message) => message.tombstone));
    assert.deepEqual(replica.values, expected);
    assert.equal(replica.since, 50);

    const publishing = publishAll();
    for (const enough of [150, 300, 450]) {
      while (replica.since < enough) await replica.take(client);
      // Hard, with messages on their way.
      client.socket.terminate();
      assert.equal((await client.closed).code, 1006);
      while (published < enough + 10) await setTimeout(1);
      client = await Client.open("/stream");
      const subscribed = await replica.subscribe(client);
      assert.equal(subscribed.recovered, true);
      assert.equal(subscribed.missing, undefined);
      assert.equal(replica.since, enough);
      assert(subscribed.seq >= enough + 10);
    }
    while (replica.since < count) await replica.take(client);
    await publishing;
    assert.deepEqual(replica.live, Array.from({ length: count - 50 }, (_, index) => 51 + index));
    assert.deepEqual(replica.values, expected);

    // Another epoch, as after a restart: the old numbers mean nothing, and the snapshot begins anew.
    await client.leave();
    replica.epoch = (BigInt(`0x${replica.epoch}`) ^ 1n).toString(16).padStart(16, "0");
    client = await Client.open("/stream");
    const subscribed = await replica.subscribe(client);
    assert.equal(subscribed.recovered, false);
    assert.equal(subscribed.missing, null);
    const numbers = (await replica.takeSnapshot(client)).map((message) => message.seq);
    assert.deepEqual(numbers, [...numbers].sort((one, other) => one - other));
    assert.equal(numbers.length, expected.size);
    assert.deepEqual(replica.values, expected);
    assert.equal(replica.since, count);

    // A raw client says it in the query, and hears it in headers and Pong frames.
    const openRaw = async (query) => {
      const raw = new Client(`/ws/recovery?${query}`);
      raw.pongs = [];
      raw.socket.on("pong", (payload) => raw.pongs.push(payload.toString()));
      const [[{ headers }]] = await Promise.all([once(raw.socket, "upgrade"), once(raw.socket, "open")]);
      raw.said = ["epoch", "seq", "oldest", "recovered"].map((name) => headers[`fanfare-${name}`]);
      return raw;
    };
    let raw = await openRaw(`since=${count - 3}&epoch=${replica.epoch}`);
    assert.deepEqual(raw.said, [replica.epoch, String(count), "1", "true"]);
    for (let number = count - 2; number <= count; number += 1) {
      assert.equal(await raw.receive(), number % 11 === 10 ? "" : String(number));
    }
    await raw.leave();
    assert.deepEqual(raw.pongs, []);
    raw = await openRaw("snapshot=true");
    assert.deepEqual(raw.said, [replica.epoch, String(count), "1", undefined]);
    for (const number of [...expected.values()].sort((one, other) => one - other)) {
      assert.equal(await raw.receive(), String(number));
    }
    await raw.leave();
    assert.deepEqual(raw.pongs, [`snapshot ${count}`, `live ${count}`]);
    for (const other of [client, publisher]) await other.leave();
  },

  // The number of a topic's subscribers, of all endpoints.
  async presence() {
    const watcher = await Client.open("/stream");
    let told = 0;
    const expect = async (subscribers) => {
      let notice = JSON.parse(await watcher.receive());
      // The first number can be from just before the subscription; the right one follows.
      while (told === 0 && notice.subscribers < subscribers) notice = JSON.parse(await watcher.receive());
      assert.deepEqual(notice, { op: "presence", topic: "presence", subscribers });
      told += 1;
    };
    const args = [{ topic: "presence", presence: true }];
    assert.equal((await watcher.ask({ op: "subscribe", args, id: 1 })).ok, true);
    await expect(1);
    const raw = await Client.open("/ws/presence");
    await expect(2);
    raw.socket.terminate();
    await expect(1);
    const stream = await Client.open("/stream?topics=presence");
    await expect(2);
    await stream.leave();
    await expect(1);
    await watcher.leave();
  },

  // Many clients get the same messages in the same order. The test publishes, and compares with what it sees.
  async crowd() {
    const clients = await Promise.all(Array.from({ length: CROWD }, () => Client.open("/ws/crowd")));
    say("ready");
    const count = Number(await hear());
    const received = await Promise.all(clients.map(async (client) => {
      const all = [];
      while (all.length < count) all.push(await client.receive());
      return all;
    }));
    for (const all of received) assert.deepEqual(all, received[0]);
    received[0].forEach(say);
    await Promise.all(clients.map((client) => client.leave()));
  },

  // The server shuts down: what it had published arrives, then 1001.
  async shutdown() {
    const raw = await Client.open("/ws/shutdown");
    const stream = await Client.open("/stream?topics=shutdown");
    await stream.receive();
    say("ready");
    const count = Number(await hear());
    for (const client of [raw, stream]) {
      for (let number = 0; number < count; number += 1) {
        const message = JSON.parse(await client.receive());
        assert.equal(client === raw ? message : message.data, number);
      }
      assert.equal((await client.closed).code, 1001);
      assert.deepEqual(client.arrived, []);
    }
  },
};

await scenarios[scenario]();
input.return();
process.stdin.destroy();
