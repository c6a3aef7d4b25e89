"""The claims service: Flask in front, PostgreSQL behind, and between them the pure decision of `risk`."""
