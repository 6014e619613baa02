# Connections of one thread with TLS in memory (asyncio): PORT COUNT. Opens them, prints `ready`, and then, for each line that it
# reads, sends a request on every one, /NUMBER/LINE, each in pieces of its own time, reads the responses and prints `done`.
import asyncio
import re
import ssl
import sys

context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE


async def exchange(number, line, reader, writer):
    head = f"GET /{number}/{line} HTTP/1.1\r\nHost: h\r\nX-Connection: {number}\r\n\r\n".encode()
    for begin in range(0, len(head), 24):
        writer.write(head[begin : begin + 24])
        await asyncio.sleep(0)
    response = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", response)[1]))


async def main(port, count):
    opened = [asyncio.open_connection("127.0.0.1", port, ssl=context) for _ in range(count)]
    connections = await asyncio.gather(*opened)
    print("ready", flush=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
        await asyncio.gather(*(exchange(n, line, *both) for n, both in enumerate(connections)))
        print("done", flush=True)
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
