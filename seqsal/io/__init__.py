"""Reading and writing files: regions, genomes, model inputs, attributions and tracks."""
