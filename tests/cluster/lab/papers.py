"""A small certificate authority, for an etcd that wants to know who asks."""

from __future__ import annotations

import ssl
from pathlib import Path

from . import host

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Papers:
    """The authority's own certificate, and those it issues, in one directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.dir = directory
        self.ca = directory / "ca.pem"
        host.command(
            "openssl", "req", "-x509", *KEY, "-days", "2", "-subj", "/CN=lab", "-keyout", directory / "ca.key", "-out", self.ca
        )

    def issue(self, name: str, address: str) -> tuple[Path, Path]:
        """A certificate and key for this name and address, good as a server's and as a client's."""
        request, key, extensions = (self.dir / f"{name}.{end}" for end in ("csr", "key", "ext"))
        certificate = self.dir / f"{name}.pem"
        extensions.write_text(
            f"subjectAltName=DNS:{name},IP:{address},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n",
            encoding="ascii",
        )
        host.command("openssl", "req", "-new", *KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        host.command(
            "openssl", "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.dir / "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certificate,
        )
        return certificate, key

    def context(self, name: str, address: str) -> ssl.SSLContext:
        """How a client with a certificate of this authority's speaks to its servers."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.load_cert_chain(*map(str, self.issue(name, address)))
        return context
