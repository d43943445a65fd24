"""Which statements may run on another connection than their session's own."""
