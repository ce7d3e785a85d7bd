"""The log on Apache Kafka: the only place that knows the client library, which is `kafka-python`.

Four topics with the same number of partitions: `predictions` and `labels`, which anyone produces to; `panes`, compacted, one state record
and the panes of each source partition; `dead-letters`. A commit is one transaction over `panes`, `dead-letters` and the group's offsets.
"""
