"""What holds in every test: array shapes are checked, no network, and nothing lands in the user's cache."""

import os
import signal
import socket
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Before anything imports the scorers: their jaxtyping annotations are checked at run time, in tests only.
install_import_hook("modelrank.scorers", "beartype.beartype")

LOCAL = ("127.0.0.1", "::1", "localhost")


def pytest_configure(config):
    config.addinivalue_line("markers", "registry: may fetch pinned files from the package registries")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with & ignores it


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """A test that is not marked for it fails when it connects to another machine."""
    if request.node.get_closest_marker("registry") or request.node.get_closest_marker("slow"):
        return
    connect = socket.socket.connect

    def local_only(self, address):
        if self.family != socket.AF_UNIX and address[0] not in LOCAL:
            raise OSError(f"tests may not connect to {address}; mark those that must with `registry`")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(autouse=True)
def _own_cache(request, monkeypatch, tmp_path_factory):
    if not (request.node.get_closest_marker("registry") or request.node.get_closest_marker("slow")):
        monkeypatch.setenv("MODELRANK_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def registry_cache() -> Path:
    """The user's cache, for tests marked `registry`: each package file is fetched once, not once a test run."""
    return Path(os.environ.get("MODELRANK_CACHE", Path.home() / ".cache" / "modelrank"))


@pytest.fixture
def cold_cache(tmp_path, registry_cache) -> Path:
    """Weights and packages as in the user's cache, nothing extracted or measured yet."""
    fresh = tmp_path / "cache"
    fresh.mkdir()
    for name in ("packages", "weights", "datasets"):
        (registry_cache / name).mkdir(parents=True, exist_ok=True)
        (fresh / name).symlink_to(registry_cache / name)
    return fresh
