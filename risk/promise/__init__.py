"""The promise: of the money approved at once at most alpha is abuse, with confidence 1 - delta, and how much money is at risk."""
