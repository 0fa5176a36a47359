"""What the verbs of the command line do, a module a verb: arguments as files and options, results written to files.

`seqsal VERB` is read by `seqsal/cli/VERB.py`, which calls the function of `seqsal/commands/VERB.py`. The verbs that are
not here have modules of their own: `run` :mod:`seqsal.pipeline`, `demo` :mod:`seqsal.demo`, `info` :mod:`seqsal.info`.
"""

from seqsal.commands.arguments import READING, load_from
from seqsal.commands.attribute import attribute_to_file
from seqsal.commands.audit import audit_to_file
from seqsal.commands.compare import compare_to_file
from seqsal.commands.controls import controls_to_file
from seqsal.commands.export import export_to_file, export_to_hub
from seqsal.commands.import_ import import_to_file
from seqsal.commands.logo import logo_to_file
from seqsal.commands.motifs import motifs_to_file, write_motif_files
from seqsal.commands.peaks import peaks_to_file
from seqsal.commands.report import report_to_file
from seqsal.commands.score import check_score_format, score_to_file
from seqsal.commands.train import train_to_file

__all__ = [
    "READING",
    "attribute_to_file",
    "audit_to_file",
    "check_score_format",
    "compare_to_file",
    "controls_to_file",
    "export_to_file",
    "export_to_hub",
    "import_to_file",
    "load_from",
    "logo_to_file",
    "motifs_to_file",
    "peaks_to_file",
    "report_to_file",
    "score_to_file",
    "train_to_file",
    "write_motif_files",
]
