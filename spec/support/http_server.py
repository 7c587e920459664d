#!/usr/bin/python3
"""A web server for specs: http_server.py [--unix PATH] [--tls NAME [--client-ca CA]]

Prints its port, and a line for what a spec waits for: `hangs` when a request came that gets no answer, `gone` when its
client has closed, `left` when one that asked for /watch has, `holds` when one for /held came, which is answered after
/release. NAME.pem and NAME.key are its certificate.
"""
import argparse
import asyncio
import json
import ssl
import urllib.parse

connections = 0
at_once = most_at_once = 0
released = asyncio.Event()


def say(text):
    print(text, flush=True)


def answer(status, body=b"", **headers):
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {one}" for name, value in headers.items()
              for one in (value if isinstance(value, list) else [value])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def echo(request):
    body = json.dumps({key: request[key] for key in ("method", "target", "headers", "body", "connection")}).encode()
    return answer(200, b"" if request["method"] == "HEAD" else body, Content_Type="application/json")


def redirect(request):
    query = request["query"]
    return answer(int(query.get("status", "302")), Location=query["to"])


def counts(_):
    return answer(200, json.dumps({"connections": connections, "most_at_once": most_at_once}).encode())


async def slow(request):
    global at_once, most_at_once
    at_once += 1
    most_at_once = max(at_once, most_at_once)
    await asyncio.sleep(int(request["query"]["ms"]) / 1000)
    at_once -= 1
    return answer(200, b"{}")


async def held(_):
    say("holds")
    await released.wait()
    return answer(200)


def release(_):
    released.set()
    return answer(204)


async def hang(request):
    say("hangs")
    await request["reader"].read()
    say("gone")


PATHS = {
    "/echo": echo,
    "/redirect": redirect,
    "/counts": counts,
    "/watch": counts,
    "/slow": slow,
    "/hang": hang,
    "/held": held,
    "/release": release,
    "/status": lambda request: answer(int(request["query"]["code"])),
    "/bytes": lambda request: answer(200, b"x" * int(request["query"]["count"])),
    "/text": lambda request: answer(200, request["query"]["text"].encode()),
    "/headers": lambda _: answer(200, X_One=["a", "b"], Set_Cookie=["a=1, x", "b=2"], X_Spaces="  c  "),
    "/large_header": lambda _: answer(200, X_Large="x" * 70000),
    "/close": lambda _: b"",
    "/garbage": lambda _: b"220 mail.example ESMTP\r\n",
    "/cut": lambda _: answer(200, b"x" * 10)[:-5],
    "/continue": lambda request: b"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n" + echo(request),
}
ENDS = {"/close", "/garbage", "/cut"}  # the connection


async def read_request(reader):
    method, target, _ = (await reader.readline()).decode().split(" ")
    headers = {}
    while line := (await reader.readline()).decode().strip():
        name, value = line.split(":", 1)
        headers[name.lower()] = value.strip()
    body = (await reader.readexactly(int(headers.get("content-length", "0")))).decode("latin-1")
    url = urllib.parse.urlsplit(target)
    return {"method": method, "target": target, "path": url.path, "headers": headers, "body": body, "reader": reader,
            "query": dict(urllib.parse.parse_qsl(url.query))}


async def serve(reader, writer):
    global connections
    connections += 1
    number = connections
    watched = False
    try:
        while not reader.at_eof():
            request = await read_request(reader)
            request["connection"] = number
            said = PATHS.get(request["path"], lambda _: answer(404))(request)
            writer.write(await said if asyncio.iscoroutine(said) else said)
            await writer.drain()
            watched = watched or request["path"] == "/watch"
            if request["path"] in ENDS or request["headers"].get("connection") == "close":
                break
    except (ValueError, TypeError, OSError, asyncio.IncompleteReadError):
        pass  # it has closed
    if watched:
        say("left")
    writer.close()


def context(options):
    if not options.tls:
        return None
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=options.client_ca)
    tls.load_cert_chain(f"{options.tls}.pem", f"{options.tls}.key")
    if options.client_ca:
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls


async def main():
    parser = argparse.ArgumentParser()
    for name in ("--unix", "--tls", "--client-ca"):
        parser.add_argument(name)
    options = parser.parse_args()
    tls = context(options)
    if options.unix:
        server = await asyncio.start_unix_server(serve, options.unix, ssl=tls)
        say(0)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=4096)
        say(server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
