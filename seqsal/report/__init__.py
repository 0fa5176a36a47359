"""The HTML report: one self-contained page from finished results; it computes nothing."""

from seqsal.report.comparison import write_comparison
from seqsal.report.html import write_report, write_variant_report
from seqsal.report.inputs import ReportInputs

__all__ = ["ReportInputs", "write_comparison", "write_report", "write_variant_report"]
