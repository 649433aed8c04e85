// Broadcast with npm's ws, as its documentation shows it: a loop over the topic's clients, with a send for each.
// A connection at /pub/TOPIC publishes, one at any other path subscribes to TOPIC, its last segment.

const { WebSocketServer } = require("ws");

const topics = new Map();

const server = new WebSocketServer({
  host: "127.0.0.1",
  port: Number(process.argv[2]),
  backlog: 4096,
  perMessageDeflate: false,
  skipUTF8Validation: true,
  maxPayload: 2 ** 30,
  // Its own set of all clients is not needed.
  clientTracking: false,
});

server.on("connection", (socket, request) => {
  const [, kind, topic] = request.url.split("/");
  if (!topics.has(topic)) topics.set(topic, new Set());
  const subscribers = topics.get(topic);
  socket.on("error", () => {});
  if (kind === "pub") {
    socket.on("message", (message, binary) => {
      const options = { binary };
      for (const subscriber of subscribers) subscriber.send(message, options);
    });
    return;
  }
  subscribers.add(socket);
  socket.on("close", () => subscribers.delete(socket));
});
