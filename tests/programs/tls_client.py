# A client with TLS: LIBRARY PORT [REQUEST..], where a request is METHOD:PATH and a POST has a body of 1000 bytes. Makes them one after the
# other with one client of the library: requests, httpx, httpx2 (HTTP/2) or aiohttp.
import asyncio
import sys

HEADERS = {"Accept-Encoding": "identity"}


def with_requests(requests):
    import requests as library
    import urllib3

    urllib3.disable_warnings()
    with library.Session() as session:
        for method, url, body in requests:
            len(session.request(method, url, data=body, headers=HEADERS, verify=False).content)


def with_httpx(requests, http2=False):
    import httpx

    with httpx.Client(verify=False, http2=http2, trust_env=False) as client:
        for method, url, body in requests:
            response = client.request(method, url, content=body, headers=HEADERS)
            assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1"), response.http_version


async def with_aiohttp(requests):
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for method, url, body in requests:
            async with session.request(method, url, data=body, headers=HEADERS, ssl=False) as response:
                await response.read()


library, port, *requests = sys.argv[1:]
requests = [request.split(":") for request in requests]
requests = [
    (method, f"https://127.0.0.1:{port}{path}", b"x" * 1000 if method == "POST" else None) for method, path in requests
]
match library:
    case "requests":
        with_requests(requests)
    case "aiohttp":
        asyncio.run(with_aiohttp(requests))
    case _:
        with_httpx(requests, library == "httpx2")
