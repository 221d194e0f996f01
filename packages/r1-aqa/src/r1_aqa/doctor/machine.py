"""The machine: processor, memory, GPU, disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from r1_aqa.doctor.finding import Finding
from r1_aqa.doctor.installing import python

GIB = 1 << 30
LITTLE_MEMORY = 2 * GIB
"""Bytes; importing torch and a small model take one."""
LITTLE_DISK, SOME_DISK = GIB, 10 * GIB
"""Bytes below which a training will fail, or may."""
MEMORY_FILES = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux limits a container."""


def machine_findings() -> list[Finding]:
    """Look at the processor, the memory, the GPU and the disk."""
    return [processor_finding(), *gpu_findings(), *disk_findings()]


def processor_finding() -> Finding:
    """Say how many cores and how much memory this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free, total = memory()
    text = f"{cores} cores, {free / GIB:.1f} of {total / GIB:.1f} GiB of memory free"
    if free < LITTLE_MEMORY:
        return Finding("note", "processor", f"{text}; what takes it:", "ps -eo rss,args --sort=-rss | head")
    return Finding("ok", "processor", text)


def memory() -> tuple[int, int]:
    """Return the bytes of memory that are free, and that there are, within a container's limit."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    free = page * os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else total
    lines = Path("/proc/meminfo").read_text() if Path("/proc/meminfo").is_file() else ""
    for line in lines.splitlines():
        if line.startswith("MemAvailable:"):  # with what Linux would give back of its caches
            free = int(line.split()[1]) << 10
    limits = [file.read_text().strip() for file in MEMORY_FILES if file.is_file()]
    limit = min((int(text) for text in limits if text.isdecimal()), default=total)
    return min(free, limit), min(total, limit)


def gpu_findings() -> list[Finding]:
    """Say which GPUs torch can use, how much of their memory is free, and why there is none."""
    import torch

    if torch.cuda.is_available():
        return [_gpu(torch, number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return [Finding("ok", "GPU", "Apple's (mps), with the memory of the processor")]
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return [Finding("note", "GPU", "CUDA_VISIBLE_DEVICES hides them all", "unset CUDA_VISIBLE_DEVICES")]
    if shutil.which("nvidia-smi") is None:
        return [Finding("ok", "GPU", "none; the processor computes")]
    built = getattr(torch.version, "cuda", None)
    if built is None:
        text = f"torch {torch.__version__} is built for no GPU, and this machine has NVIDIA's driver"
        command = f"uv pip install --python {python()} --torch-backend auto --reinstall-package torch torch"
        return [Finding("fault", "GPU", text, command)]
    text = f"torch {torch.__version__} is built for CUDA {built} and can use no GPU; is the driver older?"
    return [Finding("fault", "GPU", text, "nvidia-smi")]


def _gpu(torch: Any, number: int) -> Finding:
    free, total = torch.cuda.mem_get_info(number)
    name, bf16 = torch.cuda.get_device_name(number), torch.cuda.is_bf16_supported()
    text = (
        f"cuda:{number} {name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, "
        f"{'bf16' if bf16 else 'no bf16: train with --precision fp16'}"
    )
    if free < total // 10:
        return Finding("note", "GPU", f"{text}; another process has its memory", "nvidia-smi")
    return Finding("ok", "GPU", text)


def disk_findings() -> list[Finding]:
    """Say how much room there is where results, temporary files and the hub's models go."""
    from huggingface_hub import constants

    places = {
        "this folder": (Path.cwd(), "cd /a/larger/disk"),
        "temporary files": (Path(tempfile.gettempdir()), "export TMPDIR=/a/larger/disk"),
        "the hub's cache": (Path(constants.HF_HUB_CACHE), "export HF_HOME=/a/larger/disk"),
    }
    return [disk_finding(name, *place) for name, place in places.items()]


def disk_finding(name: str, place: Path, command: str) -> Finding:
    """Say how much room a place has, and whether it may be written to."""
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    text = f"{free / GIB:.1f} GiB free for {name} ({place})"
    if not os.access(there, os.W_OK):
        return Finding("fault", "disk", f"{name} ({place}) cannot be written to", command)
    if free < SOME_DISK:
        return Finding("fault" if free < LITTLE_DISK else "note", "disk", text, command)
    return Finding("ok", "disk", text)
