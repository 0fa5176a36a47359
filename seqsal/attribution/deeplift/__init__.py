"""DeepLIFT: how finite differences pass through the operations of a model."""
