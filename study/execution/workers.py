"""The worker group of a study, from its config: the one place where a worker's resources are worked out."""

from study.config.study import ClusterConfig
from study.execution.launch import WorkerGroup


def worker_group(config: ClusterConfig, *, spans_nodes: bool = False) -> WorkerGroup:
    """What a pack asks for. spans_nodes: it fits no single node, so that its workers may be divided between nodes."""
    return WorkerGroup(
        num_workers=config.num_workers,
        cpus_per_worker=config.cpus_per_worker,
        gpus_per_worker=config.gpus_per_worker,
        memory_gb_per_worker=config.memory_gb_per_worker,
        placement_strategy="PACK" if spans_nodes else "STRICT_PACK",
    )
