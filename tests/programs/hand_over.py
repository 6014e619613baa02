"""A server whose connections are used by more than one process. It listens on the port that it is given, says so, and goes on
until it is ended; each response's body is the id of the process that wrote it.

pass: one process accepts, and hands the connection to another, which is called "second-user". peek: it looks at the request
before. share: each of the two answers one request. inetd: a program is executed for each connection, with the connection
as its input and output. inherit: the second process has the listener of the first. activated and activated-accept: the listener, or a connection, is
descriptor 3, as sd_listen_fds(3) describes. offer PATH: each connection is handed to whoever comes to a Unix socket. take PATH: one is
taken from there. mptcp: one process answers, over MPTCP, and
does not close.
"""

import ctypes
import os
import socket
import sys
import time

port, mode = int(sys.argv[1]), sys.argv[2]
if mode == "mptcp":
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    listener.bind(("127.0.0.1", port))
    listener.listen()
elif mode == "activated":
    listener = socket.socket(fileno=3)
elif mode in ("activated-accept", "take"):
    listener = None
else:
    listener = socket.create_server(("127.0.0.1", port))


def answer(connection):
    """Reads a request and answers it; false when there is none."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        more = connection.recv(1)
        if not more:
            return False
        request += more
    body = b"%d\n" % os.getpid()
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return True


def as_second(work):
    """Works in a process of another name."""
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b"second-user", 0, 0, 0)
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
        while True:
            work()


def serve(file):
    """Serves the connection of a descriptor."""
    with socket.socket(fileno=file) as connection:
        while answer(connection):
            pass


def receive(whence):
    """Serves the next connection that is handed over, once whoever handed it over has closed it."""
    _, files, _, _ = socket.recv_fds(whence, 1, 1)
    whence.recv(1)
    serve(files[0])


def accept():
    """Serves the next connection."""
    connection, _ = listener.accept()
    with connection:
        while answer(connection):
            pass


ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
if mode == "inherit":
    as_second(accept)
    listener.close()
    print("listening", flush=True)
    time.sleep(600)
if mode == "activated":
    while True:
        accept()
if mode == "activated-accept":
    sys.exit(serve(3))
if mode == "offer":
    offers = socket.socket(socket.AF_UNIX)
    offers.bind(sys.argv[3])
    offers.listen()
    print("listening", flush=True)
    while True:
        taker, _ = offers.accept()
        connection, _ = listener.accept()
        with taker, connection:
            socket.send_fds(taker, [b"x"], [connection.fileno()])
if mode == "take":
    with socket.socket(socket.AF_UNIX) as giver:
        giver.connect(sys.argv[3])
        sys.exit(receive(giver))
if mode == "mptcp":
    print("listening", flush=True)
    connection, _ = listener.accept()
    while answer(connection):
        pass
    time.sleep(600)
if mode != "inetd":
    as_second(lambda: receive(theirs))
print("listening", flush=True)
RESPOND = """read -r line; while read -r head && [ "$head" != "$(printf '\\r')" ]; do :; done
body="$$
"
printf 'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n%s' "${#body}" "$body" """
while True:
    connection, _ = listener.accept()
    if mode == "inetd":
        if os.fork() == 0:
            os.dup2(connection.fileno(), 0)
            os.dup2(connection.fileno(), 1)
            os.execvp("bash", ["bash", "-c", RESPOND])
        connection.close()
        os.wait()
        continue
    if mode == "peek":
        connection.recv(1, socket.MSG_PEEK)
    if mode == "share":
        answer(connection)
    socket.send_fds(ours, [b"x"], [connection.fileno()])
    connection.close()
    ours.send(b"x")
