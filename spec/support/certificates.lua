--- Certificates for specs, made by openssl into a folder: `ca.pem` of an authority, and for each name below
--- NAME.pem with NAME.key, issued by it; `stranger` by nobody but itself.

local process = require "spec.support.process"

local certificates = {}

local names = {
  server = "DNS:localhost,IP:127.0.0.1",
  elsewhere = "DNS:elsewhere.example",
  client = "DNS:meter",
}

local function openssl(folder, arguments)
  local words = { "openssl" }
  for word in arguments:gmatch "%S+" do words[#words + 1] = word end
  local status, output = process.run(words, { errors = true, directory = folder })
  if status ~= 0 then error(("openssl %s:\n%s"):format(arguments, output)) end
end

local new_key <const> = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout %s.key -subj /CN=%s"

local function self_signed(folder, name)
  openssl(folder, ("req -x509 -days 2 -out %s.pem "):format(name) .. new_key:format(name, name))
end

--- Makes NAME.pem, issued by the authority in `folder`, and NAME.key.
---@param folder string
---@param name string          the common name of its subject
---@param alternatives string?  "DNS:localhost,IP:127.0.0.1"
function certificates.issue(folder, name, alternatives)
  process.write(folder .. "/names", alternatives and "subjectAltName=" .. alternatives .. "\n" or "")
  openssl(folder, ("req -out %s.csr "):format(name) .. new_key:format(name, name))
  openssl(folder, ("x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
    .. "-extfile names -out %s.pem"):format(name, name))
end

--- Revokes NAME.pem, and no other: `crl.pem` says so.
---@param folder string
---@param name string
function certificates.revoke(folder, name)
  process.write(folder .. "/ca.conf", "[ca]\ndefault_ca = it\n[it]\ndatabase = ca.index\n"
    .. "default_md = sha256\ndefault_crl_days = 2\n")
  process.write(folder .. "/ca.index", "")
  local ca <const> = "ca -config ca.conf -cert ca.pem -keyfile ca.key "
  openssl(folder, ca .. ("-revoke %s.pem"):format(name))
  openssl(folder, ca .. "-gencrl -out crl.pem")
end

--- Makes them all in `folder`.
---@param folder string
function certificates.make(folder)
  self_signed(folder, "ca")
  self_signed(folder, "stranger")
  for name, alternatives in pairs(names) do certificates.issue(folder, name, alternatives) end
end

return certificates
