"""Attacks with what only MQTT 5 has."""

import packets
from attacker import attack, flood, read_packet

UNBOUNDED = ["limits.connect_rate_per_address=0"]  # it is what comes after the CONNECT that is looked at
PROTOCOL_ERROR, RECEIVE_MAXIMUM_EXCEEDED, TOPIC_ALIAS_INVALID = 0x82, 0x93, 0x94


def enter(attacker, client_id, *more):
    s = attacker.open(packets.connect(client_id, properties=b""))
    code = read_packet(s, bytearray(), packets.CONNACK)[1]
    assert code == 0, f"CONNACK has code {code}"
    s.sendall(b"".join(more))
    return s


def last_word(attacker, client_id, data):
    """The reason of the DISCONNECT that this is answered with; None for an end without a word."""
    s = enter(attacker, client_id)
    try:
        s.sendall(data)
    except ConnectionError:
        pass
    body = read_packet(s, bytearray(), packets.DISCONNECTED)
    s.close()
    return body[0] if body else None


def until_stopped(attacker, *faults):
    """Each fault is data and the reason that it is to be answered with. Commits them in turn, `size` or more."""
    seen = {"closed": 0, "other": []}
    attacker.ready()
    while not attacker.stopped() or seen["closed"] < attacker.size:
        data, reason = faults[seen["closed"] % len(faults)]
        got = last_word(attacker, f"v5-{seen['closed']}", data)
        if got != reason:
            seen["other"].append(f"{got} for {reason}")
        seen["closed"] += 1
    return seen


def all_told(seen, grown):
    assert not seen["other"], f"answered with {seen['other'][:5]}"


@attack("MQTT 5: topic aliases that are none", settings=UNBOUNDED, sizes=(500, 50),
        counters={"protocol_errors": lambda size: size // 2}, answers=all_told)
def alias_abuse(attacker):
    return until_stopped(attacker,
                         (packets.publish("t", b"x", properties=packets.alias(65535)), TOPIC_ALIAS_INVALID),
                         (packets.publish("", b"x", properties=packets.alias(1)), PROTOCOL_ERROR),
                         (packets.publish("t", b"x", properties=packets.alias(0)), TOPIC_ALIAS_INVALID))


@attack("MQTT 5: topic aliases that change without end", counters={"messages_published": 10000})
def alias_flood(attacker):
    """Each PUBLISH gives an alias to another topic, as long as it may be."""
    s = enter(attacker, "names")
    attacker.ready()
    data = b"".join(packets.publish(f"{i}/" + "x" * 4000, b"x", properties=packets.alias(1 + i % 32))
                    for i in range(1000))
    return {"bytes": flood(attacker, s, data, 50 << 20)}


@attack("MQTT 5: thousands of user properties", counters={"messages_published": 100}, growth_mib=24)
def user_properties(attacker):
    listener = enter(attacker, "listener", b"\x82\x0a" + b"\0\1" + b"\0" + packets.text("many") + b"\0")
    assert read_packet(listener, bytearray(), packets.SUBACK)
    s = enter(attacker, "many")
    attacker.ready()
    properties = packets.user_property("n", "v") * 10000
    return {"bytes": flood(attacker, s, packets.publish("many", b"x", properties=properties), 10 << 20)}


@attack("MQTT 5: more than the receive maximum", settings=UNBOUNDED, sizes=(500, 50),
        counters={"protocol_errors": lambda size: size}, answers=all_told)
def receive_maximum(attacker):
    data = b"".join(packets.publish("t", b"x", 2, i, properties=b"") for i in range(1, 200))
    return until_stopped(attacker, (data, RECEIVE_MAXIMUM_EXCEEDED))


@attack("MQTT 5: AUTH without a method", settings=UNBOUNDED, sizes=(500, 50), answers=all_told)
def auth(attacker):
    return until_stopped(attacker, (b"\xf0\0", PROTOCOL_ERROR), (b"\xf0\2\x18\0", PROTOCOL_ERROR))
