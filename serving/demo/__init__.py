"""What `make run` does: a marketplace, a trained bundle, the service, and a few claims decided before your eyes."""
