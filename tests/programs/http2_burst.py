"""HTTP/2 over TLS by hand, of which each message goes into one call of the TLS library.

server PORT CERTIFICATE KEY: answers each request of one connection after the other: to the path /N with N bytes.
client PORT N..: makes one request with N bytes after the other, on one connection, which it resets at the end, and prints how many bytes each
response has.
"""

import socket
import ssl
import struct
import sys

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, WINDOW_UPDATE = 0, 1, 4, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
FRAME = 16384
# Windows that hold any message: SETTINGS_INITIAL_WINDOW_SIZE, and as much for the connection.
WINDOW = 1 << 26


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def opening():
    window = struct.pack(">I", WINDOW)
    return frame(SETTINGS, 0, 0, struct.pack(">HI", 4, WINDOW)) + frame(WINDOW_UPDATE, 0, 0, window)


def message(stream, fields, size):
    """A head and a body, which are one write."""
    frames = [frame(HEADERS, END_HEADERS, stream, fields)]
    for start in range(0, size, FRAME):
        length = min(FRAME, size - start)
        frames.append(frame(DATA, END_STREAM if start + length == size else 0, stream, b"x" * length))
    return b"".join(frames)


def literal(index, value):
    return bytes([index, len(value)]) + value


def frames(tls):
    buffered = tls.makefile("rb")
    while len(header := buffered.read(9)) == 9:
        length, kind, flags = struct.unpack(">I", b"\0" + header[:3])[0], header[3], header[4]
        stream = struct.unpack(">I", header[5:])[0]
        yield kind, flags, stream, buffered.read(length)


def serve(port, certificate, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        raw, _ = listener.accept()
        try:
            with context.wrap_socket(raw, server_side=True) as tls:
                answer(tls)
        except OSError:
            pass


def answer(tls):
    preface = b""
    while len(preface) < len(PREFACE):
        preface += tls.recv(len(PREFACE) - len(preface))
    tls.sendall(opening())
    for kind, flags, stream, payload in frames(tls):
        if kind == SETTINGS and not flags & ACK:
            tls.sendall(frame(SETTINGS, ACK, 0))
        elif kind == HEADERS:
            # Of a client that neither compresses its path nor refers to it.
            size = int(payload.partition(b"/")[2].partition(b"!")[0])
        elif kind == DATA and flags & END_STREAM:
            tls.sendall(message(stream, b"\x88", size))


def request(port, sizes):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port))) as tls:
        tls.sendall(PREFACE + opening())
        received, window, settings = frames(tls), 0, False
        while not (settings and window > 1 << 20):
            kind, flags, stream, payload = next(received)
            settings |= kind == SETTINGS and not flags & ACK
            window += struct.unpack(">I", payload)[0] if kind == WINDOW_UPDATE else 0
        tls.sendall(frame(SETTINGS, ACK, 0))
        for number, size in enumerate(sizes):
            stream = 2 * number + 1
            path = literal(0x04, b"/%d!" % size)
            tls.sendall(message(stream, b"\x83\x87" + path + literal(0x01, b"localhost"), size))
            got = 0
            for kind, flags, on, payload in received:
                got += len(payload) if kind == DATA else 0
                if on == stream and flags & END_STREAM and kind in (DATA, HEADERS):
                    break
            print(got, flush=True)
        tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


if sys.argv[1] == "server":
    serve(int(sys.argv[2]), *sys.argv[3:])
else:
    request(int(sys.argv[2]), [int(size) for size in sys.argv[3:]])
