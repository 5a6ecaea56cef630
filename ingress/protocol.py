"""One connection to a client: uvicorn's protocol, with a bound on all that a client can fill.

uvicorn bounds neither the number of headers nor their size, nor the time for them (its issue 157),
nor what surrounds the bytes of a body. Its refusals are plain text; here they are problems.
"""

import random
from asyncio import TimerHandle, Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ingress.http.idling import SEAT, IdleConnections, Seat, name_of_address
from ingress.http.limits import WireLimits
from ingress.http.problems import Problem
from ingress.refusals import document_of, head_too_large, too_many_requests

PIECE_BYTES = 64 * 1024  # fed to the parser at once


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with the bounds of `WireLimits`.

    Args:
        limits: the bounds.
        idle: the idle connections of the whole server.
    """

    def __init__(
        self,
        *args: Any,  # as uvicorn passes them
        limits: WireLimits,
        idle: "IdleConnections[BoundedProtocol]",
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._limits, self._idle = limits, idle
        self._seat = Seat("")
        self._is_in_head = True
        self._received = self._body = self._fields = 0
        self._verdict: Problem | None = None
        self._discarded: int | None = None  # bytes after a refusal; None: nothing was refused
        self._headers_due: TimerHandle | None = None
        self._sending_due: TimerHandle | None = None
        self._serving: RequestResponseCycle | None = None  # `cycle` is that of the last request

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn
        """Count the connection, and start the clock for the first request's headers."""
        super().connection_made(transport)
        self._seat = Seat(name_of_address(self.client[0] if self.client else ""))
        self._start_clock()
        if len(self.connections) > self._limits.connections:
            _let_go(self._idle.longest())  # if none idles, this one's request will be refused
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; the request under way learns of it, behind which others wait."""
        self._stop_clock()
        self._cancel_sending()
        self._idle.remove(self)
        if self._serving is not None:
            self._serving.disconnected = True
            self._serving.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first ones of a further request start the clock again."""
        if self.cycle is None or self.cycle.response_complete:
            self._start_clock()
        while data and self._discarded is None and not self.transport.is_closing():
            room = PIECE_BYTES
            if self._is_in_head:
                room = self._limits.head_bytes - self._received
            if room <= 0:
                self._refuse(head_too_large(f"more than {self._limits.head_bytes} bytes"))
                break
            self._feed(data[:room])
            data = data[room:]
        if self._discarded is not None:
            self._discard(len(data))

    def _feed(self, piece: bytes) -> None:
        self._received += len(piece)
        super().data_received(piece)
        if self._discarded is not None:
            return
        around = self._received - self._body - self._body * self._limits.framing_per_byte
        if not self._is_in_head and around > 2 * self._limits.head_bytes:
            self._refuse(head_too_large(f"{self._received} bytes around {self._body} of the body"))

    # What the parser found. An error that is raised here ends in `send_400_response`.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._fields = 0
        super().on_message_begin()
        self.scope[SEAT] = self._seat  # type: ignore[literal-required]  # an extension of ours

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            limit = self._limits.target_bytes
            raise self._judged(Problem("target_too_long", f"the limit is {limit} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are counted and dropped."""
        self._fields += 1
        if self._fields > self._limits.fields:
            raise self._judged(head_too_large(f"more than {self._limits.fields} fields"))
        if self._is_in_head:
            # Blanks behind a value belong to no value (RFC 9112, 5.1); the parser leaves them.
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        """Stop the clock: the headers are complete."""
        if len(self.pipeline) >= self._limits.pipelined:
            detail = f"more than {self._limits.pipelined} requests before their answers"
            raise self._judged(Problem("malformed_request", detail))
        self._stop_clock()
        self._idle.remove(self)
        if not (self.flow.write_paused or self.pipeline):
            self._cancel_sending()  # it was for the answer before
        is_probe = bytes(self.url.partition(b"?")[0]) in self._limits.probes
        room = self._limits.connections + self._limits.probe_room * is_probe
        is_crowded = len(self.tasks) >= room
        self.app = too_many_requests if is_crowded else self.config.loaded_app
        super().on_headers_complete()
        self._is_in_head = False  # only now: the target may be wrong, and `cycle` another request's

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; what follows is the head of the next one."""
        super().on_message_complete()
        self._is_in_head = True
        self._received = self._body = 0

    # What goes out

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._serving = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Stop the clock: uvicorn's keep-alive timer runs while the connection is idle."""
        super().on_response_complete()
        if not (self.cycle.response_complete or self.transport.is_closing()):
            return  # the next one of those that waited has begun
        self._stop_clock()
        self._expect_sending()
        self._rest()
        self._pause_after_refusal()

    def _pause_after_refusal(self) -> None:
        # Spread: a thousand that were refused together shall not come together again.
        pause_s = self._seat.pause_s * random.uniform(1, 2)  # noqa: S311  # nothing to guess
        pause_s, self._seat.pause_s = min(pause_s, self._limits.pause_s), 0.0
        if pause_s and not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(pause_s, self._resume_after_refusal)

    def _resume_after_refusal(self) -> None:
        if self._discarded is None and not self.transport.is_closing():
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Start the clock for the client to take what is there."""
        super().pause_writing()
        self._expect_sending()

    def resume_writing(self) -> None:
        """Stop that clock, or start it again for the rest of the last answer."""
        super().resume_writing()
        self._cancel_sending()
        if self.cycle is None or self.cycle.response_complete:
            self._expect_sending()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP or beyond a bound, with a problem."""
        self._refuse(self._verdict or Problem("malformed_request", msg))

    def _judged(self, problem: Problem) -> Problem:
        self._verdict = problem
        return problem

    def _refuse(self, problem: Problem) -> None:
        """Say what is wrong, unless another answer is on its way, and close soon."""
        self._discarded = 0
        self._stop_clock()
        self._unset_keepalive_if_required()
        may_answer = self._may_answer()
        if may_answer:
            self.transport.write(document_of(problem))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if may_answer and self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(self._limits.linger_s, self.transport.abort)
        else:  # TLS has no half-closed connections
            self.transport.close()
            self._expect_sending()

    def _may_answer(self) -> bool:
        if self.cycle is None or self.cycle.response_complete:
            return True
        # Of the request at hand, not of one before it, whose answer the client would take it for.
        return not (self._is_in_head or self.pipeline or self.cycle.response_started)

    def _discard(self, size: int) -> None:
        self._discarded = (self._discarded or 0) + size
        if self._discarded > self._limits.linger_bytes:
            self.flow.pause_reading()

    # Clocks

    def _start_clock(self) -> None:
        if self._headers_due is None and self._discarded is None:
            self._headers_due = self.loop.call_later(
                self._limits.header_timeout_s, self._give_up_headers
            )

    def _stop_clock(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _give_up_headers(self) -> None:
        self._headers_due = None
        if not self.transport.is_closing():
            self.transport.close()
            self._expect_sending()

    def _expect_sending(self, within_s: float | None = None) -> None:
        if self._sending_due is None and self.transport.get_write_buffer_size():
            within_s = within_s or self._limits.send_timeout_s
            self._sending_due = self.loop.call_later(within_s, self._give_up_sending)

    def _cancel_sending(self) -> None:
        if self._sending_due is not None:
            self._sending_due.cancel()
            self._sending_due = None

    def _give_up_sending(self) -> None:
        self._sending_due = None
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def _rest(self) -> None:
        """Count the connection among the idle ones of its holder."""
        if self.transport.is_closing():
            return
        holder = self._seat.holder
        self._idle.add(self, holder)
        if self._seat.is_strangers and self._idle.count(holder) > self._limits.idle_per_address:
            _let_go(self._idle.longest(holder))

    def let_go(self) -> None:
        """Close the connection, on which no request is under way."""
        self._idle.remove(self)
        self.connections.discard(self)
        self.transport.close()
        self._cancel_sending()
        self._expect_sending(self._limits.linger_s)


def _let_go(connection: BoundedProtocol | None) -> None:
    if connection is not None:
        connection.let_go()
