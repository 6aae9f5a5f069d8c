"""What a cluster leaves on the machine: its processes, and where they listen."""

from __future__ import annotations

import ipaddress
import socket
import struct
from pathlib import Path

from runner.cluster import reaper

LISTENS = "0A"  # the state of a socket in /proc/net/tcp


def mark_of(pid: int) -> str:
    """The mark that a process of an embedded or warm cluster carries."""
    prefix = f"{reaper.VARIABLE}=".encode()
    for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if entry.startswith(prefix):
            return entry.removeprefix(prefix).decode()
    raise AssertionError(f"process {pid} carries no mark")


def carrying(variable: str, value: str) -> list[int]:
    """The processes in whose environment ``variable`` has that value."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found


def listening(pids: list[int]) -> set[str]:
    """The addresses on which these processes listen for TCP."""
    inodes = set()
    for pid in pids:
        try:
            for file in Path(f"/proc/{pid}/fd").iterdir():
                inodes.add(str(file.readlink()))
        except OSError:  # it ended, or closed the file, meanwhile
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENS and f"socket:[{fields[9]}]" in inodes:
                found.add(_address(fields[1].partition(":")[0]))
    return found


def _address(text: str) -> str:
    """An address as the kernel prints it: words of four bytes in the machine's order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    if len(words) == 1:
        return socket.inet_ntoa(packed)
    address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address)


def only_loopback(addresses: set[str]) -> bool:
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)
