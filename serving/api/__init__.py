"""The claims interface over HTTP: JSON in, JSON out, nothing decided here."""
