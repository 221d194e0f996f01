"""Settings of a bulk job that Ray runs, alike in all packages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Run a bulk job in the workers of a Ray cluster, or of this machine."""

    address: str | None = None
    """Cluster to join: `auto`, host:port or ray://host:port (default: RAY_ADDRESS, else a Ray of this machine
    alone). Its machines need this package installed, and must see the same paths or URLs."""
    num_workers: int | None = None
    """Processes that hold a model each (default: as many as the cluster's CPUs or GPUs allow)."""
    cpus_per_worker: float = 1.0
    """CPUs that a worker takes, and threads that its model runs on."""
    gpus_per_worker: float = 0.0
    """GPUs that a worker takes; 0.5 lets two share one."""
    block_seconds: float = 600.0
    """Seconds of sound that a worker is given at once, and that are done again when it is lost."""
    parts: str | None = None
    """Folder or fsspec URL (s3://bucket/path) of the parts, one a block, where they stay (default: beside the
    output, until all are put together)."""

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise ValueError(f"ray.num_workers must be at least 1, got {self.num_workers}")
        for name in ("cpus_per_worker", "block_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"ray.{name} must be above 0, got {getattr(self, name)}")
        if not self.gpus_per_worker >= 0:
            raise ValueError(f"ray.gpus_per_worker must be at least 0, got {self.gpus_per_worker}")
