"""Many tenants on one stream, or a stream for each."""
