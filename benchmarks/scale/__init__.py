"""What one process, one Redis, one Cluster and one PostgreSQL carry, and what follows from that for more tenants."""
