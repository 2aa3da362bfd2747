"""The package's life on one machine: who may call what is settled right after installation, an upgrade
leaves an update in flight alone, removal keeps configuration and state, a purge leaves nothing.
"""

import shutil
from pathlib import Path

from lab.fleet import Lab

SCRIPTS = Path(__file__).resolve().parents[2] / "packaging"


def scenario(lab: Lab) -> None:
    assert lab.deb
    [node] = lab.boot(["web-1"], members=0, with_workloads=False)
    for file in [lab.deb, *SCRIPTS.iterdir()]:
        shutil.copy(file, node.path("/opt"))
    node.script(f"/opt/lifecycle /opt/{lab.deb.name}", timeout=240)
