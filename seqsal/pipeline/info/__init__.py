"""What a file or folder is, if seqsal wrote it, and where it comes from."""

from seqsal.pipeline.info.describe import describe_file
from seqsal.pipeline.info.file_info import FileInfo
from seqsal.pipeline.info.json_files import RUN_SCHEMA

__all__ = ["RUN_SCHEMA", "FileInfo", "describe_file"]
