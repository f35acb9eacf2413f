"""What happened in ZooKeeper, transaction by transaction, and rules about it."""
