std = "lua54"
max_line_length = 110
files["spec"] = { std = "lua54+busted" }
files["examples/**/*_spec.lua"] = { std = "lua54+busted" }
files["scripts/install/luacheckrc"] = { std = "luacheckrc" }
files["lua/luamq"] = { max_comment_line_length = 150 } -- an annotation is a line
files["lua/luamq/types"] = { max_comment_line_length = false, ignore = { "211", "212", "241" } } -- nothing is in them
