// What MQTT.js has to be able to do with a broker, in a browser and in node alike: suite(mqtt, url, options) runs
// every case and returns a list of { name, error }, error being null when it went well.

const DEADLINE_MS = 15000;

export function check(good, text) {
  if (!good) throw new Error(text);
}

export function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export function event(emitter, name) {
  return within(new Promise((resolve) => emitter.once(name, (...args) => resolve(args))), name);
}

/** A client that is connected, and keeps what it gets until it is asked for. */
async function connect(mqtt, url, options) {
  const client = mqtt.connect(url, { protocolVersion: 4, reconnectPeriod: 0, connectTimeout: DEADLINE_MS, ...options });
  const failed = new Promise((_, reject) => client.once("error", reject));
  failed.catch(() => {});
  const got = [];
  const waiting = [];
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload, qos: packet.qos, retain: packet.retain, properties: packet.properties };
    if (waiting.length) waiting.shift()(message);
    else got.push(message);
  });
  client.next = () => {
    if (got.length) return Promise.resolve(got.shift());
    return within(new Promise((resolve) => waiting.push(resolve)), "message");
  };
  [client.connack] = await Promise.race([event(client, "connect"), failed]);
  return client;
}

function bytes(size) {
  const data = new Uint8Array(size);
  for (let i = 0; i < size; i++) data[i] = (i * 31 + (i >> 8)) & 255;
  return data;
}

function same(a, b) {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

/** A client id that nobody else has, so that its session is new. */
export function own(name) {
  return `${name}-${Math.random().toString(16).slice(2)}`;
}

const cases_of_all = {
  async "publishes and gets messages with each QoS"(open) {
    const client = await open();
    const wanted = { "suite/0": { qos: 0 }, "suite/1": { qos: 1 }, "suite/2": { qos: 2 } };
    const granted = await client.subscribeAsync(wanted);
    check(granted.map((g) => g.qos).join() === "0,1,2", `granted ${granted.map((g) => g.qos)}`);
    for (const qos of [0, 1, 2]) {
      await within(client.publishAsync(`suite/${qos}`, `hello ${qos}`, { qos }), "acknowledgement");
      const message = await client.next();
      check(message.topic === `suite/${qos}` && message.qos === qos, `${message.topic} with QoS ${message.qos}`);
      check(new TextDecoder().decode(message.payload) === `hello ${qos}`, "another payload");
    }
    await client.endAsync();
  },

  async "carries a payload of 300 KiB"(open) {
    const client = await open();
    await client.subscribeAsync("large", { qos: 1 });
    const payload = bytes(300 * 1024);
    await within(client.publishAsync("large", payload, { qos: 1 }), "acknowledgement");
    check(same((await client.next()).payload, payload), "the payload has changed");
    await client.endAsync();
  },

  async "keeps the order of a thousand messages"(open) {
    const client = await open();
    await client.subscribeAsync("many", { qos: 1 });
    const sent = (async () => {
      for (let i = 0; i < 1000; i += 50) {
        await Promise.all(Array.from({ length: 50 }, (_, k) => client.publishAsync("many", `${i + k}`, { qos: 1 })));
      }
    })();
    sent.catch(() => {}); // it is awaited below, unless something else has gone wrong before
    for (let i = 0; i < 1000; i++) {
      const text = new TextDecoder().decode((await client.next()).payload);
      check(text === `${i}`, `message ${text} in place of ${i}`);
    }
    await within(sent, "acknowledgements");
    await client.endAsync();
  },

  async "gets a retained message"(open) {
    const client = await open();
    await client.publishAsync("kept", "old", { qos: 1, retain: true });
    await client.subscribeAsync("kept", { qos: 1 });
    const message = await client.next();
    check(message.retain && new TextDecoder().decode(message.payload) === "old", "it is not the retained one");
    await client.publishAsync("kept", "", { qos: 1, retain: true });
    await client.endAsync();
  },

  async "unsubscribes"(open) {
    const client = await open();
    await client.subscribeAsync(["left", "stays"], { qos: 1 });
    await client.unsubscribeAsync("left");
    await client.publishAsync("left", "unheard", { qos: 1 });
    await client.publishAsync("stays", "heard", { qos: 1 });
    check((await client.next()).topic === "stays", "it is still subscribed");
    await client.endAsync();
  },

  async "comes back by itself when it is cut off"(open) {
    const client = await open({ clientId: own("back"), clean: false, reconnectPeriod: 50 });
    await client.subscribeAsync("later", { qos: 1 });
    const again = event(client, "connect");
    client.stream.destroy();
    const [connack] = await again;
    check(connack.sessionPresent, "the session is lost");
    await client.publishAsync("later", "still there", { qos: 1 });
    check(new TextDecoder().decode((await client.next()).payload) === "still there", "another message");
    await client.endAsync();
  },

  async "gets what waited for it"(open) {
    const options = { clientId: own("waiting"), clean: false };
    const before = await open(options);
    await before.subscribeAsync("waiting", { qos: 1 });
    await before.endAsync();
    const other = await open();
    await other.publishAsync("waiting", "waited", { qos: 1 });
    const after = await open(options);
    check(new TextDecoder().decode((await after.next()).payload) === "waited", "another message");
    await after.endAsync();
    await other.endAsync();
  },

  async "is closed when another one takes its id"(open) {
    const first = await open({ clientId: "the one" });
    const closed = event(first, "close");
    const second = await open({ clientId: "the one" });
    await closed;
    await second.endAsync();
    await first.endAsync(true);
  },

  async "sends a will when it is cut off"(open) {
    const watcher = await open();
    await watcher.subscribeAsync("wills/#", { qos: 1 });
    const lost = await open({ will: { topic: "wills/lost", payload: "gone", qos: 1 } });
    lost.stream.destroy();
    check((await watcher.next()).topic === "wills/lost", "another message");
    await watcher.endAsync();
    await lost.endAsync(true);
  },
};

/** Runs `cases`, functions by name that get a function to open a client. */
export async function suite(mqtt, url, options = {}, cases = cases_of_all) {
  const results = [];
  for (const [name, run] of Object.entries(cases)) {
    const clients = [];
    const open = async (more) => {
      const client = await connect(mqtt, url, { ...options, ...more });
      clients.push(client);
      return client;
    };
    let error = null;
    try {
      await within(run(open), name);
    } catch (problem) {
      error = String(problem?.stack ?? problem);
    }
    for (const client of clients) client.end(true);
    results.push({ name, error });
  }
  return results;
}

/** A WebSocket that must not come about: whether it was refused. */
export function refused(url) {
  return within(new Promise((resolve) => {
    const socket = new WebSocket(url, "mqtt");
    socket.onopen = () => { socket.close(); resolve(false); };
    socket.onerror = () => resolve(true);
  }), "an answer to the upgrade");
}

/** A WebSocket on which a client says goodbye: whether its end is told (RFC 6455, 7.1.4). */
export function endsCleanly(url) {
  const connect = [0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 0];
  return within(new Promise((resolve) => {
    const socket = new WebSocket(url, "mqtt");
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(new Uint8Array(connect));
    socket.onmessage = () => socket.send(new Uint8Array([0xe0, 0]));
    socket.onclose = (end) => resolve(end.wasClean && end.code === 1000);
  }), "the end");
}
