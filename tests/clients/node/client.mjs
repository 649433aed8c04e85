// Scenarios of Fanfare's tests with the package `ws`: node client.mjs SCENARIO URL.
//
// A scenario prints where it stands, a line at a time, may wait for lines on standard input, and ends with status 0 if
// all went as it should.

import assert from "node:assert/strict";
import { once } from "node:events";
import readline from "node:readline";
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
    assert.deepEqual(await one.ask({ op: "subscribe", args: ["a"], id: 1 }), {
      id: 1, op: "subscribe", ok: true, topics: [{ topic: "a", seq: 0 }],
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

  // The extension is offered and not agreed on, which changes nothing else.
  async deflate() {
    let offered;
    const finishRequest = (request) => {
      offered = request.getHeader("Sec-WebSocket-Extensions");
      request.end();
    };
    const client = new Client("/ws/deflate", [], { perMessageDeflate: true, finishRequest });
    const [[response]] = await Promise.all([once(client.socket, "upgrade"), once(client.socket, "open")]);
    assert.equal(response.headers["sec-websocket-extensions"], undefined);
    assert.match(offered, /^permessage-deflate/);
    assert.equal(client.socket.extensions, "");
    for (const message of ["compressible ".repeat(10_000), Buffer.alloc(100_000)]) {
      client.send(message);
      assert.deepEqual(await client.receive(), message);
    }
    await client.leave();
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
