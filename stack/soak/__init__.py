"""The soak: hours of a bad day in ten minutes, and nothing left over at the end."""
