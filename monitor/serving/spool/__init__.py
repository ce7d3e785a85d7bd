"""The spool: where events wait on disk while the log is away, first in, first out, across restarts and `kill -9`.

    <path>/lock                     held while a new file is admitted, so that all processes together keep to one size
    <path>/<slot>/lock              held by the process whose folder it is, as long as it lives
    <path>/<slot>/<stream>/<n>.seg  records one after the other, each with its length and checksums; removed once sent
    <path>/<slot>/<stream>/sent     up to where the oldest segment has been sent

*Promises.* A record is durable when `sync` has returned, and is sent at least once: after a crash what was under way is sent again (one
portion; after a power failure at most a segment). A torn end is cut off at the next start, a damaged record is passed over, counted, and
named in the log with its file and offset; those behind it are not lost. Whatever the disk does is a `LogError`, and may be tried again.

*Why not SQLite*, which the embedded log is built on: as a queue (WAL, synchronous=FULL, the same machine and minute) it wrote every byte
twice, 186 MB/s against 309 to 439 in records of 500 kB, took three times the CPU, read and removed at 183 to 257 MB/s against 1,220 to
1,463, never gave its space back to the disk, and it needs free space to delete, which a full disk has not. A damaged page also hides what
lies behind it. Queues made on top of it (persist-queue, diskcache) share that and do not sync.
"""
