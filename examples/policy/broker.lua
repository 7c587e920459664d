-- A broker with its policy in a module beside it, and the module's spec beside that.
return {
  listeners = { (...) or "tcp://127.0.0.1:1883" },
  hooks = require "policy",
}
