"""Arrow IPC streams from strangers: read whole and checked, or refused.

What is bounded here: messages, columns and rows of a stream, and, by refusing compressed buffers, the memory that its bytes can ask for.
A stream has to end with its end-of-stream mark and nothing after it, so that a truncated message never passes for a shorter one.
"""

import struct

import pyarrow as pa

from monitor.errors import DecodeError

ROWS_LIMIT = 1_048_576
ROW_BYTES = 4
"""The least a row must weigh in its message: an id's offset alone does. Columns of nulls weigh nothing and could claim any number."""
COLUMNS_LIMIT = 4_096
MESSAGES_LIMIT = 4_096
"""IPC messages of one stream: its schema, dictionaries and record batches."""

END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"

# Places in the tables of Arrow's flatbuffers format (format/Message.fbs), counted from 0.
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_COMPRESSION = 3


def read_stream(value: bytes) -> tuple[bytes, pa.Schema, list[pa.RecordBatch]]:
    """The schema, as bytes that compare and as an object, and the batches of a stream, not validated yet. Raises `DecodeError`."""
    if not value:
        raise DecodeError("the message is empty; expected an Arrow IPC stream")
    if not value.endswith(END_OF_STREAM):
        raise DecodeError("the Arrow stream has no end-of-stream mark as its last bytes: it is truncated, or something follows it")
    try:
        key = _checked_messages(value)
        reader = pa.ipc.open_stream(value)
        schema, batches, rows = reader.schema, [], 0
        if len(schema) > COLUMNS_LIMIT:
            raise DecodeError(f"{len(schema)} columns; at most {COLUMNS_LIMIT} are read")
        for batch in reader:
            rows += batch.num_rows
            if rows > min(ROWS_LIMIT, len(value) // ROW_BYTES):
                raise DecodeError(f"more rows than {ROWS_LIMIT}, or than its {len(value)} bytes can hold")
            batches.append(batch)
    except (pa.ArrowException, OSError, ValueError, EOFError, struct.error) as error:
        raise DecodeError(f"not an Arrow IPC stream: {_first_line(error)}") from error
    if rows == 0:
        raise DecodeError("the Arrow stream holds no rows")
    return key, schema, batches


def validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, once each offset, index and character in it is known to be sound. Raises `DecodeError`."""
    try:
        batch.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DecodeError(f"the Arrow stream is corrupt: {_first_line(error)}") from error
    return batch


def _checked_messages(value: bytes) -> bytes:
    """Goes through the messages without reading a body; the first one's metadata, which is the schema's."""
    source = pa.BufferReader(value)
    key = b""
    for count, message in enumerate(pa.ipc.MessageReader.open_stream(source)):
        if count == MESSAGES_LIMIT:
            raise DecodeError(f"more than {MESSAGES_LIMIT} IPC messages in one stream")
        metadata = message.metadata.to_pybytes()  # Arrow has verified that it is well-formed
        if count == 0:
            key = metadata
        elif _is_compressed(metadata, is_dictionary=message.type == "dictionary"):
            raise DecodeError("the Arrow stream has compressed buffers; send it uncompressed")
    if source.tell() != len(value):
        raise DecodeError("bytes follow the end of the Arrow stream; expected one stream a message")
    return key


def _is_compressed(metadata: bytes, *, is_dictionary: bool) -> bool:
    header = _follow(metadata, _place(metadata, _follow(metadata, 0), _MESSAGE_HEADER))
    if is_dictionary:
        header = _follow(metadata, _place(metadata, header, _DICTIONARY_DATA))
    return _place(metadata, header, _BATCH_COMPRESSION) != 0


def _follow(metadata: bytes, at: int) -> int:
    (distance,) = struct.unpack_from("<I", metadata, at)
    return int(at + distance)


def _place(metadata: bytes, table: int, index: int) -> int:
    """Where a table keeps its field of that index; 0 if it has none."""
    (back,) = struct.unpack_from("<i", metadata, table)
    (size,) = struct.unpack_from("<H", metadata, table - back)
    at = 4 + 2 * index
    if at >= size:
        return 0
    (distance,) = struct.unpack_from("<H", metadata, table - back + at)
    return int(table + distance) if distance else 0


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200] or type(error).__name__
