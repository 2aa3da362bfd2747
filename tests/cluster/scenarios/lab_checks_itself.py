"""The lab notices what it is there to notice: a reboot, a power cut, and two nodes out of service at once."""

from lab.fleet import Lab
from lab.node import Node
from lab.observer import DOWN, DRAINING, IN_SERVICE, Observer
from lab.wait import until


def scenario(lab: Lab) -> None:
    one, two = lab.boot(["web-1", "web-2"], members=1, with_workloads=False)
    for number, node in enumerate((one, two)):
        node.id = f"{number:032x}"

    with lab.observe([one, two]) as observer:
        one.script("systemctl reboot", check=False)
        sees(observer, one, DOWN)
        sees(observer, one, IN_SERVICE)
        two.power_cut()
        sees(observer, two, DOWN)
        two.start()
        sees(observer, two, IN_SERVICE)
        announce(one, "draining")
        sees(observer, one, DRAINING)
        announce(one, "in-service")
        sees(observer, one, IN_SERVICE)
    observer.check()
    assert observer.went_out() == [one.name, two.name, one.name], observer.went_out()
    assert (observer.boots(one), observer.boots(two)) == (1, 1)
    assert one.journal("--list-boots").count("\n") >= 2

    with lab.observe([one, two]) as observer:
        announce(one, "draining")
        sees(observer, one, DRAINING)
        two.script("systemctl stop lab-web.service")
        sees(observer, two, DOWN)
    assert len(observer.violations) == 1, observer.violations
    try:
        observer.check()
    except AssertionError as error:
        assert "2 nodes out of service" in str(error), error
    else:
        raise AssertionError("the observer did not complain about two nodes out of service")


def sees(observer: Observer, node: Node, state: str) -> None:
    """Waits until the observer sees a node in this state."""
    until(f"{node.name} is seen {state}", lambda: observer.state(node) == state, 60, 0.02)


def announce(node: Node, word: str) -> None:
    """Writes the node's service key, as the agent does."""
    node.script(f"ETCDCTL_API=3 etcdctl put /lockkeeper/v1/service/{node.id} {word}")
