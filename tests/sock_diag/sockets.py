"""Makes TCP sockets in many states, prints `ready`, and keeps them until its input ends.

Prints first, as one line of JSON, its ports and the cookies of sockets that it closes. Each line of input is a command:
`data` completes the half-open connection and prints the cookie of the socket that it becomes.
"""
import json
import os
import socket
import sys

SO_COOKIE = 57


def cookie(connection):
    return int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), sys.byteorder)


def listen(family, host, defer=0):
    listener = socket.socket(family)
    if defer:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, defer)
    listener.bind((host, 0))
    listener.listen(7)
    return listener


def pair(listener, host, family=socket.AF_INET):
    client = socket.socket(family)
    client.connect((host, listener.getsockname()[1]))
    return client, listener.accept()[0]


plain = listen(socket.AF_INET, "127.0.0.1")
deferring = listen(socket.AF_INET, "127.0.0.1", defer=60)
dual = listen(socket.AF_INET6, "::")

# Established, with data that is not read on both sides.
established = pair(plain, "127.0.0.1")
established[0].sendall(b"hello")
established[1].sendall(b"worlds")

# CLOSE_WAIT with data that is not read; the other end is FIN_WAIT2 and still open.
half_closed = pair(plain, "127.0.0.1")
half_closed[0].sendall(b"unread")
half_closed[0].shutdown(socket.SHUT_WR)

# TIME_WAIT.
client, server = pair(plain, "127.0.0.1")
time_wait = cookie(client)
client.close()
server.recv(1)
server.close()

# FIN_WAIT2 that nobody has open; the other end is CLOSE_WAIT with only the FIN to be read.
client, orphans_peer = pair(plain, "127.0.0.1")
orphan = cookie(client)
client.close()

# Half-open: the listener wants data before it makes a socket.
half_open = socket.create_connection(deferring.getsockname())

# IPv6 sockets that talk IPv4 and IPv6, of another user.
os.seteuid(65534)
mapped = pair(dual, "127.0.0.1")
six = pair(dual, "::1", socket.AF_INET6)
os.seteuid(0)

# Not accepted: nobody has the server's socket open.
waiting = socket.create_connection(plain.getsockname())

ports = [listener.getsockname()[1] for listener in (plain, deferring, dual)]
print(json.dumps({"ports": ports, "time_wait": time_wait, "orphan": orphan}), flush=True)
for command in sys.stdin:
    assert command == "data\n"
    half_open.sendall(b"x")
    accepted = deferring.accept()[0]
    print(cookie(accepted), flush=True)
