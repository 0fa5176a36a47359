"""One exception class per cause, all of them :class:`SeqsalError`.

A message is a single line that says what is wrong, where (file and line, or argument), what was got, what was
expected and what to do about it. The command line prints it as it is and exits with code 2; anything that is not
a `SeqsalError` is a bug and exits with code 1.
"""

import difflib
import re
from collections.abc import Iterable

__all__ = [
    "BedError",
    "CheckpointError",
    "DeviceError",
    "FastaError",
    "MethodError",
    "ModelError",
    "MotifError",
    "OutputError",
    "RegionError",
    "SeqsalError",
    "StoreError",
    "TrainingError",
    "UsageError",
    "VariantError",
    "counted",
    "did_you_mean",
    "first_line",
    "kind_of",
    "one_line",
    "shown",
]


class SeqsalError(Exception):
    """Base of every error that seqsal raises on purpose.

    Examples
    --------
    >>> import seqsal
    >>> try:
    ...     seqsal.load_model("missing.safetensors")
    ... except seqsal.SeqsalError as error:
    ...     print(error)
    missing.safetensors: no such file; expected a model file or package.module:factory, check the path
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class FastaError(SeqsalError):
    """A FASTA file that is missing, malformed, truncated, or changed after it was indexed."""


class BedError(SeqsalError):
    """A BED or narrowPeak file that is missing, empty or malformed."""


class RegionError(SeqsalError):
    """Regions that do not fit the genome or the data: unknown chromosome, beyond its end, not covered."""


class ModelError(SeqsalError):
    """A model that cannot be used: wrong shape, length or target, NaN outputs, not differentiable."""


class CheckpointError(ModelError):
    """A model file that is missing, damaged, or not a seqsal checkpoint."""


class MethodError(SeqsalError):
    """An attribution method that is unknown or that does not apply to the model."""


class MotifError(SeqsalError):
    """Motifs that cannot be read or used: a malformed or unknown file, an unknown database, a protein alphabet."""


class TrainingError(SeqsalError):
    """Training that cannot start or that diverged: too few examples, an empty split, a loss of NaN."""


class StoreError(SeqsalError):
    """An attribution file that is missing, damaged, incomplete or of another version."""


class OutputError(SeqsalError):
    """A result that cannot be written: no permission, not a folder, no space left."""


class DeviceError(SeqsalError):
    """A device that does not exist here, or that has too little memory for a single window."""


class VariantError(SeqsalError):
    """Variants that cannot be read or used: a malformed VCF, REF that differs from the genome, a position beyond it."""


class UsageError(SeqsalError):
    """Arguments that contradict each other or lie outside what is allowed."""


def one_line(text: str) -> str:
    r"""Write a message as one line that is safe on a terminal.

    What is not printable, such as the escape sequences that a name in a file may hold, becomes ``\x1b``; words of more
    than 400 characters are cut in their middle.
    """
    text = " ".join(re.split(r"\s*[\r\n]+\s*", text.strip()))
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return re.sub(r"\S{401,}", lambda word: f"{word[0][:200]}…{word[0][-100:]}", text)


def first_line(error: BaseException) -> str:
    """Return the first line of what somebody else's error says, its class where it says nothing."""
    if isinstance(error, KeyError):  # its text is a key alone, such as 101 for a byte that is no pickle's
        return "its content is damaged or of another kind"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End a message about an unknown name with the nearest known one, if any is near: ``; did you mean 'seed'?``."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def counted(n: int, noun: str) -> str:
    """Write a number of things, in the plural but for 1.

    Examples
    --------
    >>> counted(1, "allele"), counted(0, "allele"), counted(1200, "allele")
    ('1 allele', '0 alleles', '1,200 alleles')
    """
    return f"{n:,} {noun}{'s' if n != 1 else ''}"


def kind_of(value: object) -> str:
    """Name what a value is, with its article: ``a tuple``, ``an int``."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in tuple('aeio') else 'a'} {name}"


def shown(value: object) -> str:
    """Show a value in a message: arrays and tensors by their shape, anything long by its beginning."""
    shape: tuple[int, ...] = tuple(getattr(value, "shape", ()))
    if shape:
        return f"an array of shape {shape}"
    text = repr(value)
    is_plain = isinstance(value, (str, int, float, bool, type(None)))
    return text if is_plain or len(text) <= 60 else kind_of(value)
