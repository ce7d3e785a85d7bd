"""KServe's payload logger as a source of predictions: what it logs of another server's requests and answers, over HTTP or from Kafka.

`events` reads CloudEvents, `halves` what KServe and Seldon mean by them, `pairing` brings a request and its answer together, `intake` does
all of that and counts, `door` takes them over HTTP, `topic` brings those of a Kafka topic to the log. What the bytes mean is read in
`monitor.serving.exchanges`.
"""
