"""The socket below a WebSocket: plain TCP, or TLS that the server itself has put on top of it.

Writing never blocks and never switches greenlets; reading and waiting hold up only their caller.
The rules of TLS, which are OpenSSL's: two threads may not be in one connection at once; a record
that the kernel did not take must be offered again, the same bytes, before anything else; bytes that
are decrypted already make no descriptor readable; `SSLSocket.shutdown` ends the encryption and not
the connection, so only the native handle shuts down while anything may still be written.
"""

from __future__ import annotations

import fcntl
import select
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ... import concurrency

_RECORD_BYTES = 16 * 1024  # no TLS record holds more


class TcpStream:
    """`recv` is for the one reader and returns b"" at the end; the rest may be called from anywhere.

    `send(data, flags)` returns how many bytes were taken; BlockingIOError: none now, other OSError: broken.
    """

    __slots__ = ("_native", "recv", "send")

    def __init__(self, sock: socket.socket) -> None:
        self._native = concurrency.native_socket(sock)
        self.send: Callable[[bytes | memoryview, int], int] = self._native.send
        self.recv: Callable[[int], bytes] = sock.recv

    def wait_writable(self, seconds: float) -> bool:
        """Wait until the kernel takes bytes or the connection is over; False when neither came in time."""
        return bool(self._poll(select.POLLOUT, seconds))

    def _poll(self, event: int, seconds: float | None = None) -> Any:
        poll = select.poll()
        poll.register(self._native.fileno(), event)
        return poll.poll(None if seconds is None else 1000 * seconds)

    def unacknowledged(self) -> int:
        """Bytes that wait in the kernel here: a peer that reads makes them fewer."""
        answer = fcntl.ioctl(self._native.fileno(), termios.TIOCOUTQ, bytes(4))
        return int(struct.unpack("i", answer)[0])

    def set_option(self, level: int, option: int, value: int | bytes) -> None:
        with suppress(OSError):
            self._native.setsockopt(level, option, value)

    def shut_down(self, how: int) -> None:
        """End one direction of the TCP connection, or both; wakes whoever waits."""
        with suppress(OSError):
            self._native.shutdown(how)

    def release(self) -> None:
        """Leave the socket to the server, which closes it; what the server still writes reaches nobody."""
        self.shut_down(socket.SHUT_RDWR)
        self._native.detach()


class TlsStream(TcpStream):
    """TLS by the server. Until `release` the socket does not block; the lock keeps reader and writers apart."""

    __slots__ = ("_lock", "_reading_first", "_timeout", "_tls", "_unsent")

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._tls = sock
        self._lock = concurrency.native_lock()
        self._unsent = b""  # a record that is encrypted and waits for the kernel
        self._reading_first = False  # a write waits for something that the reader will take in
        self._timeout = sock.gettimeout()
        sock.settimeout(0.0)
        self.send, self.recv = self._send, self._recv

    def wait_writable(self, seconds: float) -> bool:
        if self._reading_first:
            time.sleep(0.01)
            return True
        return super().wait_writable(seconds)

    def _send(self, data: bytes | memoryview, _flags: int) -> int:
        """Of a record that must wait all bytes but the last are told as taken: the caller then goes on right there."""
        taken = 0
        with self._lock:
            if self._unsent:
                self._write(self._unsent)
                self._unsent, taken = b"", 1
            while taken < len(data):
                record = bytes(data[taken : taken + _RECORD_BYTES])
                try:
                    self._write(record)
                except BlockingIOError:
                    self._unsent = record
                    return taken + len(record) - 1
                taken += len(record)
        return taken

    def _write(self, record: bytes) -> None:
        self._reading_first = False
        try:
            self._tls.write(record)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError) as wanted:
            self._reading_first = isinstance(wanted, ssl.SSLWantReadError)
            raise BlockingIOError from None
        except ValueError:  # the server has taken the TLS layer away
            raise BrokenPipeError from None

    def _recv(self, size: int) -> bytes:
        while True:
            try:
                with self._lock:
                    data: bytes = self._tls.read(size)
                    return data
            except ssl.SSLWantReadError:
                event = select.POLLIN
            except ssl.SSLWantWriteError:
                event = select.POLLOUT
            except ValueError:
                return b""
            self._poll(event)

    def release(self) -> None:
        self.shut_down(socket.SHUT_RDWR)
        with self._lock, suppress(OSError):
            self._tls.shutdown(socket.SHUT_RDWR)  # the server's last words then fail as on any lost connection
        with suppress(OSError):
            self._tls.settimeout(self._timeout)
        super().release()


def stream_of(sock: socket.socket) -> TcpStream:
    """The stream of an accepted socket, of the standard library or of gevent."""
    return TlsStream(sock) if hasattr(sock, "cipher") else TcpStream(sock)
