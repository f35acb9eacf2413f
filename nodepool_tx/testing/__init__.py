"""For tests, ours and those of drivers: a ZooKeeper and hosts kept in memory."""
