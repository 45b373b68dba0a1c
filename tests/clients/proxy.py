"""A man in the middle between a client and a server, who can speak TLS and cut the line."""

import asyncio
import ssl
import subprocess
import threading


class Proxy:
    """Passes bytes on to `address`, until stop(). Its own address is `address`.

    certificate: (certificate, key), PEM files, to speak TLS to the client.
    cut_after: the first connection is cut when the client has sent so many bytes: the server gets them,
        and what it answers to the last of them is lost. `cuts` counts it.
    """

    def __init__(self, address, certificate=None, cut_after=None):
        self._host, self._port = address.rsplit(":", 1)
        self._cut_after = cut_after
        self._context = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
            self._context.set_alpn_protocols(["h2"])
        self.cuts = 0
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        listening = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(listening,))
        self._thread.start()
        listening.wait()

    def stop(self):
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self, listening):
        try:
            self._loop.run_until_complete(self._serve(listening))
        finally:
            self._loop.close()

    async def _serve(self, listening):
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
        self.address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        listening.set()
        await self._stopped.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, client_reader, client_writer):
        self.connections += 1
        limit = self._cut_after if self.connections == 1 else None
        server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        cut = asyncio.Event()

        async def upwards():
            sent = 0
            while data := await client_reader.read(65536):
                sent += len(data)
                if limit is not None and sent > limit:
                    cut.set()
                server_writer.write(data)
                await server_writer.drain()

        async def downwards():
            while data := await server_reader.read(65536):
                if cut.is_set():
                    await asyncio.sleep(0.2)  # the server does all that it was asked for
                    self.cuts += 1
                    return
                client_writer.write(data)
                await client_writer.drain()

        pumps = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for writer in (client_writer, server_writer):
                writer.transport.abort()


def make_certificate(folder, name="server"):
    """(certificate, key) of 127.0.0.1, which is its own authority. PEM files in `folder`."""
    certificate, key = f"{folder}/{name}.pem", f"{folder}/{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "1", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
         "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key
