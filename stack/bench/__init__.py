"""The figures of the README, each beside its peers, measured in the same run."""
