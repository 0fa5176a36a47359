"""Following what a single-base substitution changes through a traced model."""
