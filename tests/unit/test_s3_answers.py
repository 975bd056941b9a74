"""What each answer of an S3 store means to the caller, shown by a server that answers as it is told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from warren.storage.errors import ObjectDamaged, ObjectMissing, StorageRefused, StorageUnavailable
from warren.storage.s3 import S3Address, S3Store

SECRET = "a-secret-that-nobody-may-see"
CERTIFICATES = Path(__file__).parent / "tls"


@dataclass
class Answer:
    """One answer; `length` lies about the body's where it is given."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


def error(status: int, code: str, message: str = "") -> Answer:
    return Answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode())


STORED = Answer(200, headers={"ETag": '"d41d8cd98f00b204e9800998ecf8427e"'})
MISSING = Answer(404)


class ScriptedStore:
    """Answers with what the script says next; its last answer is given for ever."""

    def __init__(self) -> None:
        self.script: list[Answer] = [STORED]
        self.seen: list[tuple[str, str, dict[str, str]]] = []  # (method, path, headers)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                outer.answer(self)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = answer

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def methods(self) -> list[str]:
        return [method for method, _, _ in self.seen]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        request.rfile.read(int(headers.get("content-length", "0")))
        self.seen.append((request.command, request.path, headers))
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        request.send_response(answer.status)
        for name, value in answer.headers.items():
            request.send_header(name, value)
        length = len(answer.body) if answer.length is None else answer.length
        request.send_header("Content-Length", str(length))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(answer.body)
        request.close_connection = answer.length is not None

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def peer() -> Iterator[ScriptedStore]:
    server = ScriptedStore()
    yield server
    server.close()


def store(url: str, *, retry_seconds: float = 5.0) -> S3Store:
    return S3Store(S3Address(url, "warren", SECRET, "bucket"), retry_seconds=retry_seconds)


@pytest.mark.parametrize(
    "answer",
    [error(503, "SlowDown"), error(500, "InternalError"), error(429, "TooManyRequests"), Answer(502, b"<html>")],
)
def test_a_busy_store_is_asked_again(peer: ScriptedStore, answer: Answer) -> None:
    peer.script = [answer, MISSING, answer, MISSING, STORED]
    assert store(peer.url).create("jobs/a", b"1")
    assert peer.methods == ["PUT", "HEAD", "PUT", "HEAD", "PUT"]


def test_a_store_that_stays_busy_is_given_up_within_the_bound(peer: ScriptedStore) -> None:
    peer.script = [error(503, "SlowDown")]
    with pytest.raises(StorageUnavailable, match="SlowDown"):
        store(peer.url, retry_seconds=0.2).read("jobs/a")
    assert len(peer.seen) > 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (error(403, "InvalidAccessKeyId"), "knows no access key 'warren'"),
        (error(403, "SignatureDoesNotMatch"), "secret key is not that of 'warren'"),
        (error(403, "AccessDenied"), "may not PUT jobs/a. Give it the right"),
        (error(403, "RequestTimeTooSkewed"), "Set the clock"),
        (error(404, "NoSuchBucket"), "no bucket 'bucket'. `warren setup` makes it"),
        (error(400, "AuthorizationHeaderMalformed"), "region is not 'us-east-1'"),
        (error(501, "NotImplemented"), "no store that knows create-once"),
        (Answer(403), "may not PUT jobs/a, or its secret key is wrong"),
        (Answer(400, b"Client sent an HTTP request to an HTTPS server.\n"), "Write https://"),
        (Answer(307, headers={"Location": "http://elsewhere"}), "sends elsewhere"),
        (Answer(200, b"<html>a console</html>"), "does not answer as an object store does"),
    ],
)
def test_a_refusal_names_the_mend_and_is_not_asked_again(peer: ScriptedStore, answer: Answer, words: str) -> None:
    peer.script = [answer]
    with pytest.raises(StorageRefused) as raised:
        store(peer.url).create("jobs/a", b"1")
    assert words in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert peer.methods == ["PUT"]


@pytest.mark.parametrize("answer", [error(507, "XMinioStorageFull"), Answer(507), error(400, "QuotaExceeded")])
def test_a_full_store_is_named_at_once(peer: ScriptedStore, answer: Answer) -> None:
    peer.script = [answer]
    with pytest.raises(StorageUnavailable, match="is full"):
        store(peer.url).create("jobs/a", b"1")
    assert peer.methods == ["PUT"]


def test_nobody_at_the_address_is_named_within_the_bound(peer: ScriptedStore) -> None:
    peer.server.server_close()
    with pytest.raises(StorageUnavailable, match=r"does not answer \(.*refused.*\)\. Is it running"):
        store(peer.url, retry_seconds=0.1).read("jobs/a")


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.make_bucket(),
        lambda store: list(store.list("jobs/")),
        lambda store: list(store.folders("jobs/")),
    ],
)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (error(403, "InvalidAccessKeyId"), StorageRefused),
        (error(503, "SlowDown"), StorageUnavailable),
        (Answer(502, b"<html>"), StorageUnavailable),
        (error(507, "XMinioStorageFull"), StorageUnavailable),
    ],
)
def test_calls_on_the_bucket_raise_our_errors(
    peer: ScriptedStore, call: Callable[[S3Store], object], answer: Answer, expected: type[Exception]
) -> None:
    peer.script = [answer]
    with pytest.raises(expected) as raised:
        call(store(peer.url, retry_seconds=0.2))
    assert SECRET not in str(raised.value)


def test_a_listing_that_is_none_is_refused(peer: ScriptedStore) -> None:
    peer.script = [Answer(200, b"<html>a console")]
    with pytest.raises(StorageRefused, match="does not answer as an S3 store does"):
        list(store(peer.url).list("jobs/"))


def test_a_body_over_the_limit_is_not_read(peer: ScriptedStore) -> None:
    peer.script = [Answer(200, b"x" * 10, length=1 << 39)]
    with pytest.raises(ObjectDamaged, match="over the limit"):
        store(peer.url).read("jobs/a")
    assert peer.methods == ["GET"]


@pytest.mark.parametrize("length", ["", "-1", "1e3", "9" * 30])
def test_a_size_that_is_none_is_refused(peer: ScriptedStore, length: str) -> None:
    peer.script = [Answer(206, b"x", {"Content-Range": f"bytes 0-{length}/9"})]
    with pytest.raises(StorageRefused):
        store(peer.url).read_range("jobs/a", 0, 5)


def test_a_store_that_ignores_ranges_is_refused(peer: ScriptedStore) -> None:
    peer.script = [Answer(200, b"0123456789")]
    with pytest.raises(StorageRefused, match="another range"):
        store(peer.url).read_range("jobs/a", 4, 3)


def test_a_download_that_broke_off_goes_on_from_there(peer: ScriptedStore) -> None:
    first = Answer(200, b"01234", {"ETag": '"one"'}, length=10)
    peer.script = [first, Answer(206, b"56789", {"ETag": '"one"', "Content-Range": "bytes 5-9/10"})]
    assert store(peer.url).read("jobs/a") == b"0123456789"
    assert peer.seen[1][2]["range"] == "bytes=5-"
    assert peer.seen[1][2]["if-match"] == '"one"'


def test_an_object_replaced_while_it_is_read_is_read_again_whole(peer: ScriptedStore) -> None:
    first = Answer(200, b"old", {"ETag": '"old"'}, length=10)
    peer.script = [first, error(412, "PreconditionFailed"), Answer(200, b"newer", {"ETag": '"new"'})]
    assert store(peer.url).read("jobs/a") == b"newer"
    assert "if-match" not in peer.seen[2][2]


def test_an_object_deleted_while_it_is_read_is_missing(peer: ScriptedStore) -> None:
    peer.script = [Answer(200, b"old", {"ETag": '"old"'}, length=10), error(404, "NoSuchKey")]
    with pytest.raises(ObjectMissing):
        store(peer.url).read("jobs/a")


def test_a_huge_error_page_is_not_read_whole(peer: ScriptedStore) -> None:
    peer.script = [Answer(403, b"<Error><Code>AccessDenied</Code>" + b"x" * (8 << 20))]
    with pytest.raises(StorageRefused, match="may not GET"):
        store(peer.url).read("jobs/a")


def test_metadata_is_signed_and_the_payload_is_not(peer: ScriptedStore) -> None:
    assert store(peer.url).create("jobs/a", b"1", content_type="application/json", metadata={"round": "7"})
    headers = peer.seen[0][2]
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert headers["if-none-match"] == "*"
    assert headers["content-type"] == "application/json"
    assert "x-amz-meta-round" in headers["authorization"]
    assert SECRET not in str(headers)


def test_https_to_a_store_that_speaks_http_says_so(peer: ScriptedStore) -> None:
    with pytest.raises(StorageRefused, match="does not speak https"):
        store(peer.url.replace("http:", "https:")).read("jobs/a")


def test_a_ca_file_makes_a_private_certificate_trusted(peer: ScriptedStore) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "loopback.pem", CERTIFICATES / "loopback-key.pem")
    peer.server.socket = context.wrap_socket(peer.server.socket, server_side=True)
    url = peer.url.replace("http:", "https:")
    peer.script = [Answer(200, b"secret")]
    trusting = S3Store(S3Address(url, "warren", SECRET, "bucket", ca_file=CERTIFICATES / "loopback.pem"))
    assert trusting.read("jobs/a") == b"secret"
    with pytest.raises(StorageRefused, match="certificate is not trusted"):
        store(url).read("jobs/a")


def test_a_ca_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(StorageRefused, match=name):
            S3Store(S3Address("https://127.0.0.1:9", "a", SECRET, "bucket", ca_file=tmp_path / name))


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9000",
        "ftp://127.0.0.1",
        "http://",
        f"http://warren:{SECRET}@host:9000",
        "http://host:9000/path",
        "http://host:port",
        "http://[::1",
        f"http://host?key={SECRET}",
    ],
)
def test_an_odd_address_is_refused_without_showing_its_secrets(url: str) -> None:
    with pytest.raises(StorageRefused) as raised:
        S3Address(url, "warren", SECRET, "bucket")
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("bucket", ["", "ab", "UPPER", "a/b", "-ab", "x" * 64])
def test_an_odd_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(StorageRefused, match="bucket"):
        S3Address("http://host:9000", "warren", SECRET, bucket)


def test_an_address_is_shown_without_its_secret() -> None:
    assert SECRET not in repr(S3Address("http://host:9000", "warren", SECRET, "bucket"))
