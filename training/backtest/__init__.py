"""What-if before anyone is paid: a stretch of history replayed under another bundle, policy or appetite."""
