"""The commands of Kafka's own tools that make the topics and grant what each role needs: for those who may not do it from here."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import chain

from monitor.log.kafka.acls import Role
from monitor.log.kafka.topics import TopicSpec


def commands(servers: Sequence[str], is_secured: bool, specs: Sequence[TopicSpec], roles: Sequence[Role]) -> Iterator[str]:
    """Lines for a shell. Principals are placeholders, `User:watch`."""
    to_cluster = ["--bootstrap-server", ",".join(servers), *(["--command-config", "admin.properties"] if is_secured else [])]
    if is_secured:
        yield "# admin.properties tells Kafka's tools how to prove who runs them: security.protocol, sasl.jaas.config, …"
    for spec in specs:
        copies = {} if spec.replication_factor is None else {"--replication-factor": str(spec.replication_factor)}
        options = {"--topic": spec.name, "--partitions": str(spec.partitions)} | copies
        config = [("--config", f"{key}={value}") for key, value in spec.config.items()]
        yield _line("kafka-topics.sh", *to_cluster, "--create", "--if-not-exists", *chain(*options.items(), *config))
    for role in roles:
        yield ""
        yield f"# {role.does}: put its principal for User:{role.name}"
        for grant in role.grants:
            operations = [("--operation", operation) for operation in grant.operations]
            pattern = ["--resource-pattern-type", "prefixed"] if grant.is_prefix else []
            to_role = ["--add", "--allow-principal", f"User:{role.name}", *chain(*operations)]
            yield _line("kafka-acls.sh", *to_cluster, *to_role, f"--{grant.resource}", grant.name, *pattern)


def _line(*words: str) -> str:
    return shlex.join(words)
