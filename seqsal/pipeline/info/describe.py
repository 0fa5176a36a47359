"""Recognise a file by what is in it, and describe it."""

from __future__ import annotations

import os
from pathlib import Path

from seqsal.errors import StoreError, UsageError
from seqsal.pipeline.info.binary import describe_attributions, describe_bigwig, describe_checkpoint
from seqsal.pipeline.info.file_info import FileInfo
from seqsal.pipeline.info.folder import describe_folder, folder_bytes
from seqsal.pipeline.info.json_files import describe_json
from seqsal.pipeline.info.tables import describe_text

__all__ = ["describe_file"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_BIGWIG = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")
_KINDS = (
    "a model checkpoint, attributions (.h5), a folder of `seqsal run` or `seqsal motifs`, run.json, audit.json, "
    "a report, or a table or track of results"
)


def describe_file(path: str | os.PathLike[str]) -> FileInfo:
    """Say what a file or folder is that seqsal wrote, where it comes from, and what is in it.

    Nothing but the file itself is read: neither the model nor the genome that it names need be there.

    Parameters
    ----------
    path
        A checkpoint, an attribution file (finished or not), a folder of `run` or `motifs`, `run.json`, `audit.json`,
        a table, a track or a report.

    Raises
    ------
    UsageError
        There is no such file, it cannot be read, or it is of no kind that seqsal writes.
    StoreError, CheckpointError
        It is, but damaged.
    """
    given = Path(path)
    try:
        kind, facts = _recognise(given)
        n_bytes = folder_bytes(given) if given.is_dir() else given.stat().st_size
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file or folder; check the path") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); expected a file of seqsal") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: damaged, its content is not what it should be ({error!r}); make it again") from error
    return FileInfo(given, kind, facts, n_bytes)


def _recognise(path: Path) -> tuple[str, dict[str, object]]:
    found = describe_folder(path) if path.is_dir() else _recognise_file(path)
    if found is None:
        raise UsageError(f"{path}: not recognised as something that seqsal writes; expected {_KINDS}")
    return found


def _recognise_file(path: Path) -> tuple[str, dict[str, object]] | None:
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(_HDF5):
        return describe_attributions(path)
    if head.startswith(_BIGWIG):
        return describe_bigwig(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return describe_checkpoint(path)
    if path.suffix == ".safetensors" or path.suffix in (".h5", ".hdf5"):
        raise StoreError(f"{path}: damaged or truncated, its first bytes are not those of a {path.suffix} file")
    return describe_json(path) if head.lstrip().startswith(b"{") else describe_text(path)
