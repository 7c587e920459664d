#!/usr/bin/python3
"""Drives a broker with paho, one scenario a run: paho_client.py URL SCENARIO [CA].

The URL is that of a listener: tcp, tls, ws or wss. CA is the file of the authority to trust.

Prints nothing and exits with 0, or with a traceback of what was not as expected.
"""
import queue
import socket
import sys
import threading
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

DEADLINE = 20  # seconds, of each wait
CA = sys.argv[3] if len(sys.argv) > 3 else None


class Client:
    """A client that waits for what it asks for."""

    def __init__(self, url, client_id, clean=True, version=mqtt.MQTTv311, will=None, inflight=20):
        options = {"client_id": client_id, "clean_session": clean, "protocol": version}
        if hasattr(mqtt, "CallbackAPIVersion"):
            options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
        self.url = urlsplit(url)
        if self.url.scheme in ("ws", "wss"):
            options["transport"] = "websockets"
        self.mqtt = mqtt.Client(**options)
        if self.url.scheme in ("ws", "wss"):
            self.mqtt.ws_set_options(self.url.path)
        if self.url.scheme in ("tls", "wss"):
            self.mqtt.tls_set(CA)
        self.messages = queue.Queue()
        self.connected, self.gone = queue.Queue(), threading.Event()
        self.subscribed, self.unsubscribed = queue.Queue(), queue.Queue()
        self.mqtt.on_connect = lambda c, u, flags, code: self.connected.put((code, flags["session present"]))
        self.mqtt.on_subscribe = lambda c, u, mid, granted: self.subscribed.put((mid, tuple(granted)))
        self.mqtt.on_unsubscribe = lambda c, u, mid: self.unsubscribed.put(mid)
        self.mqtt.on_message = lambda c, u, message: self.messages.put(message)
        self.mqtt.on_disconnect = lambda *_: self.gone.set()
        self.mqtt.max_inflight_messages_set(inflight)
        if will:
            self.mqtt.will_set(*will)

    def connect(self):
        """Returns whether a session was resumed."""
        self.mqtt.connect(self.url.hostname, self.url.port, keepalive=30)
        self.mqtt.loop_start()
        code, present = self.connected.get(timeout=DEADLINE)
        assert code == 0, code
        return bool(present)

    def subscribe(self, *filters):
        result, mid = self.mqtt.subscribe(list(filters))
        assert result == 0
        assert self.subscribed.get(timeout=DEADLINE) == (mid, tuple(qos for _, qos in filters))

    def unsubscribe(self, topic):
        result, mid = self.mqtt.unsubscribe(topic)
        assert result == 0
        assert self.unsubscribed.get(timeout=DEADLINE) == mid

    def publish(self, topic, payload, qos, retain=False):
        info = self.mqtt.publish(topic, payload, qos, retain)
        info.wait_for_publish(DEADLINE)
        assert info.is_published(), (topic, payload, qos)

    def receive(self):
        message = self.messages.get(timeout=DEADLINE)
        return message.topic, message.payload.decode(), message.qos, bool(message.retain)

    def receives_nothing_more(self):
        """What was sent before has arrived when this returns: it is behind it."""
        self.subscribe(("end/" + self.name(), 1))
        self.publish("end/" + self.name(), "end", 1)
        seen = self.receive()
        assert seen[1] == "end", seen

    def name(self):
        return self.mqtt._client_id.decode()

    def disconnect(self):
        self.mqtt.disconnect()
        assert self.gone.wait(DEADLINE)
        self.mqtt.loop_stop()

    def drop(self):
        """Ends the connection without a DISCONNECT."""
        self.mqtt.on_disconnect = None
        connection = self.mqtt.socket()
        getattr(connection, "_socket", connection).shutdown(socket.SHUT_RDWR)  # that of a WebSocket is inside
        self.mqtt.loop_stop()


def each_qos(url):
    for version in (mqtt.MQTTv31, mqtt.MQTTv311):
        a, b = Client(url, "a", version=version), Client(url, "b", version=version)
        assert not a.connect() and not b.connect()
        a.subscribe(("q/0", 0), ("q/1/+", 1), ("q/2/#", 2))
        for qos in range(3):
            for topic, granted in (("q/0", 0), ("q/1/x", 1), ("q/2", 2)):
                b.publish(topic, "%d" % qos, qos)
                assert a.receive() == (topic, "%d" % qos, min(qos, granted), False)
        a.unsubscribe("q/2/#")
        b.publish("q/2", "unheard", 2)
        a.receives_nothing_more()
        a.disconnect()
        b.disconnect()


def many_in_flight(url):
    count = 300
    a, b = Client(url, "a", inflight=60), Client(url, "b", inflight=60)
    a.connect()
    b.connect()
    a.subscribe(("many", 2))
    infos = [b.mqtt.publish("many", "%d" % i, 2) for i in range(count)]
    for i in range(count):
        assert a.receive() == ("many", "%d" % i, 2, False)
    for info in infos:
        info.wait_for_publish(DEADLINE)
        assert info.is_published()
    a.receives_nothing_more()
    a.disconnect()
    b.disconnect()


def will(url):
    watcher = Client(url, "watcher")
    watcher.connect()
    watcher.subscribe(("will/#", 2))
    lost = Client(url, "lost", will=("will/lost", "gone", 1, True))
    lost.connect()
    lost.drop()
    assert watcher.receive() == ("will/lost", "gone", 1, False)
    orderly = Client(url, "orderly", will=("will/orderly", "gone", 1, False))
    orderly.connect()
    orderly.disconnect()
    watcher.receives_nothing_more()
    late = Client(url, "late")
    late.connect()
    late.subscribe(("will/lost", 0))
    assert late.receive() == ("will/lost", "gone", 0, True)
    for client in (late, watcher):
        client.disconnect()


def retained(url):
    a = Client(url, "a")
    a.connect()
    for i in range(200):
        a.publish("kept/%d" % i, "old", 1, True)
        a.publish("kept/%d" % i, "%d" % i, 2, True)
    a.subscribe(("kept/+", 1))
    seen = sorted((a.receive() for _ in range(200)), key=lambda message: int(message[1]))
    assert seen == [("kept/%d" % i, "%d" % i, 1, True) for i in range(200)]
    for i in range(200):
        a.publish("kept/%d" % i, "", 0, True)
        assert a.receive() == ("kept/%d" % i, "", 0, False)
    a.receives_nothing_more()
    b = Client(url, "b")
    b.connect()
    b.subscribe(("kept/#", 2))
    b.receives_nothing_more()
    a.disconnect()
    b.disconnect()


def session(url):
    a, b = Client(url, "a", clean=False), Client(url, "b")
    b.connect()
    assert not a.connect()
    a.subscribe(("s/#", 2))
    a.drop()
    for i in range(30):
        b.publish("s/%d" % i, "%d" % i, i % 3)
    a = Client(url, "a", clean=False)
    assert a.connect()
    seen = [a.receive() for _ in range(20)]
    for qos in (1, 2):  # each in order; paho hands out one of QoS 2 when it is released
        expected = [("s/%d" % i, "%d" % i, qos, False) for i in range(qos, 30, 3)]
        assert [message for message in seen if message[2] == qos] == expected, seen
    a.receives_nothing_more()
    a.disconnect()
    a = Client(url, "a", clean=True)
    assert not a.connect()
    b.publish("s/x", "unheard", 2)
    a.receives_nothing_more()
    a.disconnect()
    b.disconnect()


SCENARIOS = {f.__name__: f for f in (each_qos, many_in_flight, will, retained, session)}

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](sys.argv[1])
