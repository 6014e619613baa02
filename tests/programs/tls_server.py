# A server of aiohttp with TLS: PORT CERTIFICATE KEY. It has /big, 200,000 bytes, and /text.txt; everything else is missing. Prints `listening`, and
# then each exchange.
import asyncio
import json
import os
import ssl
import sys

from aiohttp import web

port, certificate, key = sys.argv[1:]
CONTENTS = {"/big": b"x" * 200000, "/text.txt": b"text " * 2000}


async def answer(request):
    await request.read()
    content = CONTENTS.get(request.path)
    response = web.Response(status=200 if content else 404, body=content or b"missing")
    line = {
        "method": request.method,
        "uri": request.raw_path,
        "status": response.status,
        "body_bytes_sent": len(response.body),
        "bytes_sent": 0,
        "remote_port": request.transport.get_extra_info("peername")[1],
        "pid": os.getpid(),
    }
    print(json.dumps(line), flush=True)
    return response


async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    application = web.Application(client_max_size=1 << 20)
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port), ssl_context=context).start()
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
