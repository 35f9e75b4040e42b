"""How the C library of a worker keeps memory."""

# Keeps freed memory in the process: without, a tenth of a small model's step is spent in page faults.
MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
