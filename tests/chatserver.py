"""A real HTTP server that speaks as an OpenAI-compatible endpoint, kind or broken as asked."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Talk:
    """What the server saw, and how it is to answer."""

    def __init__(self, answer):
        self.answer = answer
        """(request body, number of this request) -> text, an HTTP status, or bytes as they are."""
        self.bodies, self.keys, self.times = [], [], []
        self.lock = threading.Lock()
        self.most = self.now = 0


@contextmanager
def serving(answer):
    """Yields (base address, Talk)."""
    talk = Talk(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with talk.lock:
                number = len(talk.bodies)
                talk.bodies.append(body)
                talk.keys.append(self.headers.get("Authorization"))
                talk.times.append(time.monotonic())
                talk.now += 1
                talk.most = max(talk.most, talk.now)
            try:
                said = talk.answer(body, number)
            finally:
                with talk.lock:
                    talk.now -= 1
            status, raw = 200, said
            if isinstance(said, int):
                status, raw = said, json.dumps({"error": {"message": "key sk-SECRET is bad"}})
            elif isinstance(said, str):
                raw = json.dumps(
                    {
                        "id": "x", "object": "chat.completion", "created": 0, "model": "m",
                        "choices": [{
                            "index": 0, "finish_reason": "stop",
                            "message": {"role": "assistant", "content": said},
                        }],
                        "usage": {
                            "prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110
                        },
                    }
                )  # fmt: skip
            raw = raw if isinstance(raw, bytes) else raw.encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client has lost patience

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", talk
    finally:
        server.shutdown()
        server.server_close()
