"""Where and how models run: batches, threads, memory layout, precision."""
