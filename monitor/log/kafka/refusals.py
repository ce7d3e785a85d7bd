"""What the client's errors mean, and what to do about them."""

import re
from typing import Final

from kafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    InvalidReceiveError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from monitor.errors import LogError

ACLS: Final = "`model-monitor topics create --dry-run` prints the ACLs that each role needs"

REMEDIES: Final[dict[type[KafkaError], str]] = {
    TopicAuthorizationFailedError: f"this client may not do that with the topic: grant it what its role needs there ({ACLS})",
    GroupAuthorizationFailedError: f"this client may not use the consumer group: grant it Read on the group ({ACLS})",
    TransactionalIdAuthorizationFailedError: (
        f"this client may not use the transactional id: grant it Write and Describe on the ids that begin with the group's name ({ACLS})"
    ),
    ClusterAuthorizationFailedError: f"this client may not do that in the cluster: to make topics takes Create on each of them ({ACLS})",
    SaslAuthenticationFailedError: "see whether the user, and the password or token under log.security.sasl, are what the brokers know",
    UnsupportedSaslMechanismError: "set log.security.sasl.mechanism to one that this listener of the brokers offers",
    UnknownTopicOrPartitionError: "`model-monitor topics check` says what is missing, and `model-monitor topics create` makes it",
    InvalidReceiveError: "what answers there speaks TLS (then write `security: {tls: {}}` under log), or is no Kafka",
    MessageSizeTooLargeError: "raise max.message.bytes of the topic: `model-monitor topics check` says to what",
    KafkaTimeoutError: "see whether the brokers are up and reachable from here",
}
"""For everybody who reads the message."""

HOPELESS: Final = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
"""To try these again changes nothing."""

_BROKEN_CONNECTIONS: Final = (
    (
        r"certificate verify failed: (.*mismatch.*?|.*not valid for.*?)(?: \(_ssl|$)",
        "the broker's certificate is for another name: connect by one that it has, or set log.security.tls.check_hostname: false",
    ),
    (
        r"certificate verify failed",
        "the broker's certificate does not come from an authority that is trusted here: name its own as log.security.tls.ca_file",
    ),
    (
        r"alert (bad certificate|certificate unknown|certificate required|unknown ca|certificate expired|handshake failure)",
        "the broker does not accept this client's certificate: name one that it does as log.security.tls.cert_file and key_file",
    ),
    (
        r"Handshake failed: .*(EOF|WRONG_VERSION|record layer)",
        "that port does not speak TLS: name one that does, or leave out log.security.tls",
    ),
    (r"socket disconnected", "the broker hung up without a word, as one does that expects TLS or SASL (log.security)"),
    (r"refused", "nothing listens on that port"),
    (r"not known|resolution|nodename", "the name cannot be resolved"),
)
"""The client tells all of these apart in the text alone; the first that matches holds."""
_HOPELESS_TEXT: Final = re.compile(r"certificate verify failed|alert (bad certificate|certificate|unknown ca)", re.IGNORECASE)


_CLUTTER: Final = re.compile(r"^(\[Error \d+\] )?(\w+Error(: |$))+|\.? \(_ssl\.c:\d+\)")
"""What the client and OpenSSL put around their words."""


def is_hopeless(error: Exception) -> bool:
    """True where trying again changes nothing before somebody changes the configuration, or the brokers'."""
    return isinstance(error, (*HOPELESS, LogError)) or (
        isinstance(error, KafkaConnectionError) and _HOPELESS_TEXT.search(str(error)) is not None
    )


def reason_and_remedy(error: Exception) -> str:
    """One sentence or two, with a remedy where one is known."""
    if isinstance(error, KafkaConnectionError):
        remedy = next((text for pattern, text in _BROKEN_CONNECTIONS if re.search(pattern, str(error), re.IGNORECASE)), None)
    else:
        remedy = next((text for kind, text in REMEDIES.items() if isinstance(error, kind)), None)
    return str(error) if remedy is None else f"{_CLUTTER.sub('', str(error)) or type(error).__name__}: {remedy}"
