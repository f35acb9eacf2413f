"""A reactor-native ZooKeeper client: session, watches, transactions, recipes."""
