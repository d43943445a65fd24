"""The flights that left New York in 2013: their schema, their source, their way to a database."""
