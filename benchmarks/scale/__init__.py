"""What one process, one Redis, one Cluster and one PostgreSQL carry, and what follows for more tenants than fit here."""
