"""Every way of proving who one is works through our connection; what does not work is an error that says so soon, and shows no secret."""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread

import pytest

from monitor.errors import LogError
from monitor.log.kafka.connection import Connection
from monitor.log.kafka.security import Bearer, Password, SecretFile, SecretText, Security, Tls, TokenFile
from monitor.log.kafka.tokens import ClientCredentials
from monitor.logs import configure
from tests.kafka.security import MECHANISMS, MUTUAL_TLS, SCRAM, TLS, SecuredKafka

WRONG = "hunter2"
SOON_S = 10.0
"""Far below `PATIENCE_MS`: an error that waiting would not change is not waited for."""
PATIENCE_MS = 30_000
BY_PASSWORD = ("PLAIN", *SCRAM)

Secured = Callable[..., Connection]


@pytest.fixture
def secured(secured_kafka: SecuredKafka) -> Secured:
    """A connection to the listener of a mechanism. Whatever is not given is as it has to be."""

    def made(mechanism: str, sasl: Password | Bearer | None = None, *, timeout_ms: int = PATIENCE_MS, tls: Tls | None = None) -> Connection:
        security = secured_kafka.security
        certificate = (security.client.chain_file, security.client.key_file) if mechanism == MUTUAL_TLS else ()
        encryption = Tls(security.ca_file, *certificate) if tls is None else tls
        return Connection((secured_kafka.addresses[mechanism],), timeout_ms, Security(encryption, sasl))

    return made


def password(kafka: SecuredKafka, mechanism: str, secret: SecretText | SecretFile | None = None) -> Password:
    return Password(mechanism, kafka.security.username, secret or SecretText(kafka.security.password))


def proof(kafka: SecuredKafka, mechanism: str, folder: Path) -> Password | Bearer | None:
    """What the mechanism asks for, right."""
    if mechanism == "OAUTHBEARER":
        (folder / "token").write_text(kafka.security.token())
        return Bearer(TokenFile(SecretFile(folder / "token")))
    return password(kafka, mechanism) if mechanism in BY_PASSWORD else None


def refused(connection: Connection) -> str:
    began = time.monotonic()
    with pytest.raises(LogError) as error, closing(connection.admin()):
        pass
    assert time.monotonic() - began < SOON_S
    return str(error.value)


@contextmanager
def logged() -> Iterator[StringIO]:
    """What stderr would show at the level that tells most."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("kafka").level
    stream = StringIO()
    configure("debug", stream)
    try:
        yield stream
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        logging.getLogger("kafka").setLevel(before[2])
        logging.captureWarnings(False)


@pytest.mark.parametrize("mechanism", [TLS, MUTUAL_TLS, *MECHANISMS])
def test_all_clients_work_with_every_mechanism(secured: Secured, secured_kafka: SecuredKafka, mechanism: str, tmp_path: Path) -> None:
    connection = secured(mechanism, proof(secured_kafka, mechanism, tmp_path))
    topic = f"test-{uuid.uuid4().hex[:12]}"
    with closing(connection.admin()) as admin:
        admin.create_topics({topic: {"num_partitions": 1}}, wait_for_metadata=True)
        with closing(connection.producer()) as producer:
            producer.send(topic, b"event").get(timeout=30)
        with closing(connection.consumer(auto_offset_reset="earliest")) as consumer:
            consumer.subscribe([topic])
            assert next(consumer).value == b"event"
        admin.delete_topics([topic])


@pytest.mark.parametrize("mechanism", BY_PASSWORD)
def test_a_wrong_password_is_said_soon_and_shown_by_nothing(secured: Secured, secured_kafka: SecuredKafka, mechanism: str) -> None:
    connection = secured(mechanism, password(secured_kafka, mechanism, SecretText(WRONG)))
    with logged() as stream:
        said = refused(connection)
        logging.getLogger("monitor").warning("not connected: %s to %r", said, connection)
    assert "see whether the user, and the password or token under log.security.sasl, are what the brokers know" in said
    assert str(connection) in said
    assert "not connected" in stream.getvalue()
    assert WRONG not in said + stream.getvalue()


@pytest.mark.parametrize("mechanism", BY_PASSWORD)
def test_nothing_that_is_logged_shows_a_password_that_works(secured: Secured, secured_kafka: SecuredKafka, mechanism: str) -> None:
    with logged() as stream:
        connection = secured(mechanism, password(secured_kafka, mechanism))
        logging.getLogger("monitor").warning("connected to %r", connection)
        for client in (connection.admin(), connection.consumer(), connection.producer()):
            client.close()
    assert "connected to" in stream.getvalue()
    assert secured_kafka.security.password not in stream.getvalue()


def test_a_password_that_was_rotated_is_taken_up_by_the_next_connection(
    secured: Secured, secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text(WRONG)
    connection = secured("PLAIN", password(secured_kafka, "PLAIN", SecretFile(file)))
    refused(connection)
    file.write_text(f"{secured_kafka.security.password}\n")
    connection.admin().close()


def test_an_expired_token_is_refused_until_its_file_holds_a_fresh_one(
    secured: Secured, secured_kafka: SecuredKafka, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(expired := secured_kafka.security.token(valid_seconds=-60))
    connection = secured("OAUTHBEARER", Bearer(TokenFile(SecretFile(file))))
    said = refused(connection)
    assert "under log.security.sasl" in said
    assert expired not in said
    file.write_text(secured_kafka.security.token())
    connection.admin().close()


def test_tokens_of_an_identity_provider_are_taken(secured: Secured, secured_kafka: SecuredKafka) -> None:
    class Provider(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"access_token": secured_kafka.security.token(), "expires_in": 3_600}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        tokens = ClientCredentials(f"http://127.0.0.1:{server.server_port}/token", "monitor", SecretText(WRONG))
        secured("OAUTHBEARER", Bearer(tokens)).admin().close()
        server.shutdown()


def test_a_token_that_cannot_be_had_is_said_in_the_provider_s_words(secured: Secured) -> None:
    said = refused(secured("OAUTHBEARER", Bearer(ClientCredentials("http://127.0.0.1:1/token", "monitor", SecretText(WRONG)))))
    assert "http://127.0.0.1:1/token cannot be asked for a token" in said


def test_a_broker_of_an_authority_that_is_not_trusted_is_not_spoken_to(secured: Secured) -> None:
    assert "name its own as log.security.tls.ca_file" in refused(secured(TLS, tls=Tls()))


def test_without_its_certificate_a_client_is_told_what_is_missing(secured: Secured, secured_kafka: SecuredKafka) -> None:
    said = refused(secured(MUTUAL_TLS, tls=Tls(secured_kafka.security.ca_file)))
    assert "name one that it does as log.security.tls.cert_file and key_file" in said


def test_a_listener_that_wants_a_password_is_told_from_one_that_is_not_there(secured: Secured) -> None:
    assert "expects TLS or SASL (log.security)" in refused(secured("PLAIN", timeout_ms=500))
    unencrypted = replace(secured(TLS, timeout_ms=500), security=Security())
    assert "speaks TLS (then write `security: {tls: {}}` under log)" in refused(unencrypted)
    nowhere = replace(secured(TLS, timeout_ms=500), bootstrap_servers=("127.0.0.1:1",))
    assert "Kafka at 127.0.0.1:1 did not answer within 0.5 s: 111 ECONNREFUSED: nothing listens on that port" in refused(nowhere)
