"""PostgreSQL: the ledger, the directory of domains and keys, intake, statistics and the outbox."""
