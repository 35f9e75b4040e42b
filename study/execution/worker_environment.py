"""The environment that workers' processes are started with; benchmarks run in it too."""

# Keeps freed memory in the process: without, a tenth of a small model's step is spent in page faults.
MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "1000000000",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
}
# Ray Train V2 looks at its workers every two seconds by default, which is how late it sees that a pack has ended.
RAY = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
}
