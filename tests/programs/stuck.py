"""A server that handles its connections in one of several ways, most of them wrong. It listens on the port that it is
given, says so, and goes on until it is ended.

leak: reads to the end and never closes. end: reads what it expects, answers and stops. data: never reads. none: never accepts;
the queue is as long as the second argument says.
fine: reads to the end and closes. first: reads what it expects, and closes.
"""

import socket
import sys
import threading
import time

port, mode = int(sys.argv[1]), sys.argv[2]
backlog = int(sys.argv[3]) if len(sys.argv) > 3 else 128
listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
kept = []


def serve(connection):
    """Handles one connection."""
    kept.append(connection)
    if mode in ("end", "first"):
        connection.recv(5, socket.MSG_WAITALL)
    if mode == "end":
        connection.send(b"!")
    elif mode in ("leak", "fine"):
        while connection.recv(1000):
            pass
    if mode in ("fine", "first"):
        kept.remove(connection)
        connection.close()


print("listening", flush=True)
if mode == "none":
    time.sleep(600)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
