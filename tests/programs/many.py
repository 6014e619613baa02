"""Many connections with both ends in one process. It listens on the port that it is given, makes as many connections as
the second argument says, says so, and keeps them until it is ended."""

import socket
import sys
import time

port, count = int(sys.argv[1]), int(sys.argv[2])
listener = socket.create_server(("127.0.0.1", port))
kept = []
for _ in range(count):
    kept.append(socket.create_connection(("127.0.0.1", port)))
    kept.append(listener.accept()[0])
print("listening", flush=True)
time.sleep(600)
