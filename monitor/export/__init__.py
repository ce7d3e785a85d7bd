"""What the world sees: Prometheus metrics, the JSON API and the status page, all of one tick at a time."""
