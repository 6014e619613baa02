"""A server that handles its connections in one of several ways, most of them wrong. It listens on the port that it is
given, says so, and goes on until it is ended.

leak: reads to the end and never closes. end: reads what it expects, answers and stops. data: never reads. none: never accepts;
the queue is as long as the second argument says. prefork: a worker accepts one and is busy with it; the process that is started only has
the listener open. deferred: accepts what has sent data, for 15 s (TCP_DEFER_ACCEPT), and reads to the end.
copy: reads what it expects, starts a program that sleeps and inherits the connection, answers and closes. spawn: the same, and the
connection is not inherited.
fine: reads to the end and closes. first: reads what it expects, and closes.
"""

import ctypes
import os
import socket
import sys
import threading
import time

port, mode = int(sys.argv[1]), sys.argv[2]
backlog = int(sys.argv[3]) if len(sys.argv) > 3 else 128
listener = socket.create_server(("127.0.0.1", port), backlog=backlog)
if mode == "deferred":
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 10)
kept = []


def serve(connection):
    """Handles one connection."""
    kept.append(connection)
    if mode in ("end", "first"):
        connection.recv(5, socket.MSG_WAITALL)
    if mode == "end":
        connection.send(b"!")
    elif mode in ("leak", "fine", "deferred"):
        while connection.recv(1000):
            pass
    if mode in ("fine", "first"):
        kept.remove(connection)
        connection.close()


def end_with_parent():
    """Ends this process when the thread ends that has started it (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)


if mode == "prefork" and os.fork() == 0:
    end_with_parent()
    kept.append(listener.accept())
    time.sleep(600)
print("listening", flush=True)
if mode in ("none", "prefork"):
    time.sleep(600)
while mode in ("copy", "spawn"):
    connection = listener.accept()[0]
    connection.recv(5, socket.MSG_WAITALL)
    connection.set_inheritable(mode == "copy")
    if os.fork() == 0:
        end_with_parent()
        os.execvp("sleep", ["sleep", "600"])
    connection.send(b"!")
    connection.close()
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
