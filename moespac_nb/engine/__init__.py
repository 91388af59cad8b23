"""The asynchronous execution engine: slots, prefetch, eviction, and the scheduler that drives them."""
