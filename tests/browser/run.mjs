#!/usr/bin/env node
// Runs the suite with MQTT.js in Chromium and in node, over ws, wss and tls:
// run.mjs LUAMQ MODULES [node], the program and the folder that has mqtt in its node_modules; with "node" not in
// Chromium. In node MQTT 5 is tried as well. scripts/test-browser calls it.

import { spawn, execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { suite } from "./suite.mjs";
import { cases_of_5 } from "./suite_5.mjs";

const PAGE_MS = 180000;
const here = dirname(fileURLToPath(import.meta.url));
const [luamq, modules] = process.argv.slice(2, 4).map((path) => resolve(path));
const where = process.argv[4] ?? "both";
const require = createRequire(join(modules, "package.json"));
const mqtt = require("mqtt");

/** A certificate of its own authority, for "localhost" and 127.0.0.1. */
function certificates(folder) {
  const openssl = (...args) => execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=luamq tests");
  openssl("req", ...key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost");
  writeFileSync(join(folder, "names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
  openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
    "-extfile", "names", "-out", "server.pem");
  const certificate = new X509Certificate(readFileSync(join(folder, "server.pem")));
  const key_hash = createHash("sha256").update(certificate.publicKey.export({ type: "spki", format: "der" }));
  return { ca: readFileSync(join(folder, "ca.pem")), spki: key_hash.digest("base64") };
}

/** Serves the page; `results` is called with what it posts. */
function pages(on) {
  const files = {
    "/page.html": [join(here, "page.html"), "text/html"],
    "/suite.mjs": [join(here, "suite.mjs"), "text/javascript"],
    "/mqtt.min.js": [join(modules, "node_modules/mqtt/dist/mqtt.min.js"), "text/javascript"],
  };
  const server = createServer((request, response) => {
    if (request.method === "POST") {
      let body = "";
      request.on("data", (data) => { body += data; });
      request.on("end", () => { response.end(); on.results(JSON.parse(body)); });
      return;
    }
    const file = files[request.url];
    response.writeHead(file ? 200 : 404, { "Content-Type": file ? file[1] : "text/plain" });
    response.end(file ? readFileSync(file[0]) : "");
  });
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

/** Starts a broker for pages of this origin. Its listeners, in order: open ws, ws, wss, tls. */
function broker(folder, origin) {
  const script = join(folder, "broker.lua");
  const tls = `certificate = "${folder}/server.pem", key = "${folder}/server.key"`;
  writeFileSync(script, `
    return { listeners = {
      "ws://127.0.0.1:0/mqtt",
      { "ws://127.0.0.1:0/mqtt", origins = { "${origin}" } },
      { "wss://127.0.0.1:0/mqtt", origins = { "${origin}" }, ${tls} },
      { "tls://127.0.0.1:0", ${tls} },
    }, backend = { session_queue_size = 2000 } } -- the suite does not pace itself
  `);
  const child = spawn(luamq, [script], { stdio: ["ignore", "pipe", "pipe"] });
  const said = [];
  createInterface({ input: child.stderr }).on("line", (line) => said.push(line));
  return new Promise((done, fail) => {
    const urls = [];
    child.once("exit", (code) => fail(new Error(`the broker ended with ${code}:\n${said.join("\n")}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const url = line.match(/^listening on (.*)$/);
      if (url) urls.push(url[1]);
      if (urls.length === 4) done({ child, open: urls[0], ws: urls[1], wss: urls[2], tls: urls[3] });
    });
  });
}

/** Has Chromium do a task on a page of this host, and returns the page's results. */
async function chromium(host, port, task, spki, on) {
  const profile = mkdtempSync(join(tmpdir(), "luamq-chromium-"));
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    `--user-data-dir=${profile}`, `--ignore-certificate-errors-spki-list=${spki}`];
  const page = `http://${host}:${port}/page.html#${encodeURIComponent(JSON.stringify(task))}`;
  const child = spawn("/usr/bin/chromium", [...flags, page], { stdio: ["ignore", "ignore", "pipe"], detached: true });
  let said = "";
  child.stderr.on("data", (data) => { said += data; });
  let timer;
  try {
    return await new Promise((done, fail) => {
      on.results = done;
      child.once("exit", (code) => fail(new Error(`chromium ended with ${code}:\n${said}`)));
      timer = setTimeout(() => fail(new Error(`chromium did not finish:\n${said}`)), PAGE_MS);
    });
  } finally {
    clearTimeout(timer);
    const gone = child.exitCode === null && new Promise((done) => child.once("close", done));
    if (gone) process.kill(-child.pid, "SIGKILL"); // with the processes that it has started
    await gone;
    rmSync(profile, { recursive: true, force: true, maxRetries: 10 });
  }
}

let passed = 0;
let failed = 0;

function tell(where, results) {
  for (const { name, error } of results) {
    if (error) failed++;
    else passed++;
    console.log(`  ${error ? "FAIL" : "ok"} ${where}: ${name}${error ? `\n${error}` : ""}`);
  }
}

const folder = mkdtempSync(join(tmpdir(), "luamq-browser-"));
const on = {};
let server;
let served;
try {
  const { ca, spki } = certificates(folder);
  server = await pages(on);
  const { port } = server.address();
  served = await broker(folder, `http://127.0.0.1:${port}`);
  for (const url of [served.open, served.ws, served.wss, served.tls]) {
    const address = url.replace(/^tls:/, "mqtts:");
    tell(`node: ${url}`, await suite(mqtt, address, { ca }));
    tell(`node: ${url}, MQTT 5`, await suite(mqtt, address, { ca, protocolVersion: 5 }, cases_of_5));
  }
  if (where !== "node") {
    const mine = { run: [served.ws, served.wss], refused: [served.open] };
    tell("chromium", await chromium("127.0.0.1", port, mine, spki, on));
    const foreign = { run: [], refused: [served.open, served.ws, served.wss] };
    tell("chromium", await chromium("localhost", port, foreign, spki, on));
  }
} catch (problem) {
  tell("run", [{ name: "the tests themselves", error: problem.stack }]);
} finally {
  if (served) {
    served.child.removeAllListeners("exit");
    const code = new Promise((done) => served.child.once("exit", done));
    served.child.kill("SIGTERM");
    tell("broker", [{ name: "stops in order", error: (await code) === 0 ? null : "another exit status than 0" }]);
  }
  server?.close();
  rmSync(folder, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
