"""Real data of another shape, turned into a history of the contract's shape."""
