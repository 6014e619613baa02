"""A client with GnuTLS that keeps what it sends (cork) and then sends it at once.

gnutls_cork.py PORT TARGET: prints what it received."""

import ctypes
import socket
import sys

GNUTLS_CLIENT = 2
GNUTLS_CRD_CERTIFICATE = 1
WAIT = 1

tls = ctypes.CDLL("libgnutls.so.30")
tls.gnutls_record_send.restype = tls.gnutls_record_recv.restype = ctypes.c_ssize_t


def check(result):
    assert result >= 0, result
    return result


port, target = int(sys.argv[1]), sys.argv[2]
connection = socket.create_connection(("127.0.0.1", port))
session, credentials = ctypes.c_void_p(), ctypes.c_void_p()
check(tls.gnutls_init(ctypes.byref(session), GNUTLS_CLIENT))
check(tls.gnutls_certificate_allocate_credentials(ctypes.byref(credentials)))
check(tls.gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials))
check(tls.gnutls_set_default_priority(session))
tls.gnutls_transport_set_int2(session, connection.fileno(), connection.fileno())
check(tls.gnutls_handshake(session))
for last in (False, True):
    tls.gnutls_record_cork(session)
    closes = b"Connection: close\r\n" if last else b""
    for part in (b"GET %s HTTP/1.1\r\n" % target.encode(), b"Host: a.example\r\n%s\r\n" % closes):
        assert tls.gnutls_record_send(session, part, ctypes.c_size_t(len(part))) == len(part)
    check(tls.gnutls_record_uncork(session, WAIT))
    received, buffer = b"", ctypes.create_string_buffer(65536)
    while not received.endswith(b"hello"):
        length = check(tls.gnutls_record_recv(session, buffer, ctypes.c_size_t(len(buffer))))
        received += buffer.raw[:length]
    print(received.decode())
while tls.gnutls_record_recv(session, buffer, ctypes.c_size_t(len(buffer))) > 0:
    pass
tls.gnutls_deinit(session)
connection.close()
