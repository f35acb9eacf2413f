"""Makes ``twistd nodepool`` known."""

from twisted.application.service import ServiceMaker

nodepool = ServiceMaker(
    "nodepool",
    "nodepool_tx.tap",
    "Hands out test machines to CI through ZooKeeper",
    "nodepool",
)
