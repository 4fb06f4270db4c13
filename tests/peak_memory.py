"""The most memory that a process ever had, as the kernel tells it (VmHWM of proc(5))."""

from __future__ import annotations

from pathlib import Path


def peak_memory(process_id: int) -> int:
    """Bytes. Raises OSError where there is no such process, or no /proc; ValueError where it has ended."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
