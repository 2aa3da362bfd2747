"""What is kept of a failed scenario, for whoever looks into it."""

from __future__ import annotations

import json
import shutil
import traceback
from pathlib import Path

from .fleet import Lab
from .node import Node

CONFIGURATION_AND_STATE = ("/var/lib/lockkeeper", "/var/lib/lockkeeper-executor", "/etc/lockkeeper", "/run/lockkeeper")


def keep(lab: Lab, directory: Path, error: BaseException) -> None:
    """Writes the failure, the observers' timelines, etcd's keys, and a directory for each node."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    (directory / "failure.txt").write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    for number, observer in enumerate(lab.observers, 1):
        text = "\n\n".join([observer.chart(), observer.timeline(), "\n".join(observer.violations)])
        (directory / f"observer-{number}.txt").write_text(text, encoding="utf-8")
    try:
        keys = json.dumps(lab.etcd.keys(), indent=1)
    except (AttributeError, OSError) as why:
        keys = f"not readable: {why}"
    (directory / "etcd-keys.json").write_text(keys, encoding="utf-8")
    for node in lab.nodes:
        try:
            _keep_node(node, directory / node.name)
        except Exception as why:  # keep what can be kept
            lab.say(f"not everything of {node.name} could be kept: {why!r}")


def _keep_node(node: Node, directory: Path) -> None:
    directory.mkdir()
    for verb in ("status", "explain"):
        if node.leader:
            answer = node.rebootctl(verb, check=False)
            (directory / f"{verb}.txt").write_text(answer.stdout + answer.stderr, encoding="utf-8")
    (directory / "journal.txt").write_text(node.journal(), encoding="utf-8")
    (directory / "lockkeeper.txt").write_text(node.journal("-u", "lockkeeper*"), encoding="utf-8")
    for inside in CONFIGURATION_AND_STATE:
        if node.path(inside).is_dir():
            shutil.copytree(
                node.path(inside),
                directory / inside.lstrip("/").replace("/", "-"),
                symlinks=True,
                ignore=shutil.ignore_patterns("*.deb", "lists"),
            )
    for file, name in (
        (node.console, "console.log"),
        (node.path("/var/lib/dpkg/status"), "dpkg-status.txt"),
        (node.path("/var/log/apt/term.log"), "apt-term.log"),
    ):
        if file.is_file():
            shutil.copy(file, directory / name)
