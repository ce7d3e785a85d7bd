"""How a client of Kafka proves who it is, and how its connection is encrypted.

Files are read whenever a connection is made or renewed, so that certificates, passwords and tokens may be rotated under a running process.
No representation of anything here shows a secret.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kafka.net.sasl import register_sasl_mechanism
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.net.sasl.plain import SaslMechanismPlain
from kafka.net.sasl.scram import SaslMechanismScram

from monitor.errors import LogError


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A secret that a file holds, without the end of its line."""

    path: Path

    def read(self) -> str:
        """Raises `LogError`, without anything of what the file holds."""
        try:
            secret = self.path.read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise LogError(f"{self.path}: the secret cannot be read: {error.strerror}. Correct the path or its permissions") from error
        except UnicodeDecodeError:
            raise LogError(f"{self.path}: not UTF-8. Expected one line of text: the secret itself") from None
        if not secret:
            raise LogError(f"{self.path}: the file is empty. Expected one line: the secret itself")
        return secret


@dataclass(frozen=True, slots=True)
class SecretText:
    """A secret that came from the environment."""

    text: str = field(repr=False)

    def read(self) -> str:
        return self.text


Secret = SecretFile | SecretText


@dataclass(frozen=True, slots=True)
class Tls:
    """Encryption, with brokers that prove who they are; with a certificate, so does this client.

    `ca_file` None: the authorities that the system trusts. `key_file` None: the key is in `cert_file` too.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: SecretFile | None = None
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """What the client makes of the files for each of its connections. Raises `LogError`, which names the file that cannot be used."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.check_hostname
        try:
            if self.ca_file is None:
                context.load_default_certs()
            else:
                context.load_verify_locations(self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise LogError(
                f"{self.ca_file}: not usable as the brokers' authorities: {_said(error)}. Expected certificates in PEM"
            ) from error
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, self._passphrase)
            except (OSError, ssl.SSLError) as error:
                files = " and ".join(str(file) for file in (self.cert_file, self.key_file) if file is not None)
                raise LogError(
                    f"{files}: not usable as this client's certificate and key: {_said(error)}. Expected PEM, the key to the certificate"
                ) from error
        return context

    def settings(self) -> dict[str, object]:
        """Under the client library's names."""
        return {
            "ssl_check_hostname": self.check_hostname,
            "ssl_cafile": self.ca_file,
            "ssl_certfile": self.cert_file,
            "ssl_keyfile": self.key_file,
            "ssl_password": self._passphrase,
        }

    def _passphrase(self) -> str:
        """Asked for where the key is encrypted; without it, OpenSSL would ask on the terminal."""
        if self.key_password is None:
            raise LogError(
                f"{self.key_file or self.cert_file}: the key is encrypted; name the file that holds its password as key_password_file"
            )
        return self.key_password.read()


@dataclass(frozen=True, slots=True)
class Password:
    """SASL by user and password. `mechanism`: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`."""

    mechanism: str
    username: str
    secret: Secret

    def settings(self) -> dict[str, object]:
        """Under the client library's names."""
        register_sasl_mechanism(self.mechanism, _Plain if self.mechanism == "PLAIN" else _Scram, overwrite=True)
        return {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.username, "sasl_plain_password": self.secret}


class Tokens(Protocol):
    """Where bearer tokens come from: a file, or an identity provider."""

    def token(self) -> str:
        """One that is valid now. Raises `LogError`."""
        ...


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A token that something else keeps fresh."""

    file: SecretFile

    def token(self) -> str:
        return self.file.read().strip()


@dataclass(frozen=True, slots=True)
class Bearer:
    """SASL by bearer token."""

    tokens: Tokens

    def settings(self) -> dict[str, object]:
        """Under the client library's names."""
        return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": _TokenProvider(self.tokens)}


@dataclass(frozen=True, slots=True)
class Security:
    """Both are optional; the default is what Kafka calls PLAINTEXT."""

    tls: Tls | None = None
    sasl: Password | Bearer | None = None

    @property
    def protocol(self) -> str:
        """Kafka's name of the combination."""
        return ("SASL_" if self.sasl else "") + ("SSL" if self.tls else "PLAINTEXT")

    def settings(self) -> dict[str, object]:
        """Under the client library's names. Raises `LogError` where a file of `tls` cannot be used."""
        settings: dict[str, object] = {"security_protocol": self.protocol}
        if self.tls is not None:
            self.tls.context()
            settings |= self.tls.settings()
        if self.sasl is not None:
            settings |= self.sasl.settings()
        return settings


class _Plain(SaslMechanismPlain):  # type: ignore[misc]  # the client ships no types
    """Reads the password for each exchange; the library's own is given it once and for all."""

    def __init__(self, **config: Any) -> None:  # noqa: ANN401  # the client's
        super().__init__(**_with_password(config))


class _Scram(SaslMechanismScram):  # type: ignore[misc]  # the client ships no types
    """The same."""

    def __init__(self, **config: Any) -> None:  # noqa: ANN401  # the client's
        super().__init__(**_with_password(config))


def _with_password(config: dict[str, Any]) -> dict[str, Any]:
    secret = config["sasl_plain_password"]
    return config | {"sasl_plain_password": secret.read()} if isinstance(secret, Secret) else config


class _TokenProvider(AbstractTokenProvider):  # type: ignore[misc]  # the client ships no types
    """Tokens as the client asks for them: in its own thread, at each exchange."""

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self._tokens = tokens

    def token(self) -> str:
        return self._tokens.token()


def _said(error: OSError) -> str:
    """What OpenSSL or the system says, without its numbers and source lines. An `ssl.SSLError` is an OSError too."""
    reason = getattr(error, "reason", None)
    return str(reason).replace("_", " ").lower() if isinstance(error, ssl.SSLError) and reason else error.strerror or str(error)
