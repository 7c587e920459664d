#!/usr/bin/python3
"""Drives a broker with paho in MQTT 5, one scenario a run: paho_client_5.py PORT SCENARIO.

Prints nothing and exits with 0, or with a traceback of what was not as expected.
"""
import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

DEADLINE = 20  # seconds, of each wait


def properties(packet, **values):
    """Of a packet, under the names that paho has for them."""
    result = Properties(packet)
    for name, value in values.items():
        setattr(result, name, value)
    return result


class Client:
    """A client that waits for what it asks for."""

    def __init__(self, port, client_id):
        options = {"client_id": client_id, "protocol": mqtt.MQTTv5}
        if hasattr(mqtt, "CallbackAPIVersion"):
            options["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION1
        self.mqtt = mqtt.Client(**options)
        self.port = port
        self.messages, self.answers, self.connected = queue.Queue(), queue.Queue(), queue.Queue()
        self.gone = queue.Queue()
        self.mqtt.on_connect = lambda c, u, flags, code, more: self.connected.put((code.value, flags, more))
        self.mqtt.on_subscribe = lambda c, u, mid, codes, more: self.answers.put((mid, codes))
        self.mqtt.on_unsubscribe = lambda c, u, mid, more, codes: self.answers.put((mid, codes))
        self.mqtt.on_message = lambda c, u, message: self.messages.put(message)
        self.mqtt.on_disconnect = lambda c, u, code, *more: self.gone.put(code)

    def connect(self, clean_start=True, **more):
        """Returns whether a session was resumed, and the properties of CONNACK."""
        self.mqtt.connect("127.0.0.1", self.port, keepalive=30, clean_start=clean_start,
                          properties=properties(PacketTypes.CONNECT, **more))
        self.mqtt.loop_start()
        code, flags, said = self.connected.get(timeout=DEADLINE)
        assert code == 0, code
        return bool(flags["session present"]), said

    def answer(self, request):
        result, mid = request
        assert result == 0
        got, codes = self.answers.get(timeout=DEADLINE)
        assert got == mid
        return [code.value for code in (codes if isinstance(codes, list) else [codes])]

    def subscribe(self, topic, identifier=None, **options):
        more = {"SubscriptionIdentifier": identifier} if identifier else {}
        return self.answer(self.mqtt.subscribe(topic, options=SubscribeOptions(**options),
                                               properties=properties(PacketTypes.SUBSCRIBE, **more)))

    def publish(self, topic, payload, qos, retain=False, **more):
        info = self.mqtt.publish(topic, payload, qos, retain, properties(PacketTypes.PUBLISH, **more))
        info.wait_for_publish(DEADLINE)
        assert info.is_published(), (topic, payload, qos)

    def receive(self):
        return self.messages.get(timeout=DEADLINE)

    def disconnect(self):
        self.mqtt.disconnect()
        self.gone.get(timeout=DEADLINE)
        self.mqtt.loop_stop()


def carries_properties(port):
    a, b = Client(port, "a"), Client(port, "b")
    a.connect()
    b.connect()
    assert a.subscribe("p/#", 7, qos=2) == [2]
    more = {"ContentType": "text/plain", "ResponseTopic": "r", "CorrelationData": b"\0\1",
            "PayloadFormatIndicator": 1, "UserProperty": [("a", "1"), ("a", "2")]}
    for qos in range(3):
        b.publish("p/x", "hello", qos, MessageExpiryInterval=60, **more)
        message = a.receive()
        assert (message.topic, message.payload, message.qos) == ("p/x", b"hello", qos)
        for name, value in more.items():
            assert getattr(message.properties, name) == value, name
        assert message.properties.SubscriptionIdentifier == [7]
        assert 0 < message.properties.MessageExpiryInterval <= 60
    a.disconnect()
    b.disconnect()


def options_of_subscriptions(port):
    a = Client(port, "a")
    a.connect()
    a.publish("o/kept", "old", 1, True)
    assert a.subscribe("o/kept", qos=1, retainHandling=2, retainAsPublished=True) == [1]
    assert a.subscribe("o/mine", qos=1, noLocal=True) == [1]
    a.publish("o/mine", "unheard", 1)
    a.publish("o/kept", "", 1, True)
    message = a.receive()
    assert (message.topic, message.payload, bool(message.retain)) == ("o/kept", b"", True)
    assert a.answer(a.mqtt.unsubscribe("o/kept")) == [0]
    assert a.answer(a.mqtt.unsubscribe("o/kept")) == [17]
    a.disconnect()


def session_expires(port):
    a = Client(port, "a")
    present, said = a.connect(SessionExpiryInterval=60)
    assert not present
    assert said.ReceiveMaximum >= 1 and said.MaximumPacketSize >= 1
    a.subscribe("s", qos=1)
    a.disconnect()
    b = Client(port, "b")
    b.connect()
    b.publish("s", "waited", 1)
    a = Client(port, "a")
    present, _ = a.connect(clean_start=False, SessionExpiryInterval=0)
    assert present
    assert a.receive().payload == b"waited"
    a.disconnect()
    a = Client(port, "a")
    assert not a.connect(clean_start=False)[0]
    a.disconnect()
    b.disconnect()


def many_in_flight(port):
    count = 200
    a, b = Client(port, "a"), Client(port, "b")
    a.connect(ReceiveMaximum=5)  # it does not resolve aliases
    b.connect()
    a.subscribe("m/#", qos=2)
    infos = [b.mqtt.publish("m/%d" % (i % 5), "%d" % i, 2) for i in range(count)]
    for i in range(count):
        message = a.receive()
        assert (message.topic, message.payload) == ("m/%d" % (i % 5), b"%d" % i), (i, message.payload)
    for info in infos:
        info.wait_for_publish(DEADLINE)
        assert info.is_published()
    a.disconnect()
    b.disconnect()


def take_over(port):
    a, b = Client(port, "same"), Client(port, "same")
    a.mqtt.reconnect_delay_set(60, 60)
    a.connect()
    b.connect()
    assert a.gone.get(timeout=DEADLINE) != 0
    stopper = threading.Thread(target=a.mqtt.loop_stop)  # it waits for its next attempt
    stopper.daemon = True
    stopper.start()
    b.disconnect()


SCENARIOS = {f.__name__: f for f in (carries_properties, options_of_subscriptions, session_expires, many_in_flight,
                                     take_over)}

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](int(sys.argv[1]))
