"""A server that sends and receives bodies in the ways that do not pass through write() and read(). It listens on the port that it is
given, says so, then prints each exchange as JSON.

/sendfile/SIZE: sendfile(2); /splice/SIZE: splice(2) by way of a pipe; /io_uring/SIZE: IORING_OP_SEND. A request's body is
received to the end of the connection: splice, by splice(2); io_uring, by IORING_OP_RECV; and answered by write(): peek, each piece is looked at
before it is read; trunc, it is thrown away by MSG_TRUNC; zero, before each read is one of no bytes. /unread/SIZE: when the peer has
closed, what it sent is read with no room, and left; then this end closes. One connection at a time, one request on each, of which
only the first line and the length are looked at.
"""

import ctypes
import json
import mmap
import os
import re
import select
import socket
import struct
import sys
import tempfile

BODY = bytes(range(256)) * (1 << 12)


class Ring:
    """An io_uring of one thread, by its system calls (io_uring_setup(2))."""

    SETUP, ENTER = 425, 426
    GETEVENTS, OFFSET_OF_ENTRIES, OP_SEND, OP_RECV = 1, 0x10000000, 26, 27

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        params = ctypes.create_string_buffer(120)
        self.fd = self.call(self.SETUP, 4, params)
        words = struct.unpack("30I", params.raw)
        entries, completions, features = words[0], words[1], words[5]
        assert features & 1, "one mapping has both rings"
        (_, self.tail, self.mask, _, _, _, array), (_, _, _, _, _, self.results, _) = words[10:17], words[20:27]
        self.cq_head, self.cq_mask = words[20], words[22]
        length = max(array + 4 * entries, self.results + 16 * completions)
        self.rings = mmap.mmap(self.fd, length)
        self.entries = mmap.mmap(self.fd, 64 * entries, offset=self.OFFSET_OF_ENTRIES)
        self.array = array

    def call(self, *arguments):
        result = self.libc.syscall(*arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    def word(self, at):
        return struct.unpack_from("I", self.rings, at)[0]

    def transfer(self, operation, connection, address, length):
        tail, head = self.word(self.tail), self.word(self.cq_head)
        index = tail & self.word(self.mask)
        entry = struct.pack("BBHiQQII32x", operation, 0, 0, connection.fileno(), 0, address, length, 0)
        self.entries[64 * index : 64 * index + 64] = entry
        struct.pack_into("I", self.rings, self.array + 4 * index, index)
        struct.pack_into("I", self.rings, self.tail, tail + 1)
        self.call(self.ENTER, self.fd, 1, 1, self.GETEVENTS, None, 0)
        at = self.results + 16 * (head & self.word(self.cq_mask))
        result = struct.unpack_from("Qi", self.rings, at)[1]
        struct.pack_into("I", self.rings, self.cq_head, head + 1)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result


def by_sendfile(connection, file, size):
    sent = 0
    while sent < size:
        sent += os.sendfile(connection.fileno(), file.fileno(), sent, size - sent)


def by_splice(connection, file, size):
    readable, writable = os.pipe()
    sent = 0
    while sent < size:
        piece = os.splice(file.fileno(), writable, min(1 << 16, size - sent), offset_src=sent)
        sent += piece
        while piece:
            piece -= os.splice(readable, connection.fileno(), piece)
    os.close(readable)
    os.close(writable)


def by_io_uring(connection, file, size):
    ring = Ring()
    body = ctypes.create_string_buffer(BODY, len(BODY))
    sent = 0
    while sent < size:
        sent += ring.transfer(ring.OP_SEND, connection, ctypes.addressof(body) + sent, size - sent)
    os.close(ring.fd)


def by_write(connection, file, size):
    connection.sendall(BODY[:size])


class Receiver:
    """Receives pieces of a body in a way: each gives how long it was, 0 at the end."""

    def __init__(self, connection):
        self.connection = connection
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.buffer = ctypes.create_string_buffer(1 << 16)

    def splice(self):
        readable, writable = os.pipe()
        piece = os.splice(self.connection.fileno(), writable, 1 << 14)
        os.close(readable)
        os.close(writable)
        return piece

    def io_uring(self):
        ring = Ring()
        piece = ring.transfer(ring.OP_RECV, self.connection, ctypes.addressof(self.buffer), 1 << 14)
        os.close(ring.fd)
        return piece

    def peek(self):
        length = len(self.connection.recv(1000, socket.MSG_PEEK))
        assert len(self.connection.recv(length or 1)) == length
        return length

    def trunc(self):
        return self.libc.recv(self.connection.fileno(), self.buffer, 1 << 14, socket.MSG_TRUNC)

    def zero(self):
        # Python makes no system call of it.
        assert self.libc.recv(self.connection.fileno(), self.buffer, 0, 0) == 0
        return len(self.connection.recv(1 << 14))

    def unread(self):
        poll = select.poll()
        poll.register(self.connection, select.POLLRDHUP)
        poll.poll()
        assert self.libc.recv(self.connection.fileno(), self.buffer, 0, 0) == 0
        return 0


WAYS = {"sendfile": by_sendfile, "splice": by_splice, "io_uring": by_io_uring}


def leave_unread(connection):
    """Closes what has data that was not read, when nothing of it is left but the descriptor: no RST is sent."""
    connection.shutdown(socket.SHUT_WR)
    poll = select.poll()
    poll.register(connection, 0)
    poll.poll()
    while connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:
        pass


TCP_CLOSE = 7


def serve(connection, port, file):
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        piece = connection.recv(1)
        if not piece:
            return
        request += piece
    method, target, _ = request.split(b"\r\n")[0].decode().split(" ")
    _, way, size = target.split("/")
    size = int(size)
    length = re.search(rb"\r\nContent-Length: (\d+)", request)
    receive = getattr(Receiver(connection), way) if length or way == "unread" else None
    left = int(length[1]) if length else 0
    while left:
        left -= receive()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % size
    head += b"\r\n" if receive else b"Connection: close\r\n\r\n"
    connection.sendall(head)
    WAYS.get(way, by_write)(connection, file, size)
    while receive and receive():
        pass
    if way == "unread":
        leave_unread(connection)
    elif receive:
        # The end is there for every way to read.
        assert not connection.recv(1)
    line = {
        "method": method,
        "uri": target,
        "status": 200,
        "body_bytes_sent": size,
        "bytes_sent": len(head) + size,
        "request_length": len(request),
        "remote_port": port,
        "pid": os.getpid(),
    }
    print(json.dumps(line), flush=True)


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    print("listening", flush=True)
    with tempfile.TemporaryFile() as file:
        file.write(BODY)
        file.flush()
        while True:
            connection, (_, port) = listener.accept()
            with connection:
                serve(connection, port, file)


main()
