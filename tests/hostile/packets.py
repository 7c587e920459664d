"""MQTT packets as bytes, and back: what the probe and the attackers speak. Lax on purpose, as attackers are.
Properties, as bytes, make packets of MQTT 5."""

import struct

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, PINGRESP, DISCONNECTED = 2, 3, 4, 5, 6, 7, 9, 13, 14
PINGREQ = b"\xc0\0"
DISCONNECT = b"\xe0\0"


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(data)) + data


def length(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 127
        out.append(low | (128 if n else 0))
        if not n:
            return bytes(out)


def packet(first, body):
    return bytes([first]) + length(len(body)) + body


def connect(client_id, keep_alive=0, clean=True, will=None, user=None, password=None, properties=None):
    """will is (topic, payload, qos), and none with properties."""
    flags = 2 if clean else 0
    rest = text(client_id)
    if will:
        flags |= 4 | will[2] << 3
        rest += text(will[0]) + text(will[1])
    if user is not None:
        flags |= 128
        rest += text(user)
    if password is not None:
        flags |= 64
        rest += text(password)
    level = 4 if properties is None else 5
    return packet(0x10, text("MQTT") + struct.pack(">BBH", level, flags, keep_alive) + section(properties) + rest)


def section(properties):
    return b"" if properties is None else length(len(properties)) + properties


def publish(topic, payload, qos=0, packet_id=1, retain=False, properties=None):
    return packet(0x30 | qos << 1 | retain,
                  text(topic) + (struct.pack(">H", packet_id) if qos else b"") + section(properties) + payload)


def alias(number):
    return b"\x23" + struct.pack(">H", number)


def user_property(name, value):
    return b"\x26" + text(name) + text(value)


def subscribe(packet_id, *filters):
    """Each filter is (filter, qos)."""
    return packet(0x82, struct.pack(">H", packet_id) + b"".join(text(f) + bytes([qos]) for f, qos in filters))


def acknowledge(kind, packet_id):
    return bytes([kind << 4 | (2 if kind == PUBREL else 0), 2]) + struct.pack(">H", packet_id)


def split(buffer):
    """Takes the whole packets off a bytearray: a list of (first byte, body)."""
    found, at, end = [], 0, len(buffer)
    while end - at >= 2:
        size, shift, i = 0, 0, at + 1
        while i < end and buffer[i] & 128:
            size |= (buffer[i] & 127) << shift
            shift, i = shift + 7, i + 1
        if i == end:
            break
        size |= buffer[i] << shift
        if end - i - 1 < size:
            break
        found.append((buffer[at], bytes(buffer[i + 1:i + 1 + size])))
        at = i + 1 + size
    del buffer[:at]
    return found


def message(first, body):
    """The parts of a PUBLISH: topic, packet id or None, payload."""
    end = 2 + (body[0] << 8 | body[1])
    if first & 6:
        return body[2:end], body[end] << 8 | body[end + 1], body[end + 2:]
    return body[2:end], None, body[end:]
