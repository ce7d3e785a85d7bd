"""Every way in which a client may have to prove who it is, on one broker: what the broker is told, and what clients need.

Certificates come from an authority made on the spot; nothing here is a secret, and nothing outlives the test run.
"""

import base64
import json
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

TLS: Final = "TLS"
MUTUAL_TLS: Final = "MUTUAL_TLS"
SASL: Final = "SASL"
SCRAM: Final = ("SCRAM-SHA-256", "SCRAM-SHA-512")
MECHANISMS: Final = ("PLAIN", *SCRAM, "OAUTHBEARER")
"""All on the listener SASL."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, as PEM files and as one text in PEM."""

    chain_file: Path
    key_file: Path

    @classmethod
    def issued(cls, authority: trustme.CA, name: str, folder: Path) -> "Certificate":
        """For a host name or address, or for a client of that name."""
        issued = authority.issue_cert(name, common_name=name)
        certificate = cls(folder / f"{name}.crt", folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(certificate.chain_file)
        key = load_pem_private_key(issued.private_key_pem.bytes(), password=None)
        certificate.key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # Kafka reads no other
        return certificate


class Security:
    """`properties` for brokers; files, names and passwords for their clients."""

    username: Final = "monitor"
    password: Final = "monitor's own"
    protocols: Final[Mapping[str, str]] = {TLS: "SSL", MUTUAL_TLS: "SSL", SASL: "SASL_SSL"}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file: Final = folder / "ca.crt"
        self._authority.cert_pem.write_to_path(self.ca_file)
        self.client: Final = Certificate.issued(self._authority, "monitor", folder)
        self.stranger: Final = Certificate.issued(trustme.CA(), "stranger", folder)

    def token(self, *, valid_seconds: float = 3600) -> str:
        """An unsecured JSON Web Token for `username`; one that is valid for less than no time has expired."""
        now = time.time()
        claims = {"sub": self.username, "iat": min(now, now + valid_seconds), "exp": now + valid_seconds}
        header, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({"alg": "none"}, claims))
        return f"{header}.{body}."

    def properties(self, host: str) -> Mapping[str, str]:
        """What a broker needs whose clients know it by that name."""
        broker = Certificate.issued(self._authority, host, self._folder)
        modules = {
            "plain": f'plain.PlainLoginModule required user_{self.username}="{self.password}"',
            "oauthbearer": 'oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker"',
        } | {mechanism.lower(): "scram.ScramLoginModule required" for mechanism in SCRAM}
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": broker.chain_file.read_text(),
            "ssl.keystore.key": broker.key_file.read_text(),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.certificates": self.ca_file.read_text(),
            "listener.name.mutual_tls.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": ",".join(MECHANISMS),
        } | {
            f"listener.name.sasl.{mechanism}.sasl.jaas.config": f"org.apache.kafka.common.security.{module};"
            for mechanism, module in modules.items()
        }

    def enrol(self, bootstrap: str) -> None:
        """Tells the cluster the passwords that are part of its metadata, not of a broker's properties."""
        with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
            for mechanism in SCRAM:
                refused = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(self.username, mechanism, self.password)])
                assert not any(refused.values()), refused


@dataclass(frozen=True, slots=True)
class SecuredKafka:
    """Where to connect, by mechanism (`MECHANISMS`, `TLS`, `MUTUAL_TLS`), and as whom."""

    addresses: Mapping[str, str]
    security: Security
