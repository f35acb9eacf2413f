"""Speed of our launcher beside Nodepool 11's, on one ZooKeeper, with one client."""
