#!/usr/bin/python3
"""A small server that answers as the API of Kubernetes and that of Amazon ECS do, as far as a drain asks.

One node with a pod of a ReplicaSet, which a budget protects once, and a pod of a DaemonSet; one container
instance with two tasks. It runs in a node of the lab and is no whole cluster: it shows what the real kubectl
and aws say, and makes of it what the APIs' documents promise. What it knows is in a file, and survives a reboot.
"""

from __future__ import annotations

import http.server
import json
import sys
from pathlib import Path

STATE = Path("/var/lib/clouds.json")
START = {"unschedulable": False, "pod": True, "budget": 1, "status": "ACTIVE", "tasks": 2, "log": []}
ARN = "arn:aws:ecs:eu-central-1:123456789012:container-instance/shop/0123456789abcdef"
READY = [{"type": "Ready", "status": "True"}]


def load() -> dict:
    """What is known."""
    return json.loads(STATE.read_text()) if STATE.exists() else dict(START)


def resource(name: str, kind: str, verbs: str, **more: object) -> dict:
    """One row of a list of resources."""
    return {"name": name, "singularName": "", "namespaced": "pods" in name, "kind": kind, "verbs": verbs.split(), **more}


def pod(name: str, owner: str) -> dict:
    """A pod that something owns."""
    owners = [{"apiVersion": "apps/v1", "kind": owner, "name": name, "uid": f"{name}-owner", "controller": True}]
    metadata = {"name": name, "namespace": "default", "uid": name, "ownerReferences": owners}
    spec = {"nodeName": "web-1", "containers": [{"name": "web", "image": "web"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": {"phase": "Running"}}


class Clouds(http.server.BaseHTTPRequestHandler):
    """One request."""

    def answer(self, document: object, status: int = 200, kind: str = "application/json") -> None:
        """Answers with a document."""
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, reason: str) -> None:
        """Says no, as Kubernetes does."""
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": status}, status)

    def body(self) -> dict:
        """What was sent."""
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def keep(self, state: dict, said: str) -> None:
        """Remembers."""
        state["log"].append(said)
        STATE.write_text(json.dumps(state))

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Looks."""
        state, path = load(), self.path.partition("?")[0]
        if path == "/v1/metadata":
            return self.answer({"Cluster": "shop", "ContainerInstanceArn": ARN, "Version": "Amazon ECS Agent - v1.80.0"})
        groups = [{"name": g, "versions": [v], "preferredVersion": v} for g, v in (
            ("policy", {"groupVersion": "policy/v1beta1", "version": "v1beta1"}),
            ("apps", {"groupVersion": "apps/v1", "version": "v1"}),
        )]
        core = [
            resource("nodes", "Node", "get list patch", shortNames=["no"]),
            resource("pods", "Pod", "get list delete"),
            resource("pods/eviction", "Eviction", "create", group="policy", version="v1beta1"),
        ]
        items = [pod("agent", "DaemonSet"), *([pod("shop", "ReplicaSet")] if state["pod"] else [])]
        node = {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "web-1", "uid": "web-1"},
            "spec": {"unschedulable": True} if state["unschedulable"] else {}, "status": {"conditions": READY},
        }
        known = {
            "/api": {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
            "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": core},
            "/apis/policy/v1beta1": {"kind": "APIResourceList", "groupVersion": "policy/v1beta1", "resources": []},
            "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [resource("daemonsets", "DaemonSet", "get")]},
            "/apis/apps/v1/namespaces/default/daemonsets/agent": {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent", "namespace": "default"}},
            "/api/v1/nodes/web-1": node,
            "/api/v1/pods": {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items},
            **{f"/api/v1/namespaces/default/pods/{p['metadata']['name']}": p for p in items},
        }
        return self.answer(known[path]) if path in known else self.refuse(404, "NotFound")

    def do_PATCH(self) -> None:
        """Cordons and uncordons."""
        state, change = load(), self.body()
        if self.path.partition("?")[0] != "/api/v1/nodes/web-1":
            return self.refuse(404, "NotFound")
        state["unschedulable"] = bool(change["spec"]["unschedulable"])
        # What was evicted comes to where there is room.
        state["pod"] = state["pod"] or not state["unschedulable"]
        self.keep(state, "cordon" if state["unschedulable"] else "uncordon")
        return self.do_GET()

    def do_POST(self) -> None:
        """Evicts, and all of ECS."""
        state, sent, target = load(), self.body(), self.headers.get("X-Amz-Target", "").partition(".")[2]
        if self.path.partition("?")[0] == "/api/v1/namespaces/default/pods/shop/eviction":
            if state["budget"]:
                state["budget"] -= 1
                self.keep(state, "eviction refused")
                return self.refuse(429, "TooManyRequests")
            state["pod"] = False
            self.keep(state, "evicted")
            return self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"}, 201)
        if sent.get("cluster") != "shop" or sent.get("containerInstances") != [ARN]:
            return self.answer({"containerInstances": [], "failures": [{"arn": ARN, "reason": "MISSING"}]}, kind="application/x-amz-json-1.1")
        if target == "UpdateContainerInstancesState":
            state["status"] = sent["status"]
            state["tasks"] = 2 if sent["status"] == "ACTIVE" else state["tasks"]
            self.keep(state, sent["status"])
        elif target == "DescribeContainerInstances" and state["status"] == "DRAINING":
            state["tasks"] = max(0, state["tasks"] - 1)
            self.keep(state, f"{state['tasks']} left")
        instance = {"containerInstanceArn": ARN, "status": state["status"], "runningTasksCount": state["tasks"]}
        return self.answer({"containerInstances": [instance], "failures": []}, kind="application/x-amz-json-1.1")


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Clouds).serve_forever()
