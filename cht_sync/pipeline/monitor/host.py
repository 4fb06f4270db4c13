"""This process and its machine, under the names that Logstash has for a Java process.

Dashboards read `jvm.mem.heap_used_percent`: here that is the resident memory of the process in percent of
what it may have. There is no heap of a fixed size, and what has no counterpart is 0.
"""

from __future__ import annotations

import gc
import os
import platform
import resource
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from cht_sync.files import existing

MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""What a container may use: cgroup version 2 and 1."""


class Host:
    """Asks the operating system; `sample` keeps the peaks and the use of the processor."""

    def __init__(self, data_folder: Path = Path()) -> None:
        self._data_folder = data_folder
        self._process = psutil.Process()
        self._started_at = self._process.create_time()
        self._limit = _memory_limit()
        self._lock = threading.Lock()
        self._cpu = (time.monotonic(), self._cpu_seconds())
        self._cpu_percent = 0
        self._peak_files = self._peak_threads = self._peak_memory = 0
        self.sample()

    def sample(self) -> None:
        """Look at what changes; called every few seconds."""
        now, seconds = time.monotonic(), self._cpu_seconds()
        with self._lock:
            before, used = self._cpu
            if now - before >= 1:
                share = (seconds - used) / (now - before) / (os.cpu_count() or 1)
                self._cpu_percent = min(100, round(100 * share))
                self._cpu = (now, seconds)
            self._peak_files = max(self._peak_files, self._process.num_fds())
            self._peak_threads = max(self._peak_threads, self._process.num_threads())
            self._peak_memory = max(self._peak_memory, self._process.memory_info().rss)

    def node_os(self) -> dict[str, Any]:
        """`os` of `/_node`."""
        return {
            "name": platform.system(),
            "arch": platform.machine(),
            "version": platform.release(),
            "available_processors": os.cpu_count() or 1,
        }

    def node_jvm(self) -> dict[str, Any]:
        """`jvm` of `/_node`."""
        return {
            "pid": self._process.pid,
            "version": platform.python_version(),
            "vm_version": platform.python_version(),
            "vm_vendor": "Python Software Foundation",
            "vm_name": platform.python_implementation(),
            "start_time_in_millis": round(self._started_at * 1000),
            "mem": {
                "heap_init_in_bytes": 0,
                "heap_max_in_bytes": self._limit,
                "non_heap_init_in_bytes": 0,
                "non_heap_max_in_bytes": 0,
            },
            "gc_collectors": ["young", "old"],
        }

    def stats_jvm(self) -> dict[str, Any]:
        """`jvm` of `/_node/stats`."""
        self.sample()
        used = self._process.memory_info().rss
        young, middle, old = (generation["collections"] for generation in gc.get_stats())
        empty = dict.fromkeys(("used_in_bytes", "peak_used_in_bytes", "max_in_bytes", "peak_max_in_bytes"), 0)
        resident = {
            "used_in_bytes": used,
            "peak_used_in_bytes": self._peak_memory,
            "max_in_bytes": self._limit,
            "peak_max_in_bytes": self._limit,
        }
        return {
            "threads": {"count": self._process.num_threads(), "peak_count": self._peak_threads},
            "mem": {
                "heap_used_percent": round(100 * used / self._limit),
                "heap_committed_in_bytes": used,
                "heap_max_in_bytes": self._limit,
                "heap_used_in_bytes": used,
                "non_heap_used_in_bytes": 0,
                "non_heap_committed_in_bytes": 0,
                "pools": {"young": empty, "old": resident, "survivor": empty},
            },
            "gc": {
                "collectors": {
                    "young": {"collection_count": young + middle, "collection_time_in_millis": 0},
                    "old": {"collection_count": old, "collection_time_in_millis": 0},
                }
            },
            "uptime_in_millis": round((time.time() - self._started_at) * 1000),
        }

    def stats_process(self) -> dict[str, Any]:
        """`process` of `/_node/stats`."""
        self.sample()
        one, five, fifteen = os.getloadavg()
        return {
            "open_file_descriptors": self._process.num_fds(),
            "peak_open_file_descriptors": self._peak_files,
            "max_file_descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "mem": {"total_virtual_in_bytes": self._process.memory_info().vms},
            "cpu": {
                "total_in_millis": round(self._cpu_seconds() * 1000),
                "percent": self._cpu_percent,
                "load_average": {"1m": round(one, 2), "5m": round(five, 2), "15m": round(fifteen, 2)},
            },
        }

    def prometheus(self) -> dict[str, float]:
        """Figures under the names that Prometheus clients use."""
        return {
            "process_cpu_seconds_total": round(self._cpu_seconds(), 3),
            "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "process_open_fds": self._process.num_fds(),
            "process_resident_memory_bytes": self._process.memory_info().rss,
            "process_start_time_seconds": round(self._started_at, 3),
            "process_virtual_memory_bytes": self._process.memory_info().vms,
        }

    def disk(self) -> dict[str, int]:
        """The file system of the data folder; nothing where it cannot be asked."""
        try:
            found = shutil.disk_usage(existing(self._data_folder))
        except OSError:
            return {}
        return {"cht_sync_disk_free_bytes": found.free, "cht_sync_disk_size_bytes": found.total}

    def _cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)


def _memory_limit() -> int:
    total = int(psutil.virtual_memory().total)
    for path in MEMORY_LIMITS:
        try:
            return min(total, int(path.read_text()))
        except (OSError, ValueError):
            continue  # no container, or one without a limit ("max")
    return total
