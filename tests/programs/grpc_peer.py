# gRPC with TLS by grpcio: `PORT server CERTIFICATE KEY` prints `listening`, and then each call: the client's port, method, messages each
# way and status. `PORT client CERTIFICATE` makes one call of each kind, one that fails, and one that outlasts its deadline; it says how each
# ended.
import json
import sys
import threading
from concurrent import futures

import grpc

KINDS = {
    "Unary": "unary_unary",
    "ServerStream": "unary_stream",
    "ClientStream": "stream_unary",
    "Both": "stream_stream",
    "Fails": "unary_unary",
    "Late": "unary_unary",
}
SERVICE = "test.Peers"
DEADLINE_S = 2


class Calls(grpc.GenericRpcHandler):
    def service(self, details):
        name = details.method.rsplit("/")[-1]
        kind = KINDS[name]
        asked, answers = kind.split("_")

        def answer(request, context):
            received = sum(1 for _ in request) if asked == "stream" else 1
            sent = 3 if answers == "stream" else 1
            status = 0
            if name == "Late":
                over = threading.Event()
                if not context.add_callback(over.set):
                    over.set()
                over.wait()
                status, sent = 4, 0
            if name == "Fails":
                status, sent = 5, 0
            line = {
                "client": int(context.peer().rsplit(":")[-1]),
                "method": name,
                "received": received,
                "sent": sent,
                "status": status,
            }
            print(json.dumps(line), flush=True)
            if name == "Fails":
                context.abort(grpc.StatusCode.NOT_FOUND, "there is none")
            return iter([b"answer"] * sent) if answers == "stream" else b"answer"

        return getattr(grpc, f"{kind}_rpc_method_handler")(answer)


def serve(port, certificate, key):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers([Calls()])
    pairs = [(open(key, "rb").read(), open(certificate, "rb").read())]
    server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials(pairs))
    server.start()
    print("listening", flush=True)
    server.wait_for_termination()


def call(port, certificate):
    credentials = grpc.ssl_channel_credentials(open(certificate, "rb").read())
    options = [("grpc.ssl_target_name_override", "www.example.com")]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        for name, kind in KINDS.items():
            asked, answers = kind.split("_")
            method = getattr(channel, kind)(f"/{SERVICE}/{name}")
            request = iter([b"question"] * 4) if asked == "stream" else b"question"
            timeout = DEADLINE_S if name == "Late" else 60
            try:
                answer = method(request, timeout=timeout)
                count = sum(1 for _ in answer) if answers == "stream" else 1
                print(name, count, "OK", flush=True)
            except grpc.RpcError as error:
                print(name, 0, error.code().name, flush=True)


port, role, *files = sys.argv[1:]
{"server": serve, "client": call}[role](port, *files)
