"""A line to a server on this machine that can be cut and mended, with TLS where it is asked for."""

import asyncio
import base64
import hashlib
import ssl
import subprocess
import threading
from pathlib import Path
from types import TracebackType

CHUNK = 65_536


def self_signed(folder: Path) -> tuple[Path, Path, str]:
    """Return a new certificate for this machine, its key, and the mark by which Chromium is told to trust it.

    Needs openssl. The mark is for `--ignore-certificate-errors-spki-list`: with errors just ignored there
    would be no service worker.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=phone.test", "-addext", "subjectAltName=DNS:phone.test,DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert), "-days", "30"]
    subprocess.run([*make, *names, *files], check=True, capture_output=True)
    public = subprocess.run(
        ["openssl", "x509", "-in", str(cert), "-noout", "-pubkey"], check=True, capture_output=True
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=public, check=True, capture_output=True
    ).stdout
    return cert, key, base64.b64encode(hashlib.sha256(der).digest()).decode()


class Relay:
    """Passes bytes on to a port of this machine, in a thread of its own. Use it in a `with`."""

    def __init__(self, to_port: int, *, certificate: tuple[Path, Path] | None = None) -> None:
        """certificate  with its key: whoever connects speaks TLS. The server behind hears plain HTTP."""
        self._to = to_port
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self.port = 0

    def __enter__(self) -> "Relay":
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls), self._loop
        ).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def cut(self) -> None:
        """End what is open; whoever connects from now on is turned away."""
        self._is_cut = True
        self._loop.call_soon_threadsafe(self._abort)

    def mend(self) -> None:
        """Let connections through again."""
        self._is_cut = False

    def _abort(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            if not self._is_cut:
                back, forth = await asyncio.open_connection("127.0.0.1", self._to)
                self._open.add(forth)
                await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))
                self._open.discard(forth)
        except OSError:
            pass  # the server is away, or one end has gone
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
