"""A language model's server for tests: speaks chat completions over real HTTP, judges honestly by a
word, and misbehaves as told.

A behaviour is a function of the call that writes a response. `server.faults` are taken first, one a
call; then `server.behave` answers every call.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from precompute.explainers.openai_prompts import EXPLAIN

EXPLANATION = "The head is active when the text speaks of dancing before the token."
WORD = "danc"
"""The server judges that a head is active where the text holds this."""


@dataclass
class Call:
    """One request, and the way to answer it."""

    handler: BaseHTTPRequestHandler
    body: dict[str, Any]
    authorization: str

    @property
    def is_explanation(self) -> bool:
        return self.body["messages"][0]["content"].startswith(EXPLAIN)

    @property
    def question(self) -> str:
        return self.body["messages"][-1]["content"]

    def send(
        self,
        status: int,
        raw: bytes,
        kind: str = "application/json",
        headers: dict[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        self.handler.send_response(status)
        self.handler.send_header("Content-Type", kind)
        self.handler.send_header("Content-Length", str(len(raw) if length is None else length))
        for name, value in (headers or {}).items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.write(raw)

    def say(self, content: Any, finish: str = "stop", usage: Any = ..., **message: Any) -> None:
        """A well-formed chat completion."""
        counted = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": self.body["model"],
            "choices": [{
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": content, **message},
            }],
            "usage": counted if usage is ... else usage,
        }  # fmt: skip
        self.send(200, json.dumps(body).encode())


Behaviour = Callable[[Call], None]


def honest(call: Call) -> None:
    """What a good endpoint says: JSON where a schema came with the call, plain words otherwise."""
    is_structured = "response_format" in call.body
    if call.is_explanation:
        call.say(json.dumps({"explanation": EXPLANATION}) if is_structured else EXPLANATION)
    else:
        active = WORD in call.question
        call.say(json.dumps({"active": active}) if is_structured else "yes" if active else "no")


def inventive(call: Call) -> None:
    """Another explanation for every question, and a verdict for every prompt that nobody could guess."""
    mark = zlib.crc32(call.question.encode())
    if call.is_explanation:
        call.say(json.dumps({"explanation": f"{EXPLANATION} Number {mark}."}))
    else:
        call.say(json.dumps({"active": judged_active(call.question)}))


def judged_active(question: str) -> bool:
    return zlib.crc32(question.encode()) % 2 == 1


def says(content: Any, finish: str = "stop", **message: Any) -> Behaviour:
    return lambda call: call.say(content, finish, **message)


def status(number: int, headers: dict[str, str] | None = None, **error: Any) -> Behaviour:
    """An error as OpenAI words it."""
    body = {"error": {"message": "no", "type": "t", "param": None, "code": None, **error}}
    return lambda call: call.send(number, json.dumps(body).encode(), headers=headers)


def raw(body: bytes, kind: str = "application/json", code: int = 200) -> Behaviour:
    return lambda call: call.send(code, body, kind)


QUOTA = status(429, code="insufficient_quota", message="You exceeded your current quota")


def rejects(*names: str, says: str = "Unsupported parameter: '{}'", code: int = 400) -> Behaviour:
    """An endpoint that does not accept some parameters, one complaint a call."""

    def behave(call: Call) -> None:
        for name in names:
            if name in call.body:
                return status(code, message=says.format(name))(call)
        honest(call)

    return behave


def hangs(call: Call) -> None:
    """Nothing, until the client has gone."""
    call.handler.connection.settimeout(5)
    try:
        call.handler.connection.recv(1)
    except OSError:
        return


def cuts(call: Call) -> None:
    """Half of a reply."""
    call.send(200, b'{"choices": [{"mess', length=4000)
    call.handler.wfile.flush()
    call.handler.connection.shutdown(socket.SHUT_RDWR)


def drips(call: Call) -> None:
    """A byte now and then, so that no single wait is ever long."""
    try:
        call.send(200, b"", length=10_000)
        for _ in range(500):
            call.handler.wfile.write(b" ")
            call.handler.wfile.flush()
            time.sleep(0.02)
    except OSError:
        return


def echoes_key(call: Call) -> None:
    status(400, message=f"bad request with Authorization: {call.authorization}")(call)


@dataclass
class LlmServer:
    url: str = ""
    behave: Behaviour = honest
    faults: deque[Behaviour] = field(default_factory=deque)
    key: str | None = None
    """The only key that is good; None takes any."""
    models: set[str] = field(default_factory=lambda: {"tiny"})
    calls: list[Call] = field(default_factory=list)
    n_open: int = 0
    most_open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def n_calls(self) -> int:
        return len(self.calls)

    def answer(self, call: Call) -> None:
        with self.lock:
            self.calls.append(call)
            self.n_open += 1
            self.most_open = max(self.most_open, self.n_open)
            behave = self.faults.popleft() if self.faults else self.behave
        try:
            if self.key is not None and call.authorization != f"Bearer {self.key}":
                return status(401, code="invalid_api_key", message="Incorrect API key")(call)
            if call.body["model"] not in self.models:
                return status(404, code="model_not_found", message="The model does not exist")(call)
            behave(call)
        finally:
            with self.lock:
                self.n_open -= 1


def _handler(server: LlmServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a reply goes out in two parts: 40 ms saved on each

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(length))
            if self.path.split("?")[0] != "/v1/chat/completions":
                self.send_error(404)
                return
            server.answer(Call(self, body, self.headers.get("Authorization", "")))

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is part of the tests."""


@contextmanager
def serving() -> Iterator[LlmServer]:
    """A server on a free port of this machine, gone afterwards."""
    server = LlmServer()
    with _Quiet(("127.0.0.1", 0), _handler(server)) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
