"""How a certificate comes about: which claims count, how they are tested, what is written down."""
