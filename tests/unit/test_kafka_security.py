"""Secrets and certificates: read when they are needed, told apart when they cannot be used, and shown by nothing."""

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    NotLeaderForPartitionError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
)
from kafka.net.sasl import get_sasl_mechanism

from monitor.errors import LogError
from monitor.log.kafka.connection import Connection, explained
from monitor.log.kafka.refusals import is_hopeless, reason_and_remedy
from monitor.log.kafka.security import Bearer, Password, SecretFile, SecretText, Security, Tls, TokenFile

SECRET = "hunter2"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, client.pem, its key, the same encrypted, and the key of another one."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    client, other = authority.issue_cert("client"), authority.issue_cert("other")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "client.key")
    other.private_key_pem.write_to_path(folder / "other.key")
    key = load_pem_private_key(client.private_key_pem.bytes(), password=None)
    encryption = BestAvailableEncryption(SECRET.encode())
    (folder / "encrypted.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    (folder / "password").write_text(f"{SECRET}\n")
    return folder


def test_a_secret_in_a_file_is_a_line() -> None:
    with pytest.raises(LogError, match=r"/nowhere: the secret cannot be read: No such file or directory"):
        SecretFile(Path("/nowhere")).read()


@pytest.mark.parametrize(("content", "said"), [(b"", "is empty"), (b"\n", "is empty"), (b"\xff", "not UTF-8")])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(LogError, match=said):
        SecretFile(tmp_path / "secret").read()


def test_blanks_belong_to_a_password_and_not_to_a_token(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" a b \r\n")
    assert SecretFile(tmp_path / "secret").read() == " a b "
    assert TokenFile(SecretFile(tmp_path / "secret")).token() == "a b"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_password_is_read_for_each_exchange(tmp_path: Path, mechanism: str) -> None:
    (tmp_path / "secret").write_text("old")
    settings = Password(mechanism, "monitor", SecretFile(tmp_path / "secret")).settings()
    (tmp_path / "secret").write_text("new")
    exchange = get_sasl_mechanism(mechanism)(**settings, security_protocol="SASL_SSL")
    password = exchange.password if mechanism == "PLAIN" else exchange._scram_client.password.decode()
    assert password == "new"


def test_a_token_is_read_for_each_exchange(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("old")
    settings = Bearer(TokenFile(SecretFile(tmp_path / "token"))).settings()
    exchange = get_sasl_mechanism("OAUTHBEARER")(**settings)
    (tmp_path / "token").write_text("new")
    assert b"Bearer new" in exchange.auth_bytes()


def test_nothing_that_a_client_is_given_shows_a_secret() -> None:
    connection = Connection(("one:9092",), security=Security(Tls(), Password("PLAIN", "monitor", SecretText(SECRET))))
    assert SECRET not in repr(connection) + str(connection) + repr(connection.security.settings())


@pytest.mark.parametrize(
    ("security", "protocol"),
    [
        (Security(), "PLAINTEXT"),
        (Security(Tls()), "SSL"),
        (Security(sasl=Password("PLAIN", "u", SecretText("p"))), "SASL_PLAINTEXT"),
        (Security(Tls(), Password("PLAIN", "u", SecretText("p"))), "SASL_SSL"),
    ],
)
def test_protocols_have_kafka_s_names(security: Security, protocol: str) -> None:
    assert security.settings()["security_protocol"] == protocol


def test_certificates_are_understood(certificates: Path) -> None:
    Tls(certificates / "ca.pem", certificates / "client.pem", certificates / "client.key").context()
    password = SecretFile(certificates / "password")
    Tls(certificates / "ca.pem", certificates / "client.pem", certificates / "encrypted.key", password).context()


def test_a_certificate_that_cannot_be_used_is_named(certificates: Path) -> None:
    ca, client, key = certificates / "ca.pem", certificates / "client.pem", certificates / "client.key"
    for tls, said in [
        (Tls(certificates / "nowhere"), "nowhere: not usable as the brokers' authorities: No such file"),
        (Tls(key), "client.key: not usable as the brokers' authorities: no certificate"),
        (Tls(ca, client, certificates / "other.key"), "other.key: not usable as this client's certificate and key: key values mismatch"),
        (Tls(ca, certificates / "nowhere", key), "nowhere and .*: not usable as this client's certificate and key: No such file"),
        (Tls(ca, client, certificates / "encrypted.key"), "encrypted.key: the key is encrypted; name .* as key_password_file"),
        (Tls(ca, client, certificates / "encrypted.key", SecretFile(ca)), "not usable as this client's certificate and key"),
    ]:
        with pytest.raises(LogError, match=said):
            Security(tls).settings()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TopicAuthorizationFailedError("t"), "grant it what its role needs there"),
        (GroupAuthorizationFailedError("g"), "grant it Read on the group"),
        (TransactionalIdAuthorizationFailedError(), "grant it Write and Describe on the ids"),
        (SaslAuthenticationFailedError("SaslAuthenticationFailedError: Invalid username or password"), "under log.security.sasl"),
        (
            KafkaConnectionError("Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed (_ssl.c:1)"),
            "name its own as log.security.tls.ca_file",
        ),
        (
            KafkaConnectionError("… certificate verify failed: Hostname mismatch, certificate is not valid for 'x'. (_ssl.c:1)"),
            "the broker's certificate is for another name",
        ),
        (KafkaConnectionError("[SSL: X] sslv3 alert bad certificate (_ssl.c:1)"), "does not accept this client's certificate"),
        (KafkaConnectionError("Handshake failed: [SSL: WRONG_VERSION_NUMBER] wrong version number"), "does not speak TLS"),
        (KafkaConnectionError("socket disconnected"), "expects TLS or SASL"),
        (KafkaConnectionError("111 ECONNREFUSED"), "nothing listens"),
    ],
)
def test_a_refusal_is_told_with_what_to_do(error: Exception, said: str) -> None:
    told = reason_and_remedy(error)
    assert said in told
    assert not told.startswith("[Error")
    assert "_ssl.c" not in told


def test_what_waiting_would_not_change_is_told_apart() -> None:
    assert is_hopeless(SaslAuthenticationFailedError())
    assert is_hopeless(LogError("no such file"))
    assert is_hopeless(KafkaConnectionError("certificate verify failed"))
    assert not is_hopeless(KafkaConnectionError("111 ECONNREFUSED"))
    assert not is_hopeless(NotLeaderForPartitionError())


def test_an_explained_error_keeps_its_cause() -> None:
    cause = GroupAuthorizationFailedError("g")
    with pytest.raises(LogError, match=r"^joining failed: g: this client may not use the consumer group") as refused, explained("joining"):
        raise cause
    assert refused.value.__cause__ is cause
