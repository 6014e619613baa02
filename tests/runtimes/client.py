"""Two connections that it never closes, one that it does, and two idle ones of a pool: requests, httpx or aiohttp."""
import asyncio
import socket
import sys

port, library = int(sys.argv[1]), sys.argv[2]
url = f"http://127.0.0.1:{port}/pool"


def read_to_the_end():
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"GET /end HTTP/1.1\r\nHost: x\r\n\r\n")
    while client.recv(4096):
        pass
    return client


def wait():
    print("ready", flush=True)
    sys.stdin.read()


async def with_aiohttp():
    import aiohttp

    sessions = [aiohttp.ClientSession() for _ in range(2)]
    for session in sessions:
        async with session.get(url) as response:
            await response.read()
    await asyncio.to_thread(wait)


leaked = [read_to_the_end() for _ in range(2)]
read_to_the_end().close()
if library == "aiohttp":
    asyncio.run(with_aiohttp())
else:
    clients = [__import__(library) for _ in range(2)]
    pools = [module.Session() if library == "requests" else module.Client() for module in clients]
    for pool in pools:
        pool.get(url).content
    wait()
