"""A server that sends bodies in the ways that do not pass through write(). It listens on the port that it is given, says
so, then prints each exchange as JSON.

/sendfile/SIZE: sendfile(2); /splice/SIZE: splice(2) by way of a pipe; /io_uring/SIZE: IORING_OP_SEND. One connection at
a time, one request on each, of which only the first line is looked at.
"""

import ctypes
import json
import mmap
import os
import socket
import struct
import sys
import tempfile

BODY = bytes(range(256)) * (1 << 12)


class Ring:
    """An io_uring of one thread, by its system calls (io_uring_setup(2))."""

    SETUP, ENTER = 425, 426
    GETEVENTS, OFFSET_OF_ENTRIES, OP_SEND = 1, 0x10000000, 26

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

    def send(self, connection, address, length):
        tail, head = self.word(self.tail), self.word(self.cq_head)
        index = tail & self.word(self.mask)
        entry = struct.pack("BBHiQQII32x", self.OP_SEND, 0, 0, connection.fileno(), 0, address, length, 0)
        self.entries[64 * index : 64 * index + 64] = entry
        struct.pack_into("I", self.rings, self.array + 4 * index, index)
        struct.pack_into("I", self.rings, self.tail, tail + 1)
        self.call(self.ENTER, self.fd, 1, 1, self.GETEVENTS, None, 0)
        at = self.results + 16 * (head & self.word(self.cq_mask))
        sent = struct.unpack_from("Qi", self.rings, at)[1]
        struct.pack_into("I", self.rings, self.cq_head, head + 1)
        if sent < 0:
            raise OSError(-sent, os.strerror(-sent))
        return sent


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
        sent += ring.send(connection, ctypes.addressof(body) + sent, size - sent)
    os.close(ring.fd)


WAYS = {"sendfile": by_sendfile, "splice": by_splice, "io_uring": by_io_uring}


def serve(connection, port, file):
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        piece = connection.recv(65536)
        if not piece:
            return
        request += piece
    method, target, _ = request.split(b"\r\n")[0].decode().split(" ")
    _, way, size = target.split("/")
    size = int(size)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size
    connection.sendall(head)
    WAYS[way](connection, file, size)
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
