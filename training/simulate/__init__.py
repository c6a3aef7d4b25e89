"""A marketplace made up from stated parameters: orders, claims, late and imperfect labels, and a sealed oracle."""
