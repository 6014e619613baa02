"""The same as pool.c, in Python, with one connection."""
import os
import socket
import sys


def open_pool(port):
    return socket.create_connection(("127.0.0.1", port))


def handle(stream):
    stream.sendall(stream.recv(4))
    stream.close()


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
client = open_pool(int(sys.argv[1]))
client.sendall(b"ping")
handle(listener.accept()[0])
while client.recv(64):
    pass
print(os.getpid(), flush=True)
sys.stdin.read()
