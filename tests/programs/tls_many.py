"""Many TLS connections, both ends of each in one thread, whose library reads from and writes to memory. Each has a marker of its own.

tls_many.py PORT CERTIFICATE KEY: prints the target and the client's port of each request as JSON."""

import asyncio
import json
import ssl
import sys

CONNECTIONS = 50
REQUESTS = 10


async def serve(reader, writer):
    while head := await reader.readuntil(b"\r\n\r\n"):
        target = head.split(b" ")[1]
        await asyncio.sleep(0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(target), target))
        await writer.drain()


async def ask(port, marker, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    local = writer.get_extra_info("sockname")[1]
    for number in range(REQUESTS):
        target = f"/{marker}/{number}"
        writer.write(f"GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0]))
        assert body == target.encode(), (body, target)
        print(json.dumps({"target": target, "port": local}))
    writer.close()
    await writer.wait_closed()


async def handle(reader, writer):
    try:
        await serve(reader, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


async def main():
    port, certificate, key = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate, key)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with await asyncio.start_server(handle, "127.0.0.1", port, ssl=server_context):
        await asyncio.gather(*(ask(port, marker, context) for marker in range(CONNECTIONS)))


asyncio.run(main())
