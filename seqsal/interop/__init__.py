"""Other programs' files: importing, exporting, control sequences."""
