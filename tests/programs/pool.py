"""The same as pool.c, in Python."""
import os
import socket
import sys


def open_pool(port):
    return socket.create_connection(("127.0.0.1", port))


def handle(stream):
    stream.sendall(stream.recv(4))
    stream.close()


port, connections = int(sys.argv[1]), int(sys.argv[2])
listener = socket.create_server(("127.0.0.1", port))
leaked = []
for _ in range(connections):
    client = open_pool(port)
    client.sendall(b"ping")
    handle(listener.accept()[0])
    while client.recv(64):
        pass
    if len(sys.argv) > 3:
        client.close()
    else:
        leaked.append(client)
print(os.getpid(), flush=True)
sys.stdin.read()
