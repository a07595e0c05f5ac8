"""Ground: ids, clocks, errors, storage access; knows nobody above it."""
