"""Which guarantee covers a claim, up to which amount, under which clause, with what proof."""
