"""How a Kafka cluster is spoken to: TLS, and who we say we are.

Certificates, passwords and tokens are named by the files that hold them, which are read whenever a connection is made. A password or a
client's secret may come from the environment instead, and never from the configuration file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from monitor.strict_yaml.quantities import Lenient, Text, lower_case
from monitor.strict_yaml.section import Complaint, Disagreement, Key, Section

BY_PASSWORD: Final = ("plain", "scram-sha-256", "scram-sha-512")
Mechanism = Literal["plain", "scram-sha-256", "scram-sha-512", "oauthbearer"]

ENVIRONMENT_ONLY: Final[tuple[Key, ...]] = (("log", "security", "sasl", "password"), ("log", "security", "sasl", "client_secret"))
"""Keys whose values the file must not hold; each has a `_file` beside it."""

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.username or parts.password:
        raise ValueError("the address has a user or password in it; write client_id and client_secret_file instead")
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)):
        raise ValueError("expected an address such as https://login.example.com/oauth2/token: what is sent there is a secret")
    return text


FilePath = Annotated[Path, Lenient]
TokenAddress = Annotated[Text, AfterValidator(_address)]


class TlsSettings(Section):
    """An encrypted connection to brokers whose certificates are checked. Everything may be left out: `tls: {}`."""

    ca_file: FilePath | None = None
    """PEM of the authorities that the brokers' certificates come from; None: those of the system."""
    cert_file: FilePath | None = None
    """PEM of this client's certificate and what leads to its authority, where the brokers ask for one."""
    key_file: FilePath | None = None
    """PEM of its private key; None: it is in `cert_file` too."""
    key_password_file: FilePath | None = None
    check_hostname: bool = True
    """Whether a broker's certificate has to name the host that was asked for."""

    @model_validator(mode="after")
    def _keys_have_their_certificate(self) -> Self:
        Disagreement.check(
            ((key,), "is of no use without cert_file; name the certificate too")
            for key in ("key_file", "key_password_file")
            if getattr(self, key) is not None and self.cert_file is None
        )
        return self


class SaslSettings(Section):
    """Who this client is, and how it proves that."""

    mechanism: Annotated[Mechanism, BeforeValidator(lower_case)] = Field(examples=["scram-sha-512"])
    username: Text | None = None
    password_file: FilePath | None = None
    password: SecretStr | None = None
    """From the environment only."""
    token_file: FilePath | None = None
    """A bearer token that something else keeps fresh, such as a projected service account token."""
    token_url: TokenAddress | None = None
    """Where a token is asked for with the client's credentials (RFC 6749, section 4.4)."""
    token_ca_file: FilePath | None = None
    """PEM of the authorities of `token_url`; None: those of the system."""
    client_id: Text | None = None
    client_secret_file: FilePath | None = None
    client_secret: SecretStr | None = None
    """From the environment only."""
    scope: Text | None = None

    @model_validator(mode="after")
    def _keys_fit_the_mechanism(self) -> Self:
        Disagreement.check(self._token_complaints() if self.mechanism == "oauthbearer" else self._password_complaints())
        return self

    def _password_complaints(self) -> Iterator[Complaint]:
        for key in ("token_file", "token_url", "token_ca_file", "client_id", "client_secret_file", "client_secret", "scope"):
            if getattr(self, key) is not None:
                yield (key,), f"{self.mechanism} goes by a user and a password; leave it out, or use oauthbearer"
        if self.username is None:
            yield ("username",), "missing; write for example `username: model-monitor`"
        yield from self._one_secret("password", needed=True)

    def _token_complaints(self) -> Iterator[Complaint]:
        for key in ("username", "password_file", "password"):
            if getattr(self, key) is not None:
                yield (key,), "oauthbearer goes by a token; leave it out"
        if self.token_file is not None and self.token_url is not None:
            yield ("token_url",), "the token comes from a file or from an address; leave one out"
        if self.token_file is None and self.token_url is None:
            yield ("token_file",), "missing; name the file that holds the token, or a token_url with client_id and client_secret_file"
        if self.token_url is not None and self.client_id is None:
            yield ("client_id",), "missing; write for example `client_id: model-monitor`"
        yield from self._one_secret("client_secret", needed=self.token_url is not None)
        for key in ("client_id", "client_secret_file", "client_secret", "token_ca_file", "scope"):
            if self.token_url is None and getattr(self, key) is not None:
                yield (key,), "is only for a token_url; name that, or leave it out"

    def _one_secret(self, name: str, *, needed: bool) -> Iterator[Complaint]:
        given, file = getattr(self, name), getattr(self, f"{name}_file")
        if needed and given is None and file is None:
            variable = f"MODEL_MONITOR_LOG__SECURITY__SASL__{name.upper()}"
            yield (f"{name}_file",), f"missing; name the file that holds it, or set {variable}"
        if given is not None and file is not None:
            yield (f"{name}_file",), f"{name} is set too, from the environment; leave one out"


class SecuritySettings(Section):
    """Left out: neither encrypted nor authenticated."""

    tls: TlsSettings | None = Field(default=None, examples=["{ca_file: ca.pem}"])
    sasl: SaslSettings | None = Field(default=None, examples=["{mechanism: scram-sha-512, username: monitor, password_file: password}"])
    unencrypted: bool = False
    """Allows `sasl` without `tls`, on a network that is trusted."""

    @model_validator(mode="after")
    def _secrets_are_encrypted(self) -> Self:
        if self.sasl is not None and self.tls is None and not self.unencrypted:
            why = "without it whoever listens on the network learns what sasl sends"
            raise Disagreement([(("tls",), f"missing; {why}: write `tls: {{}}`, or `unencrypted: true` where the network is trusted")])
        if self.tls is not None and self.unencrypted:
            raise Disagreement([(("unencrypted",), "contradicts tls; leave one out")])
        return self

    @property
    def spoken(self) -> str:
        """`TLS, scram-sha-512 as monitor`; never a secret."""
        encryption = "unencrypted" if self.tls is None else "TLS" if self.tls.cert_file is None else "TLS with a certificate"
        if self.sasl is None:
            return encryption
        return f"{encryption}, {self.sasl.mechanism} as {self.sasl.username or self.sasl.client_id or 'its token says'}"

    def relative_to(self, folder: Path) -> Self:
        return self.model_copy(
            update={name: _paths_from(folder, section) for name in ("tls", "sasl") if (section := getattr(self, name)) is not None}
        )


def _paths_from(folder: Path, section: Section) -> Section:
    """The section with every relative path in it taken from `folder`."""
    return section.model_copy(update={name: folder / value for name, value in section if isinstance(value, Path)})
