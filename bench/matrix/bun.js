// Broadcast with Bun, whose server is uWebSockets: publish/subscribe of uWebSockets itself, one call for each message.
// A connection at /pub/TOPIC publishes, one at any other path subscribes to TOPIC, its last segment.

const UNLIMITED = 2 ** 30;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const [, kind, topic] = new URL(request.url).pathname.split("/");
    if (!server.upgrade(request, { data: { publishes: kind === "pub", topic } })) {
      return new Response("WebSocket only", { status: 426 });
    }
  },
  websocket: {
    perMessageDeflate: false,
    backpressureLimit: UNLIMITED,
    closeOnBackpressureLimit: false,
    maxPayloadLength: UNLIMITED,
    idleTimeout: 0,
    sendPings: false,
    open(socket) {
      if (!socket.data.publishes) socket.subscribe(socket.data.topic);
    },
    message(socket, message) {
      if (socket.data.publishes) server.publish(socket.data.topic, message, false);
    },
  },
});
