"""Events between files and the log: what `model-monitor log import`, `export` and `tail` do.

`arrivals`, `jsonl_import` and `parquet_import` make messages of files, `events` and `exporting` make rows of records. All know the
log by its protocol.
"""
