"""Where shards are worked on: in this process (`local`), or on a Ray cluster (`ray`)."""
