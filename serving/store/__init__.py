"""What the service remembers, in PostgreSQL."""
