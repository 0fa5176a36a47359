"""Results as genome browsers open them: a UCSC track hub, IGV sessions and a WashU data hub around one bigWig."""

from seqsal.browser.bundle import Bundle, check_bundle_settings, write_bundle
from seqsal.browser.tracks import read_instances, read_motif_instances, read_variants

__all__ = ["Bundle", "check_bundle_settings", "read_instances", "read_motif_instances", "read_variants", "write_bundle"]
