"""nginx in front of three nodes, fed from their keys in etcd by lockkeeper-balancer, answers a client fifty times a
second through a whole rolling update with reboots: not one request fails. The same update without drains, nginx
not being told of it, loses some.
"""

from lab.client import Client
from lab.fleet import Lab, each
from lab.node import Node
from lab.repo import Kind
from lab.wait import until

PACKAGES = {"lab-tool": Kind.PLAIN, "lab-kernel": Kind.REBOOT}
RATE = 50
UPSTREAM = "/etc/nginx/conf.d/lockkeeper.conf"
# Each request has one try: nginx must not hide that a node is gone.
SITE = """
server {
    listen 80 default_server;
    access_log off;
    location / {
        proxy_pass http://web;
        proxy_next_upstream off;
        proxy_connect_timeout 1s;
    }
}
"""
FEED = """
mkdir /etc/confd
cp -r /usr/share/lockkeeper/confd/conf.d /usr/share/lockkeeper/confd/templates /etc/confd
rm /etc/confd/conf.d/haproxy.toml /etc/nginx/sites-enabled/default
systemctl unmask --quiet nginx.service
systemctl enable --quiet --now lockkeeper-balancer.service
"""


def scenario(lab: Lab) -> None:
    nodes = lab.boot(["web-1", "web-2", "web-3"], with_workloads=False)
    [front] = lab.boot(["front"], members=0, with_workloads=False)
    lab.offer("1.0", PACKAGES)
    lab.install(nodes, ["lockkeeper", *PACKAGES])
    lab.install([front])
    each(nodes, lambda node: drain(lab, node, "3s"))
    lab.configure(front, strategy="off")
    front.write("/etc/nginx/conf.d/site.conf", SITE)
    front.script(FEED)
    until("nginx is told of three nodes", lambda: upstream(front) == {node.address for node in nodes}, 30)
    front.script("systemctl enable --quiet --now nginx.service")

    with Client(lab.net, front.address, 80, RATE) as told, lab.observe(nodes) as observer:
        lab.offer("2.0", PACKAGES)
        lab.wait_updated(nodes, "2.0", PACKAGES, 150)
        until("all three are in service again", lambda: len(upstream(front)) == 3, 20)
    observer.check()
    lab.say(f"with drains:    {told.told()}")
    assert {n.name: observer.boots(n) for n in nodes} == dict.fromkeys(told.pages, 1), "each rebooted, each served"
    assert told.sent > 0.9 * RATE * told.seconds, "the rate was not steady"

    front.script("systemctl stop lockkeeper-balancer.service")
    each(nodes, lambda node: drain(lab, node, "0s"))
    with Client(lab.net, front.address, 80, RATE) as untold:
        lab.offer("3.0", PACKAGES)
        lab.wait_updated(nodes, "3.0", PACKAGES, 150)
    lab.say(f"without drains: {untold.told()}")
    assert told.failed == 0, told.failures
    assert untold.failed > 0, "the client would not have noticed that a node is gone"


def drain(lab: Lab, node: Node, wait: str) -> None:
    """Has the node wait so long before it disturbs anything."""
    node.write("/etc/lockkeeper/conf.d/drain.toml", f'[drain]\nwait = "{wait}"\n')
    lab.configure(node)


def upstream(front: Node) -> set[str]:
    """The addresses that nginx is to send requests to."""
    path = front.path(UPSTREAM)
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return {line.split()[1].split(":")[0] for line in lines if line.startswith("    server ")}
