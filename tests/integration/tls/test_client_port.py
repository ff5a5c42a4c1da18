"""The port for clients with TLS: who gets in, who is told what, and what handshakes may cost."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cluster.certificates.port_certificates import PortCertificates, PortFiles
from cluster.server import tcp, tls_port
from cluster.server.access import Access
from cluster.server.quota import Quota
from cluster.server.session import Session
from cluster.server.tcp import BrokerServer
from taskq import AsyncClient, ConnectionFailed, InvalidRequest
from tests.integration.server.sockets import listening, until
from tests.integration.tls.files import LOCAL, Files
from tests.unit.server.memory_replica import MemoryReplica


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class Port:
    """A server with TLS over a replica in memory."""

    def __init__(self, server: BrokerServer, number: int) -> None:
        self.server = server
        self.number = number
        self.where = f"{LOCAL}:{number}"

    @property
    def guest_count(self) -> int:
        """Connections that shake hands, or say nothing."""
        listener = self.server._listener
        assert isinstance(listener, tls_port.TlsPort)
        return listener.guest_count

    def dropped(self, kind: str) -> int:
        return self.server.counters.dropped.get(kind, 0)

    async def submit(self, secs: float = 5, **tls: Any) -> None:
        """A submit and its acknowledgement."""
        async with AsyncClient(f"taskqs://{self.where}", timeout=secs, **tls) as client:
            await client.submit("q", b"x")


@asynccontextmanager
async def serving(context: Callable[[], ssl.SSLContext], **quota: Any) -> AsyncIterator[Port]:
    replica = MemoryReplica(asyncio.get_running_loop())
    server = BrokerServer(replica, Access(enabled=False), Quota(**quota))
    try:
        yield Port(server, await server.start(LOCAL, 0, context))
    finally:
        await server.stop(grace_secs=0.1)


def shown(files: Files, *hosts: str, ca: Path | None = None) -> PortCertificates:
    """What a port for clients shows."""
    cert, key = files.node("node1", *hosts)
    return PortCertificates(PortFiles("api", cert, key, ca, ca_key="client_ca_file"), dials=False)


def bare(cert: Path, key: Path) -> ssl.SSLContext:
    """A server that looks at nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def test_requests_and_large_frames(files: Files) -> None:
    certificates = shown(files)
    async with serving(lambda: certificates.server) as port:
        url = f"taskqs://{port.where}?ca_file={files.ca}"
        async with AsyncClient(url, timeout=5) as client:
            payload = os.urandom(900_000)
            handles = await asyncio.gather(*(client.submit("q", payload) for _ in range(20)))
            worker = client.worker(name="w")
            (task,) = await worker.claim(["q"], max_tasks=1, wait=1)
            assert (task.task_id, task.payload) == (handles[0].id.bytes, payload)
        async with AsyncClient(f"taskqs://{port.where}", ssl_context=files.context()) as client:
            await client.submit("q")


async def test_whom_a_client_believes(files: Files, tmp_path: Path) -> None:
    other = Files(tmp_path / "other")
    certificates = shown(files)
    async with serving(lambda: certificates.server) as port:
        for trusted in ({}, {"ca_file": other.ca}):
            with pytest.raises(
                ConnectionFailed, match="not signed by an authority that is trusted"
            ):
                await port.submit(**trusted)
        port.where = f"localhost:{port.number}"
        with pytest.raises(
            ConnectionFailed, match="not for 'localhost', the name that was dialled"
        ):
            await port.submit(ca_file=files.ca)
    expired = bare(*files.node("old", days=-1))
    async with serving(lambda: expired) as port:
        with pytest.raises(ConnectionFailed, match="certificate has expired"):
            await port.submit(ca_file=files.ca)


async def test_a_client_in_the_clear_is_told_so(files: Files) -> None:
    certificates = shown(files)
    with capture_logs() as lines:
        async with serving(lambda: certificates.server) as port:
            async with AsyncClient(f"taskq://{port.where}", timeout=5) as client:
                with pytest.raises(InvalidRequest, match="this port speaks TLS: use taskqs://"):
                    await client.submit("q", b"secret")
            assert (port.dropped(tls_port.PLAIN), len(port.server.sessions)) == (1, 0)
    (line,) = [line for line in lines if "spoke in the clear" in line["event"]]
    assert line["reason"] == "broker.port speaks TLS"


async def test_a_tls_port_of_another_program_is_told_by_its_alert() -> None:
    async def alert(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes.fromhex("15030100020246"))

    server = await asyncio.start_server(alert, LOCAL, 0)
    where = f"taskq://{LOCAL}:{server.sockets[0].getsockname()[1]}"
    async with AsyncClient(where, timeout=5) as client:
        with pytest.raises(ConnectionFailed, match="this port speaks TLS: use taskqs://"):
            await client.submit("q")
    server.close()


async def test_tls_to_a_port_in_the_clear(files: Files) -> None:
    with capture_logs() as lines:
        async with listening() as port:
            url = f"taskqs://{LOCAL}:{port.port}"
            async with AsyncClient(url, ca_file=files.ca, timeout=5) as client:
                with pytest.raises(ConnectionFailed, match="speaks no TLS: use taskq://"):
                    await client.submit("q")
    (line,) = [line for line in lines if "it speaks TLS" in line["event"]]
    assert "api.enable_tls is false" in line["why"]


async def test_a_client_has_to_show_a_certificate(files: Files, tmp_path: Path) -> None:
    other = Files(tmp_path / "other")
    certificates = shown(files, ca=files.ca)
    names = ("cert_file", "key_file")
    async with serving(lambda: certificates.server) as port:
        await port.submit(ca_file=files.ca, **dict(zip(names, files.client(), strict=True)))
        pairs = ({}, dict(zip(names, other.client(), strict=True)))
        # Said at the end of the time, in which a handshake has to fail: both at once, for long.
        calls = [port.submit(2.0, ca_file=files.ca, **pair) for pair in pairs]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, ConnectionFailed)
            assert "perhaps it wants a client certificate" in str(error)
        assert port.dropped(tls_port.TLS_FAILED) >= 2
        assert port.server.counters.accepted == 1, "a session began without a certificate"


async def test_who_dials_again_meets_new_files(files: Files) -> None:
    certificates = shown(files)
    async with serving(lambda: certificates.server) as port:
        url = f"taskqs://{port.where}"
        async with AsyncClient(url, ca_file=files.ca, timeout=5) as client:
            await client.submit("q")
            renewed = Files(files.folder / "renewed")
            files.write("node1", renewed.authority.issue_node("node1", [LOCAL], 30))
            certificates.reload()
            await client.submit("q")  # the connection that is there stays
            with pytest.raises(ConnectionFailed, match="not signed by an authority"):
                await port.submit(ca_file=files.ca)
            await port.submit(ca_file=renewed.ca)
            # The client's file changes, too, and is read at its next dial.
            files.ca.write_bytes(renewed.ca.read_bytes())
            for session in port.server.sessions.all():
                session.abort("test")
            await client.submit("q")


async def test_silent_and_slow_connections_keep_nobody_out(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp, "HANDSHAKE_COUNT_MAX", 8)
    monkeypatch.setattr(tcp, "HANDSHAKE_COUNT_MIN", 8)
    monkeypatch.setattr(tls_port, "CROWDED_SECS", 0.1)
    monkeypatch.setattr(tls_port, "SILENT_SECS", 0.05)
    certificates = shown(files)
    async with serving(lambda: certificates.server, hello_secs=1.0) as port:
        streams = [await asyncio.open_connection(LOCAL, port.number) for _ in range(20)]
        for _, writer in streams[::2]:
            writer.write(tls_port.TLS_HANDSHAKE)  # begins, and says no more
        await port.submit(ca_file=files.ca)
        assert port.dropped(tls_port.CROWDED) >= 12
        await until(lambda: port.guest_count == 0)
        assert port.dropped(tls_port.SLOW) + port.dropped(tls_port.CROWDED) == 20
        for reader, writer in streams:
            assert await reader.read() == b""
            writer.close()


async def test_handshakes_count_as_connections(files: Files) -> None:
    certificates = shown(files)
    async with serving(lambda: certificates.server, connection_count_max=1) as port:
        url = f"taskqs://{port.where}"
        async with AsyncClient(url, ca_file=files.ca, timeout=5) as client:
            await client.submit("q")
            assert port.server._guest_count_max() == tcp.HANDSHAKE_COUNT_MIN
            with pytest.raises(Exception, match="max_connections"):
                await port.submit(0.3, ca_file=files.ca)


async def test_strangers_are_read_in_small_pieces(files: Files) -> None:
    certificates = shown(files)
    async with serving(lambda: certificates.server) as port:
        sessions = port.server.sessions.all
        _, writer = await asyncio.open_connection(LOCAL, port.number, ssl=files.context())
        await until(lambda: len(sessions()) == 1)
        assert read_size(sessions()[0]) == tls_port.STRANGER_READ_SIZE
        writer.close()
        await until(lambda: not sessions())
        async with AsyncClient(f"taskqs://{port.where}", ca_file=files.ca) as client:
            await client.submit("q")
            assert read_size(sessions()[0]) == tls_port.KNOWN_READ_SIZE


def read_size(session: Session) -> int:
    """What is read from it at once at most; Linux tells twice that."""
    with socket.socket(fileno=os.dup(session.descriptor())) as stream:
        return stream.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


@pytest.mark.parametrize("first", [b"\x16", b"", b"\x00\x00\x00\x05", b"GET / HTTP/1.1\r\n\r\n"])
async def test_noise_before_and_after_the_first_byte(files: Files, first: bytes) -> None:
    certificates = shown(files)
    async with serving(lambda: certificates.server) as port:
        for _ in range(20):
            reader, writer = await asyncio.open_connection(LOCAL, port.number)
            writer.write(first + os.urandom(300))
            writer.write_eof()
            try:
                await asyncio.wait_for(reader.read(), 5)
            except ConnectionError:
                pass
            writer.close()
        await until(lambda: port.guest_count == 0)
        await port.submit(ca_file=files.ca)
