// What MQTT.js has to be able to do with a broker in MQTT 5: cases for suite.mjs.

import { check, event, own, within } from "./suite.mjs";

const text = (message) => new TextDecoder().decode(message.payload);

export const cases_of_5 = {
  async "is told what the broker takes, and its id"(open) {
    const client = await open({ clientId: "", clean: true });
    const { assignedClientIdentifier, receiveMaximum, maximumPacketSize } = client.connack.properties;
    check(assignedClientIdentifier.length > 0, "no id was assigned");
    check(receiveMaximum >= 1 && maximumPacketSize >= 1024, "nothing is announced");
    await client.endAsync();
  },

  async "carries properties with each QoS"(open) {
    const client = await open();
    await client.subscribeAsync("five/#", { qos: 2, properties: { subscriptionIdentifier: 7 } });
    const properties = {
      payloadFormatIndicator: true, contentType: "text/plain", responseTopic: "answers",
      correlationData: Buffer.from([0, 255]), userProperties: { from: "meter", several: ["1", "2"] },
    };
    for (const qos of [0, 1, 2]) {
      await within(client.publishAsync(`five/${qos}`, "hi", { qos, properties: { ...properties, messageExpiryInterval: 60 } }),
        "acknowledgement");
      const got = (await client.next()).properties;
      check(got.subscriptionIdentifier === 7, `subscription identifier ${got.subscriptionIdentifier}`);
      check(got.messageExpiryInterval > 0 && got.messageExpiryInterval <= 60, `expiry ${got.messageExpiryInterval}`);
      for (const [name, value] of Object.entries(properties)) {
        check(JSON.stringify(got[name]) === JSON.stringify(value), `${name} is ${JSON.stringify(got[name])}`);
      }
    }
    await client.endAsync();
  },

  async "subscribes with options"(open) {
    const client = await open();
    const topic = own("kept");
    await client.publishAsync(topic, "old", { qos: 1, retain: true });
    await client.subscribeAsync(topic, { qos: 1, rh: 2, rap: true });
    await client.subscribeAsync("mine", { qos: 1, nl: true });
    await client.publishAsync("mine", "unheard", { qos: 1 });
    await client.publishAsync(topic, "", { qos: 1, retain: true });
    const message = await client.next();
    check(message.topic === topic && message.retain && text(message) === "", `${message.topic} ${text(message)}`);
    await client.endAsync();
  },

  async "is told that there was no such subscription"(open) {
    const client = await open();
    const packet = await within(new Promise((done, fail) => {
      client.unsubscribe("never", (error, answer) => error ? fail(error) : done(answer));
    }), "UNSUBACK");
    check(packet.reasonCode === 17 || packet.granted?.[0] === 17, JSON.stringify(packet));
    await client.endAsync();
  },

  async "resumes a session that has not expired"(open) {
    const options = { clientId: own("five"), clean: false, properties: { sessionExpiryInterval: 60 } };
    const before = await open(options);
    await before.subscribeAsync("waiting/5", { qos: 1 });
    await before.endAsync();
    const other = await open();
    await other.publishAsync("waiting/5", "waited", { qos: 1 });
    const after = await open(options);
    check(after.connack.sessionPresent, "the session is lost");
    check(text(await after.next()) === "waited", "another message");
    await after.endAsync(false, { properties: { sessionExpiryInterval: 0 } });
    const last = await open(options);
    check(!last.connack.sessionPresent, "the session has outlived its client");
    await last.endAsync(false, { properties: { sessionExpiryInterval: 0 } });
    await other.endAsync();
  },

  async "has more to send than the broker takes at once"(open) {
    const client = await open({ properties: { receiveMaximum: 5 } });
    await client.subscribeAsync("many/5", { qos: 2 });
    const sent = Promise.all(Array.from({ length: 300 }, (_, i) => client.publishAsync("many/5", `${i}`, { qos: 1 })));
    sent.catch(() => {}); // it is awaited below, unless something else has gone wrong before
    for (let i = 0; i < 300; i++) {
      const got = text(await client.next());
      check(got === `${i}`, `message ${got} in place of ${i}`);
    }
    await within(sent, "acknowledgements");
    await client.endAsync();
  },

  async "resolves aliases, and uses them"(open) {
    const client = await open({ properties: { topicAliasMaximum: 5 }, autoUseTopicAlias: true, autoAssignTopicAlias: true });
    await client.subscribeAsync("an/alias/#", { qos: 1 });
    for (let i = 0; i < 20; i++) {
      await client.publishAsync(`an/alias/${i % 3}`, `${i}`, { qos: i % 2 });
      const message = await client.next();
      check(message.topic === `an/alias/${i % 3}` && text(message) === `${i}`, `${message.topic} ${text(message)}`);
    }
    await client.endAsync();
  },

  async "is told that another one has taken its id"(open) {
    const first = await open({ clientId: "the one of 5" });
    const told = event(first, "disconnect");
    const second = await open({ clientId: "the one of 5" });
    const [packet] = await told;
    check(packet.reasonCode === 0x8e, `reason ${packet.reasonCode}`);
    await second.endAsync();
    await first.endAsync(true);
  },

  async "leaves a will with properties"(open) {
    const watcher = await open();
    await watcher.subscribeAsync("wills/5", { qos: 1 });
    const lost = await open({
      will: { topic: "wills/5", payload: "gone", qos: 1, properties: { contentType: "x/y", userProperties: { a: "b" } } },
    });
    lost.stream.destroy();
    const { properties } = await watcher.next();
    check(properties.contentType === "x/y" && properties.userProperties.a === "b", JSON.stringify(properties));
    await watcher.endAsync();
    await lost.endAsync(true);
  },
};
