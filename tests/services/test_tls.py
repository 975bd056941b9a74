"""TLS to the three servers, by their addresses: trusted, expired, of another host, and with clients' certificates."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from servers.find import MINIO, RABBITMQ, REDIS, Found, find_own
from servers.process import LOOPBACK, Server, free_port
from servers.rabbit import RabbitServer
from servers.s3_server import ACCESS_KEY, SECRET_KEY, MinioServer

from warren.broker.errors import BrokerRefused, BrokerUnavailable
from warren.broker.topology import SUBMISSIONS
from warren.cli.connect import open_broker
from warren.cli.context import Addresses
from warren.cli.store_address import store_address
from warren.storage import ledger
from warren.storage.errors import StorageRefused, StorageUnavailable
from warren.storage.ledger import RedisLedger
from warren.storage.s3 import S3Store

pytestmark = pytest.mark.services

REFUSALS = (BrokerRefused, BrokerUnavailable, StorageRefused, StorageUnavailable)


class Authority:
    """A certificate authority of the tests' own, by openssl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"
        folder.mkdir()
        self._openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "30",
            "-subj", "/CN=warren tests", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def certificate(self, name: str, host: str, *, expired: bool = False) -> tuple[Path, Path]:
        """(certificate, key) for a host or address."""
        kind = "IP" if host[0].isdigit() else "DNS"
        (self.folder / f"{name}.ext").write_text(
            f"subjectAltName={kind}:{host}\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=CA:FALSE\n"
        )
        self._openssl(
            "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr",
            "-subj", f"/CN={name}",
        )  # fmt: skip
        times = ("-not_before", "20200101000000Z", "-not_after", "20200201000000Z") if expired else ("-days", "30")
        self._sign(name, times)
        for suffix in (".pem", "-key.pem"):
            (self.folder / f"{name}{suffix}").chmod(0o644)
        return self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"

    def _sign(self, name: str, times: Sequence[str]) -> None:
        """`openssl ca` knows start dates in all versions, `openssl x509` only in new ones."""
        (self.folder / "index.txt").write_text("")
        (self.folder / "ca.conf").write_text(
            "[ca]\ndefault_ca=one\n[one]\nnew_certs_dir=.\ndatabase=index.txt\nserial=serial\ndefault_md=sha256\n"
            "policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n"
        )
        (self.folder / "serial").write_text(f"{abs(hash(name)) % 10**6 + 16:08x}\n")
        dates = [word.replace("-not_before", "-startdate").replace("-not_after", "-enddate") for word in times]
        self._openssl(
            "ca", "-batch", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca-key.pem", "-in", f"{name}.csr",
            "-out", f"{name}.pem", "-extfile", f"{name}.ext", "-notext", *dates,
        )  # fmt: skip

    def _openssl(self, *words: str) -> None:
        done = subprocess.run(["openssl", *words], cwd=self.folder, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr.decode()


class TlsRabbit(RabbitServer):
    """RabbitMQ with a TLS listener beside the plain one; clients must show a certificate."""

    def __init__(self, found: Found, folder: Path, files: dict[str, Path]) -> None:
        super().__init__(found, folder)
        self.tls_port = free_port()
        self._files = files

    def _write_settings(self) -> None:
        super()._write_settings()
        with (self.folder / "rabbitmq.conf").open("a") as settings:
            settings.write(f"listeners.ssl.1 = {LOOPBACK}:{self.tls_port}\n")
            settings.write("".join(f"ssl_options.{name} = {path}\n" for name, path in self._files.items()))
            settings.write("ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n")


class TlsRedis(Server):
    """Redis that speaks TLS only, to clients with a certificate."""

    name = "redis"

    def __init__(self, found: Found, folder: Path, files: dict[str, Path]) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._program, self._files = found.value, files

    def command(self) -> Sequence[str]:
        names = {"cacertfile": "--tls-ca-cert-file", "certfile": "--tls-cert-file", "keyfile": "--tls-key-file"}
        files = [part for name, path in self._files.items() for part in (names[name], str(path))]
        place = ["--bind", LOOPBACK, "--port", "0", "--tls-port", str(self.port), "--dir", str(self.data)]
        return [self._program, *place, *files, "--tls-auth-clients", "yes", "--save", ""]

    def ready(self) -> bool:
        return self.log.exists() and "Ready to accept connections" in self.log.read_text()


class TlsMinio(MinioServer):
    """MinIO over https: it looks for its certificate in a folder."""

    def __init__(self, found: Found, folder: Path, files: dict[str, Path]) -> None:
        super().__init__(found, folder)
        certs = folder / "certs"
        certs.mkdir(parents=True)
        shutil.copy(files["certfile"], certs / "public.crt")
        shutil.copy(files["keyfile"], certs / "private.key")
        self._certs = certs

    @property
    def url(self) -> str:
        return f"https://{LOOPBACK}:{self.port}"

    def command(self) -> Sequence[str]:
        return [*super().command(), "--certs-dir", str(self._certs)]

    def ready(self) -> bool:
        return self.log.exists() and "API: https" in self.log.read_text()


Use = Callable[[Addresses], object]


def use_rabbit(addresses: Addresses) -> object:
    broker = open_broker(addresses, "tls")
    try:
        return broker.depth(SUBMISSIONS)
    finally:
        broker.close()


def use_redis(addresses: Addresses) -> object:
    return RedisLedger(ledger.connect(addresses.redis_with_tls)).now()


def use_store(addresses: Addresses) -> object:
    store = S3Store(store_address(addresses), retry_seconds=1)
    try:
        return store.make_bucket()
    finally:
        store.close()


USES: dict[str, Use] = {"rabbitmq": use_rabbit, "redis": use_redis, "minio": use_store}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.fail("no openssl: it makes the certificates of these tests")
    return Authority(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module", params=["good", "expired", "wrong-host"])
def shown(
    request: pytest.FixtureRequest, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """A kind of certificate, and the addresses of three servers that show it."""
    kind: str = request.param
    host = "elsewhere.example" if kind == "wrong-host" else LOOPBACK
    certificate, key = authority.certificate(kind, host, expired=kind == "expired")
    files = {"cacertfile": authority.ca, "certfile": certificate, "keyfile": key}
    folder = tmp_path_factory.mktemp(kind)
    found = {service: find_own(service) for service in (RABBITMQ, REDIS, MINIO)}
    if any(one is None or one.means != "program" or one.stands_in for one in found.values()):
        pytest.skip("TLS is tried on programs, and one of the servers is an image or a stand-in here")
    rabbit = TlsRabbit(found[RABBITMQ], folder / "rabbitmq", files)  # type: ignore[arg-type]
    redis = TlsRedis(found[REDIS], folder / "redis", files)  # type: ignore[arg-type]
    minio = TlsMinio(found[MINIO], folder / "minio", files)  # type: ignore[arg-type]
    for server in (rabbit, redis, minio):
        server.start()
    yield (
        kind,
        {
            "amqp": f"amqps://guest:guest@{LOOPBACK}:{rabbit.tls_port}/",
            "redis": f"rediss://{LOOPBACK}:{redis.port}/0",
            "s3": minio.url,
        },
    )
    rabbit.close()
    redis.kill()
    minio.kill()


def addresses_of(urls: dict[str, str], ca: Path | None, client: tuple[Path, Path] | None) -> Addresses:
    certificate, key = client or (None, None)
    return Addresses(urls["amqp"], urls["redis"], urls["s3"], "tls-test", ACCESS_KEY, SECRET_KEY, ca, certificate, key)


@pytest.mark.parametrize("server", USES)
def test_only_a_certificate_that_is_valid_for_the_host_is_talked_to(
    server: str, shown: tuple[str, dict[str, str]], authority: Authority
) -> None:
    kind, urls = shown
    addresses = addresses_of(urls, authority.ca, authority.certificate("client", "client.example"))
    if kind == "good":
        USES[server](addresses)
        return
    with pytest.raises(REFUSALS) as refusal:
        USES[server](addresses)
    said = str(refusal.value).lower()
    assert "certificate" in said
    assert "guest:guest" not in said
    assert SECRET_KEY not in said


@pytest.mark.parametrize("shown", ["good"], indirect=True)
@pytest.mark.parametrize("server", USES)
def test_an_authority_that_is_not_named_is_not_trusted(
    server: str, shown: tuple[str, dict[str, str]], authority: Authority
) -> None:
    with pytest.raises(REFUSALS, match=r"(?i)certificate"):
        USES[server](addresses_of(shown[1], None, None))


@pytest.mark.parametrize("shown", ["good"], indirect=True)
@pytest.mark.parametrize("server", ["rabbitmq", "redis"])
def test_a_server_that_asks_for_a_clients_certificate_takes_none_without(
    server: str, shown: tuple[str, dict[str, str]], authority: Authority
) -> None:
    with pytest.raises(REFUSALS):
        USES[server](addresses_of(shown[1], authority.ca, None))
