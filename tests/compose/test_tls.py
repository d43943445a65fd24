"""TLS, the second file: with a certificate that the test makes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import trustme

from stack.native.ports import free_port
from tests.compose.engine import Stack

NGINX_USER = 101


def test_tls_speaks_http_2_and_plain_http_leads_to_it(
    make_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    port = free_port()
    stack = make_stack(
        settings=_certificate(tmp_path)
        | {"HTTPS_PORT": str(port), "TLS_ORIGIN": f"https://localhost:{port}"},
        files=("stack/deploy/tls.yml",),
    )
    trusted = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))

    with httpx.Client(http2=True, verify=trusted, trust_env=False, timeout=60) as client:
        answer = client.get(f"https://localhost:{port}/api/dashboard")
        led = client.get(f"{stack.url}/api/dashboard?mode=parallel")

    assert answer.status_code == 200
    assert answer.http_version == "HTTP/2"
    assert "max-age" in answer.headers["Strict-Transport-Security"]
    assert led.status_code == 308
    assert led.headers["Location"] == f"https://localhost:{port}/api/dashboard?mode=parallel"


def test_a_key_that_nginx_cannot_read_is_one_clear_line(
    make_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    settings = _certificate(tmp_path)
    (tmp_path / "key.pem").chmod(0)
    stack = make_stack("db", settings=settings, files=("stack/deploy/tls.yml",))

    done = stack.compose("run", "--rm", "--no-deps", "nginx", check=False)

    assert done.returncode == 2
    assert "TLS_KEY is '/run/secrets/tls-key'" in done.stdout + done.stderr


def _certificate(folder: Path) -> dict[str, str]:
    """Make a certificate for localhost, whose key nginx can read; return its settings."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(key))
    key.chmod(0o444)
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    return {"TLS_CERTIFICATE_FILE": str(chain), "TLS_KEY_FILE": str(key)}
