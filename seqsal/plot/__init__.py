"""Pictures: logos, tracks and curves. Every `plot_` function takes and returns matplotlib Axes."""

from seqsal.plot.curves import (
    plot_curves,
    plot_receptive_field,
    plot_replacement_curves,
    plot_score_histogram,
    plot_training_history,
)
from seqsal.plot.experiments import plot_cooperativity, plot_interactions, plot_spacing, plot_variant
from seqsal.plot.heatmap import plot_heatmap
from seqsal.plot.logo import BASE_COLORS, plot_letters, plot_logo, plot_region_rows
from seqsal.plot.motifs import plot_cwm, plot_motif, plot_pattern, write_logos
from seqsal.plot.stack import plot_attributions, plot_tracks
from seqsal.plot.style import save_figure
from seqsal.plot.tracks import plot_region_track, plot_track

__all__ = [
    "BASE_COLORS",
    "plot_attributions",
    "plot_cooperativity",
    "plot_curves",
    "plot_cwm",
    "plot_heatmap",
    "plot_interactions",
    "plot_letters",
    "plot_logo",
    "plot_motif",
    "plot_pattern",
    "plot_receptive_field",
    "plot_region_rows",
    "plot_region_track",
    "plot_replacement_curves",
    "plot_score_histogram",
    "plot_spacing",
    "plot_track",
    "plot_tracks",
    "plot_training_history",
    "plot_variant",
    "save_figure",
    "write_logos",
]
