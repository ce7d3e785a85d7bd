"""Every secured listener lets in who proves who it is, and nobody else."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tests.kafka.security import MECHANISMS, MUTUAL_TLS, TLS, Certificate, SecuredKafka

PATIENCE_SECONDS = 20.0
OPEN = "open"
Settings = Mapping[str, Any]
"""Of librdkafka, which says at once why it was refused; kafka-python tries until a timeout and says that."""
REFUSALS = {
    "PLAIN": "Invalid username or password",
    "SCRAM-SHA-256": "invalid credentials with SASL mechanism SCRAM-SHA-256",
    "SCRAM-SHA-512": "invalid credentials with SASL mechanism SCRAM-SHA-512",
    "OAUTHBEARER": "invalid_token",
    MUTUAL_TLS: "SSL alert number",  # 42, 46 or 116: a bad, an unknown, no certificate, as Java and librdkafka are made
}


def certified(certificate: Certificate) -> Settings:
    return {"ssl.certificate.location": str(certificate.chain_file), "ssl.key.location": str(certificate.key_file)}


def proof(kafka: SecuredKafka, mechanism: str, *, genuine: bool) -> Settings:
    """What a client shows: the user's own, or what anybody can make up."""
    security = kafka.security
    if mechanism == MUTUAL_TLS:
        return certified(security.client if genuine else security.stranger)
    if mechanism == "OAUTHBEARER":
        token = security.token() if genuine else security.token(valid_seconds=-60)
        return {"sasl.mechanism": mechanism, "oauth_cb": lambda _: (token, time.time() + 3600)}
    password = security.password if genuine else "guessed"
    return {"sasl.mechanism": mechanism, "sasl.username": security.username, "sasl.password": password}


def knock(kafka: SecuredKafka, mechanism: str, settings: Settings) -> str:
    """Asks the broker something: `OPEN`, or what the client says was wrong."""
    errors: list[KafkaError] = []
    address: Settings = {
        "bootstrap.servers": kafka.addresses[mechanism],
        "security.protocol": "SASL_SSL" if mechanism in MECHANISMS else "SSL",
        "ssl.ca.location": str(kafka.security.ca_file),
        "error_cb": errors.append,
        "log_level": 0,
    }
    client = AdminClient({**address, **settings})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not errors and time.monotonic() < deadline:
        client.poll(0.01)  # fetches the token, and reports errors
        with suppress(KafkaException):  # no answer yet, or never: then an error will be reported
            client.list_topics(timeout=0.2)
            return OPEN
    return "; ".join(error.str() for error in errors) or "silence"


@pytest.mark.parametrize("mechanism", REFUSALS)
def test_who_proves_who_it_is_comes_in(secured_kafka: SecuredKafka, mechanism: str) -> None:
    assert knock(secured_kafka, mechanism, proof(secured_kafka, mechanism, genuine=True)) == OPEN


@pytest.mark.parametrize(("mechanism", "reason"), REFUSALS.items())
def test_who_makes_it_up_stays_outside(secured_kafka: SecuredKafka, mechanism: str, reason: str) -> None:
    said = knock(secured_kafka, mechanism, proof(secured_kafka, mechanism, genuine=False))
    assert reason in said


def test_without_a_certificate_there_is_no_mutual_tls(secured_kafka: SecuredKafka) -> None:
    said = knock(secured_kafka, MUTUAL_TLS, {})
    assert REFUSALS[MUTUAL_TLS] in said


def test_tls_alone_asks_nobody_who_they_are(secured_kafka: SecuredKafka) -> None:
    assert knock(secured_kafka, TLS, {}) == OPEN


def test_a_broker_of_another_authority_is_not_believed(secured_kafka: SecuredKafka) -> None:
    stranger = {"ssl.ca.location": str(secured_kafka.security.stranger.chain_file)}
    said = knock(secured_kafka, TLS, stranger)
    assert "certificate verify failed" in said
