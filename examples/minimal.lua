-- The smallest broker: open, and therefore on loopback only.
return { listeners = { "tcp://127.0.0.1:1883" } }
