"""The join table in files, written beside the worker's commits, so that a restart or a take-over need not replay a horizon of logs.

A snapshot is never the truth; it only shortens the way back to the committed offsets. Whatever is wrong with one, the next older is
used, and without any the logs are read again. So a file is used only if every byte is as it was written, under the same rules.

`SnapshotStore` says which files there are and which of them is used; a `Place` keeps them: a `Folder`, or an object store
(`monitor.snapshot.bucket`, imported where one is configured, because its client costs 13 MB).
"""

from monitor.snapshot.folder import Folder
from monitor.snapshot.place import Place
from monitor.snapshot.store import SnapshotStore

__all__ = ["Folder", "Place", "SnapshotStore"]
