"""TLS, with a certificate of the test's own."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from stack.native import nginx
from stack.native.nginx import TLS
from stack.native.ports import HOST, free_port
from tests.integration.echo import echo_site
from tests.integration.helpers import access_log, new_client, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stack.native.servers import Site

pytestmark = pytest.mark.usefixtures("_programs")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> TLS:
    folder = tmp_path_factory.mktemp("certificate")
    issued = authority.issue_cert(HOST)
    tls = TLS(free_port(), folder / "certificate.pem", folder / "key.pem")
    issued.private_key_pem.write_to_path(tls.key)
    for part in issued.cert_chain_pems:
        part.write_to_path(tls.certificate, append=True)
    return tls


@pytest.fixture(scope="module")
def site(tls: TLS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with echo_site(tmp_path_factory.mktemp("tls"), tls=tls) as running:
        yield running


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    """What a client believes, and can do."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def secure(tls: TLS, context: ssl.SSLContext) -> Iterator[httpx.Client]:
    """A client that speaks HTTP/2 where it may."""
    url = f"https://{HOST}:{tls.port}"
    with httpx.Client(base_url=url, verify=context, http2=True, trust_env=False) as client:
        yield client


def shake_hands(tls: TLS, context: ssl.SSLContext) -> tuple[str | None, str]:
    """The version of TLS, and the cipher, that a client and nginx agree on."""
    with (
        socket.create_connection((HOST, tls.port), 30) as connection,
        context.wrap_socket(connection, server_hostname=HOST) as secured,
    ):
        return secured.version(), (secured.cipher() or ("",))[0]


def test_the_configuration_is_valid(tmp_path: Path, tls: TLS) -> None:
    command = nginx.prepare(tmp_path, port=8080, uwsgi_socket=tmp_path / "uwsgi.sock", tls=tls)
    said = nginx.check(command)
    assert "syntax is ok" in said
    assert "warn" not in said


def test_a_request_over_http_2_is_one_over_tls_for_the_application(
    site: Site, tls: TLS, secure: httpx.Client
) -> None:
    answer = secure.get("/echo", headers={"X-Request-ID": "over-http-2"})
    assert answer.http_version == "HTTP/2"
    assert answer.status_code == 200
    assert answer.json()["scheme"] == "https"
    assert answer.json()["page"] == f"https://{HOST}:{tls.port}/"
    assert answer.headers.get_list("x-request-id") == ["over-http-2"]
    wait_until(lambda: access_log(site.nginx.access_log), what="nginx's log")
    (line,) = (one for one in access_log(site.nginx.access_log) if one["id"] == "over-http-2")
    assert (line["protocol"], line["tls"]) == ("HTTP/2.0", "TLSv1.3")


def test_browsers_are_told_to_stay_with_tls_and_only_there(
    site: Site, secure: httpx.Client
) -> None:
    for path in "/echo", "/static/style.css", "/static/none":
        headers = secure.get(path).headers
        assert headers.get_list("strict-transport-security") == ["max-age=31536000"]
        assert headers.get_list("x-content-type-options") == ["nosniff"]
    with new_client(site.nginx.url) as plain:
        assert "strict-transport-security" not in plain.get("/echo").headers


def test_plain_http_leads_to_tls(site: Site, tls: TLS) -> None:
    with new_client(site.nginx.url) as client:
        for method in "GET", "POST":
            answer = client.request(method, "/echo?a=b%20c", headers={"Host": "evil.example"})
            assert answer.status_code == 308
            assert answer.headers["location"] == f"https://{HOST}:{tls.port}/echo?a=b%20c"
        assert client.get("/healthz").status_code == 200
        assert client.get("/static/style.css").status_code == 308
        assert client.get("/" + "x" * 8_000).status_code == 414
        assert client.get("/error/html").status_code == 404


def test_plain_http_where_tls_is_spoken_leads_there(tls: TLS, site: Site) -> None:
    with new_client(site.nginx.url) as client:
        answer = client.get(f"http://{HOST}:{tls.port}/echo")
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{HOST}:{tls.port}/echo"


@pytest.mark.usefixtures("site")
def test_newer_clients_get_tls_1_3_and_older_ones_1_2(tls: TLS, context: ssl.SSLContext) -> None:
    assert shake_hands(tls, context)[0] == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    version, cipher = shake_hands(tls, context)
    assert version == "TLSv1.2"
    assert cipher.startswith("ECDHE-")


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
def test_old_ciphers_are_refused(tls: TLS, context: ssl.SSLContext, cipher: str) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError):
        shake_hands(tls, context)


@pytest.mark.usefixtures("site")
def test_a_certificate_of_nobody_known_is_refused_by_the_client(tls: TLS) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tls, ssl.create_default_context())
