"""The command line: a file a verb (experiments share one), which reads options, makes one call and says what came.

Exit codes: 0 done, 1 a bug, 2 bad usage or bad input (one line on stderr), 3 an audit that failed, 130 interrupted,
143 terminated (128 and the number of the signal).
Nothing heavy is imported before a command runs, so that help comes at once.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import gc
import importlib
import io
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from seqsal.errors import SeqsalError, did_you_mean, one_line
from seqsal.guide import GUIDE_URL, with_code
from seqsal.version import VERSION

__all__ = ["keep_freed_memory", "main"]

VERBS = (
    "demo", "train", "retrain", "score", "attribute", "variants", "insert", "remove", "swap", "pair", "space", "scan",
    "interactions", "import", "controls", "peaks", "motifs", "hits", "logo", "export", "compare", "audit", "erf",
    "report", "run", "plan", "work", "merge", "info", "doctor", "completion",
)  # fmt: skip
MODULES = {  # of the verbs that have no module of their own name
    **dict.fromkeys(("insert", "remove", "swap", "pair", "space", "scan", "interactions"), "experiments"),
    "import": "import_",
}


INFORMATIVE = (  # how a precision compares with fp32, what controls are made when, whose audit it is; not with --quiet
    "seqsal.pipeline.demo",
    "seqsal.attribution.engine",
    "seqsal.attribution.controls",
    "seqsal.auditing.run",
)
NOTES = (  # how motifs were looked for, and what takes long once; no reason to doubt a result, so not with --quiet
    "seqsal.motifs.discover",
    "seqsal.motifs.match",
)


class _Verbs(click.Group):
    """Loads a verb's module when it is needed, and turns every error into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"seqsal.cli.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], VERBS) or '.'}")
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> Any:  # type: ignore[override]
        extra["prog_name"] = "seqsal"
        if not extra.pop("standalone_mode", True):
            return super().main(args, standalone_mode=False, **extra)
        gc.set_threshold(100_000, 50, 100)  # garbage is collected rarely while libraries load, and not at all on the
        atexit.register(gc.freeze)  # way out: of a short command that is 0.5 s
        keep_freed_memory()
        if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal in latin-1 cannot show is escaped
            sys.stdout.reconfigure(errors="backslashreplace")
        received: list[int] = []
        try:
            with _ending_in_order(received):
                code = super().main(args, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else error.message)
            sys.exit(2)
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            verb = context.command_path if context else "seqsal"
            text = one_line(error.format_message())
            ended = text if text.endswith((".", "?", ")")) else f"{text}."
            click.echo(f"{verb}: {with_code(ended)} See '{verb} --help'.", err=True)
            sys.exit(2)
        except SeqsalError as error:
            click.echo(f"seqsal: error: {with_code(str(error))}", err=True)
            sys.exit(2)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                name = os.fsdecode(error.filename)
                click.echo(
                    f"seqsal: error: {one_line(f'{name[:40]}…')}: {len(name):,} characters are no file's name; check "
                    "the path", err=True,
                )  # fmt: skip
                sys.exit(2)
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            click.echo(
                f"seqsal: error: standard output cannot be written ({error.strerror}); free some space", err=True
            )
            sys.exit(2)
        except (click.Abort, KeyboardInterrupt):
            what = (received and signal.strsignal(received[0])) or "interrupted"
            click.echo(f"seqsal: {what.lower()}; run the same command again to resume", err=True)
            sys.exit(128 + (received[0] if received else signal.SIGINT))
        sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _ending_in_order(received: list[int]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does, with its files in order; a second one ends it at once."""

    def end(number: int, frame: Any) -> None:
        received.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    ours = [one for one in (signal.SIGTERM, signal.SIGHUP) if is_main and signal.getsignal(one) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


# parameters of mallopt, <malloc.h>, and what they are set to
MMAP_THRESHOLD = (-3, 32 << 20)  # DEFAULT_MMAP_THRESHOLD_MAX on 64 bits: mallopt takes no more
TRIM_THRESHOLD = (-1, (1 << 31) - 1)
TOP_PAD = (-2, 64 << 20)  # HEAP_MAX_SIZE, of the heaps that threads have: padding by as much leaves none to be unmapped
MALLOC_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Keep freed memory in the process, instead of giving it back to the system and asking for it again.

    glibc returns the free end of its heaps to the system: with the default thresholds, most of what a batch's
    activations took. The next batch faults every page in again, and the system fills it with zeros first. Which
    allocations meet this hangs on their sizes, and the same convolution ran at 35 or at 90 GFLOP/s for it. With heaps
    that keep what they have (mallopt(3)), attributing 64 windows of 2,114 bp took 4 page faults instead of 1,060, and
    0.87 to 0.9 of the processor time. It lasts as long as the process, which is why the command line does it and the
    library never does. Nothing is touched where there is no glibc, or where the environment sets its thresholds.
    """
    if any(name in os.environ for name in MALLOC_VARIABLES):
        return
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - a symbol that only glibc has
        mallopt = library.mallopt
    except (AttributeError, OSError, TypeError):
        return
    for parameter, value in (MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD):
        mallopt(parameter, value)


class _OneLine(logging.Formatter):
    """`seqsal: warning: …`, in one line."""

    def format(self, record: logging.LogRecord) -> str:
        return f"seqsal: {record.levelname.lower()}: {with_code(one_line(record.getMessage()))}"


def _set_up_logging() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("seqsal")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.NOTSET)  # --verbose of an earlier command in this process
    for name in INFORMATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in NOTES:
        logging.getLogger(name).setLevel(logging.NOTSET)
    warnings.simplefilter("ignore", FutureWarning)


@click.command(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: seqsal run --model M.safetensors --genome hg38.fa --regions peaks.bed --out results/. "
    f"A message that ends in a code such as [S06] has an entry in the field guide: {GUIDE_URL}",
)
@click.version_option(VERSION, prog_name="seqsal", message="%(prog)s %(version)s")
def main() -> None:
    """Show which bases drive a model's prediction, and test whether the answer can be believed."""
    _set_up_logging()
