"""Several hosts on this machine: network and host name of their own each, joined by a switch whose links can be cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_TOOLS = ("unshare", "nsenter", "ip", "hostname")


class Host:
    """A network namespace with one interface, `eth0`, and a host name."""

    def __init__(self, name: str, address: str, holder: subprocess.Popen[bytes], link: str) -> None:
        self.name, self.address, self.holder, self.link = name, address, holder, link
        self.started: list[subprocess.Popen[str]] = []

    def command(self, *command: str) -> list[str]:
        """The same command, on this host."""
        return ["nsenter", "--target", str(self.holder.pid), "--net", "--uts", *command]

    def start(self, command: Sequence[str], output: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
        """Start a program there; what it prints goes to a file."""
        with output.open("a") as file:
            process = subprocess.Popen(
                self.command(*command), stdout=file, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                env={**os.environ, "GLOO_SOCKET_IFNAME": "eth0", **environment},
            )  # fmt: skip
        self.started.append(process)
        return process

    def cut(self) -> None:
        """Take the link down: packets are lost, and no connection is closed."""
        _run("ip", "link", "set", self.link, "down")

    def restore(self) -> None:
        _run("ip", "link", "set", self.link, "up")

    def clear(self) -> None:
        """Kill what was started there, with its children."""
        for process in self.started:
            kill_tree(process.pid)
            process.wait()
        self.holder.kill()
        self.holder.communicate()


@contextmanager
def joined_hosts(names: Sequence[str]) -> Iterator[list[Host]]:
    """Hosts 10.77.0.1, 10.77.0.2 ... of these names. Skips the test where namespaces cannot be made."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"hosts need {', '.join(missing)}")
    possible = subprocess.run(["unshare", "--net", "--uts", "true"], capture_output=True, text=True)
    if possible.returncode:
        pytest.skip(f"hosts need network namespaces: {possible.stderr.strip()}")
    tag = uuid.uuid4().hex[:6]
    bridge = f"tw{tag}"
    with contextlib.ExitStack() as stack:
        try:
            _run("ip", "link", "add", bridge, "type", "bridge")
            stack.callback(_run, "ip", "link", "delete", bridge)
            _run("ip", "link", "set", bridge, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"hosts need a bridge: {error.stderr.strip()}")
        yield [_make_host(stack, name, number, bridge, tag) for number, name in enumerate(names, start=1)]


def _make_host(stack: contextlib.ExitStack, name: str, number: int, bridge: str, tag: str) -> Host:
    holder = subprocess.Popen(["unshare", "--net", "--uts", "sh", "-c", "echo; exec sleep infinity"], stdout=-1)
    assert holder.stdout is not None
    holder.stdout.readline()  # it has its namespaces now
    host = Host(name, f"10.77.0.{number}", holder, f"tw{tag}{number}")
    stack.callback(host.clear)
    _run("ip", "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
    stack.callback(_run, "ip", "link", "delete", host.link)  # its namespace may last: connections that were cut hold it
    _run("ip", "link", "set", host.link, "master", bridge, "up")
    for command in (
        ("hostname", name),
        ("ip", "address", "add", f"{host.address}/24", "dev", "eth0"),
        ("ip", "link", "set", "eth0", "up"),
        ("ip", "link", "set", "lo", "up"),
    ):
        _run(*host.command(*command))
    return host


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that run; [] once it is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
        return [int(child) for child in children if _state(child) != "Z"]
    except OSError:
        return []


def _state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def kill_tree(pid: int) -> None:
    """SIGKILL for a process and all below it."""
    below = children_of(pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
    for child in below:
        kill_tree(child)
