"""In-silico mutagenesis that computes only what each substitution changes."""
