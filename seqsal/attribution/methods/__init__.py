"""The attribution methods: each its formula, and the class that holds its options and promises."""
